"""The file of a saved model's weights: who may read it, and which one it has to be."""

import stat
import warnings

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pclora_lab.models.weights import check_weights, checksums_in, fill_weights, write_weights


@pytest.fixture
def file(tmp_path):
    write_weights(nn.Linear(3, 2), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_weights_are_a_file_like_any_other_that_transformers_reads_too(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with safe_open(file, "pt") as tensors:
        assert tensors.metadata()["format"] == "pt"
    assert checksums_in(file.parent).keys() == {"model.safetensors"}


def test_weights_have_to_be_those_of_their_configuration(file, tmp_path):
    told = {"checksums": checksums_in(file.parent)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_weights([file, str(file)], told)
        check_weights([file], {})  # of an earlier version
        check_weights([file], {"checksums": None})
    for wrong in ({}, {"model.safetensors": "0" * 64}):
        with pytest.raises(ValueError, match="is not the file that the config.json beside it was"):
            check_weights([file], {"checksums": wrong})


def test_weights_that_nobody_sealed_are_read_with_a_warning(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert checksums_in(tmp_path) == {}
    with pytest.warns(UserWarning, match="model.safetensors"):
        check_weights([tmp_path / "model.safetensors"], {})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_tensor_gets_the_precision_of_the_file(tmp_path, dtype):
    saved = nn.BatchNorm1d(3).to(dtype)
    saved.bias.data = saved.bias.data.float()
    write_weights(saved, tmp_path / "model.safetensors")
    again = nn.BatchNorm1d(3)
    fill_weights(again, tmp_path)
    kinds = {name: tensor.dtype for name, tensor in again.state_dict().items()}
    assert kinds == {name: t.dtype for name, t in load_file(tmp_path / "model.safetensors").items()}
    assert kinds["weight"] is dtype and kinds["bias"] is torch.float32


def test_tensors_that_do_not_fit_are_refused_by_their_folder(file):
    with pytest.raises(ValueError, match=f"the tensors in {file.parent} do not fit the arch"):
        fill_weights(nn.Linear(3, 4), file.parent)
    with pytest.raises(ValueError, match="do not fit the architecture"):
        fill_weights(nn.Linear(3, 2, bias=False), file.parent)

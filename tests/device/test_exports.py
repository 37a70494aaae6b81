"""A model on a pretended GPU is saved and exported as one on the CPU."""

import pytest
import torch
from pretend_cuda import PretendCuda
from safetensors.torch import load_file
from tiny import tiny

from pclora_lab import PCLoRAConfig, compress, from_pretrained, get_pclora_model, set_progress
from pclora_lab.export.formats import FORMATS
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.nn.forward import call_model, try_inputs


@pytest.fixture
def gpu():
    with PretendCuda() as pretended:
        yield pretended


def finished(kind, place):
    student = get_pclora_model(tiny(kind).to(place), PCLoRAConfig(rank=2, init="svd"))
    set_progress(student, 1.0)
    return compress(student)


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_a_model_on_the_device_is_saved_as_one_on_the_cpu(gpu, tmp_path, kind):
    small = finished(kind, "cuda")
    again = from_pretrained(save_pretrained(small, tmp_path / "saved"))
    wanted = small.state_dict()
    assert all(v.is_cpu and torch.equal(wanted[n].cpu(), v) for n, v in again.state_dict().items())


def test_the_standalone_export_of_a_model_on_the_device_is_that_of_the_cpu(gpu, tmp_path):
    small, dense = finished("vit", "cuda"), tiny("vit").to("cuda")
    from pclora_lab.export.standalone import export_standalone

    report = export_standalone(small, tmp_path / "there", dense=dense)
    export_standalone(finished("vit", "cpu"), tmp_path / "here")
    assert report.max_logit_difference < 1e-5
    here, there = (load_file(tmp_path / n / "model.safetensors") for n in ("here", "there"))
    assert here.keys() == there.keys() and all(torch.equal(here[n], there[n]) for n in here)
    assert all(p.is_cuda for p in (*small.parameters(), *dense.parameters()))


@pytest.mark.parametrize("name", ["onnx", "torch_export"])
def test_a_graph_is_made_from_a_copy_on_the_cpu(gpu, tmp_path, monkeypatch, name):
    """The exporters themselves see no device: tracing is not pretended."""
    from pclora_lab.export import report

    small = finished("vit", "cuda")
    model, dense = report.ready(small, tmp_path / FORMATS[name].file, tiny("vit").cuda(), False)
    assert all(p.is_cpu for p in (*model.parameters(), *dense.parameters()))
    assert next(small.parameters()).is_cuda
    inputs = try_inputs(model)["pixel_values"]
    assert torch.equal(call_model(model, inputs), call_model(small, inputs.cuda()).cpu())

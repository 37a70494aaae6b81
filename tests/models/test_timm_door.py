"""``timm.create_model`` opens what this package saved, or says what does."""

import json

import huggingface_hub.constants as hub
import pytest
import timm
import torch
from small_net import SmallNet, small_batch

from pclora_lab import load_model, save_pretrained
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.saved_layers import low_rank_layers


@pytest.fixture(scope="module")
def small():
    return SVD(SVDConfig(rank=2)).apply(load_model("vit_digits"))


@pytest.fixture
def folder(small, tmp_path):
    return save_pretrained(small, tmp_path / "small")


PIXELS = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(model):
    return model.eval()(PIXELS)


def test_a_saved_folder_is_created_as_itself(small, folder):
    again = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(logits(again), logits(small))
    assert low_rank_layers(again).keys() == low_rank_layers(small).keys()
    prepared = timm.data.resolve_model_data_config(again)
    assert tuple(prepared["input_size"]) == (1, 8, 8) and tuple(prepared["mean"]) == (0.5,)
    assert json.loads((folder / "config.json").read_text())["architecture"] == "pclora_lab"
    untrained = timm.create_model(f"local-dir:{folder}")
    assert untrained.state_dict().keys() == small.state_dict().keys()
    assert not torch.equal(logits(untrained), logits(small))
    # And as itself it is saved and created once more.
    once_more = timm.create_model(
        f"local-dir:{save_pretrained(again, folder.parent / 'again')}", pretrained=True
    )
    assert torch.equal(logits(once_more), logits(small))


def test_a_split_or_narrow_architecture_comes_back_as_it_was(tmp_path):
    for name, options in {
        "split": {"split_qkv": True}, "narrow": {"width": 48, "pretrained": False},
    }.items():  # fmt: skip
        model = SVD(SVDConfig(rank=2)).apply(load_model("vit_digits", **options))
        folder = save_pretrained(model, tmp_path / name)
        again = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert torch.equal(logits(again), logits(model))


def test_another_number_of_classes_gets_a_new_head_on_the_same_body(small, folder):
    again = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)
    assert again.num_classes == 3 and logits(again).shape == (3, 3)
    with torch.no_grad():
        assert torch.equal(again.forward_features(PIXELS), small.forward_features(PIXELS))


def test_the_hub_is_a_folder_too(small, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--me--small", "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / commit)
    for name in ("hf-hub:me/small", "hf-hub:me/small@main"):
        assert torch.equal(logits(timm.create_model(name, pretrained=True)), logits(small))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_rate": 0.1, "depth": 2}, "as it was saved, without depth, drop_rate: leave"),
        ({"img_size": 16}, "was saved for img_size="),
        ({"num_classes": -1}, "num_classes"),
    ],
)
def test_what_a_saved_model_can_not_be_is_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model(f"local-dir:{folder}", pretrained=True, **options)


def test_its_name_alone_is_no_model():
    for door in (timm.create_model, load_model):
        with pytest.raises(ValueError, match="is the architecture of a saved model: give its fol"):
            door("pclora_lab")


def test_without_a_recipe_the_loader_that_needs_none_is_named(tmp_path):
    small = SVD(SVDConfig(rank=2)).apply(SmallNet(), MethodContext(example=small_batch()))
    folder = save_pretrained(small, tmp_path)
    with pytest.raises(ValueError, match="holds no recipe for its architecture.*pass model="):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


def test_a_damaged_file_is_refused(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-9])
    with pytest.raises(ValueError, match="model.safetensors"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)

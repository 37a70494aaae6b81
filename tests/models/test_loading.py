"""Models by name: embedded, timm, folders; what can't be loaded says why and what can."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.loading import load_data
from pclora_lab.models.adapting import head_is_new
from pclora_lab.models.loading import describe_model, load_model, local_model
from pclora_lab.models.recipes import build_from_recipe, model_recipe
from pclora_lab.nn.forward import example_input
from pclora_lab.nn.split_qkv import SplitLinear

DEIT = "deit_tiny_patch16_224"


@pytest.fixture(scope="module")
def deit_folder(tmp_path_factory):
    """A folder in timm's format with a DeiT-Tiny that was never trained, 7 classes."""
    folder = tmp_path_factory.mktemp("deit")
    model = timm.create_model(DEIT, num_classes=7)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": DEIT, "num_classes": 7, "pretrained_cfg": {"num_classes": 7}}
    config["pretrained_cfg"] |= {"input_size": [3, 224, 224], "classifier": "head"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_embedded_model_reads_digits():
    model = load_model("vit_digits")
    pixels = ImageBatches(load_data("digits").validation, Preprocessing.of(model))
    images, labels = pixels.batch(torch.arange(len(pixels)))
    with torch.no_grad():
        predictions = model(images).argmax(1)
    assert (predictions == labels).float().mean() >= 0.94
    assert not model.training and not head_is_new(model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tinny_patch16_224", "unknown model 'vit_tinny_patch16_224'.*vit_tiny_patch16_224"),
        ("vit_digit", "unknown model 'vit_digit'.*did you mean vit_digits"),
        ("zzzz", "unknown model 'zzzz'.*timm.list_models"),
        ("no/such/folder", "unknown model 'no/such/folder'.*not a folder"),
        ("local-dir:no/such/folder", "no model in no/such/folder.*config.json"),
        (f"{DEIT}.no_such_tag", "no_such_tag"),
        ("", "model '' is no name"),
        (None, "model None is no name"),
    ],
)
def test_an_unknown_name_is_refused_with_what_there_is(name, message):
    with pytest.raises(ValueError, match=message):
        load_model(name)


def test_an_unreachable_hub_says_what_works_without_it():
    with pytest.raises(ConnectionError, match="Offline, use vit_digits, local-dir:PATH"):
        load_model("hf-hub:pclora-lab/there-is-no-such-model")


@pytest.mark.parametrize("form", ["{}", "local-dir:{}"])
def test_a_folder_is_loaded_by_path(deit_folder, form):
    model = load_model(form.format(deit_folder), img_size=32)
    other = load_model(str(deit_folder), img_size=32)
    assert model.num_classes == 7 and not head_is_new(model)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(x), other(x)), "the weights come from the folder"


def test_another_number_of_classes_gives_a_new_head_and_keeps_the_rest(deit_folder):
    seeds = (0, 0, 1)
    first, same, other = (
        load_model(str(deit_folder), num_classes=3, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    )
    assert head_is_new(first) and first.head.weight.shape == (3, 192)
    assert torch.equal(first.head.weight, same.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(first.patch_embed.proj.weight, other.patch_embed.proj.weight)
    assert head_is_new(load_model("vit_digits", num_classes=2))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no model in .*there is no config.json"),
        ({"config.json": "{}"}, "no model.safetensors in .*"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "pickled weights .* are refused"),
        ({"config.json": "{}", "model.safetensors": ""}, "names no architecture"),
        ({"config.json": '{"arch', "model.safetensors": ""}, "config.json"),
        (
            {"config.json": '{"architecture": "nope"}', "model.safetensors": ""},
            "config.json.*nope|unknown model.*nope",
        ),
    ],
    ids="empty weights pickle architecture half unknown".split(),
)
def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["vit_digits", DEIT])
def test_a_folder_that_happens_to_have_a_models_name_does_not_hide_it(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_model(name, pretrained=False).pretrained_cfg["architecture"] == name


@pytest.mark.parametrize(
    ("name", "img_size", "message"),
    [
        ("vit_digits", 16, "vit_digits takes 8 px images, not 16"),
        (DEIT, 8, f"'{DEIT}' can't take img_size=8"),
    ],
)
def test_a_size_that_a_model_cannot_take_is_refused(name, img_size, message):
    with pytest.raises(ValueError, match=message):
        load_model(name, img_size=img_size, pretrained=False)


@pytest.mark.parametrize("img_size", [64, None])
def test_the_input_follows_img_size(img_size):
    model = load_model(DEIT, img_size=img_size, num_classes=3, pretrained=False)
    side = img_size or 224
    assert Preprocessing.of(model).input_size == (3, side, side)
    assert example_input(model).shape == (1, 3, side, side)
    assert model.pos_embed.shape[1] == (side // 16) ** 2 + 1


def test_a_recipe_builds_the_same_architecture_and_preprocessing(deit_folder):
    model = load_model(str(deit_folder), img_size=48, num_classes=3)
    recipe = json.loads(json.dumps(model_recipe(model)))
    twin = build_from_recipe(recipe)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 48, 48)
    assert torch.equal(twin(x), model(x))
    assert Preprocessing.of(twin) == Preprocessing.of(model)
    assert model_recipe(twin) == recipe
    assert not head_is_new(twin), "it waits for the head that was saved"
    assert model_recipe(torch.nn.Linear(1, 1)) is None


def test_a_description_has_the_shapes_and_no_storage():
    described = describe_model("vit_digits", num_classes=3)
    shapes = {
        name: t.shape for name, t in load_model("vit_digits", num_classes=3).state_dict().items()
    }
    assert {name: t.shape for name, t in described.state_dict().items()} == shapes
    assert all(p.is_meta for p in described.parameters())


def test_the_real_deit_tiny_loads_at_64_pixels(shared_data, tmp_path):
    model = load_model(f"local-dir:{shared_data / 'deit_tiny'}", num_classes=10, img_size=64)
    assert head_is_new(model) and sum(p.numel() for p in model.parameters()) == 5_491_786
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    shutil.copy(shared_data / "deit_tiny" / "config.json", tmp_path)
    with pytest.raises(ValueError, match="no model.safetensors"):
        load_model(str(tmp_path))


def test_damaged_weights_are_named(tmp_path):
    config = '{"architecture": "deit_tiny_patch16_224", "num_classes": 1000}'
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ValueError, match="damaged or cut short"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("given", "most"), [("num_classes", 2**20), ("width", 2**16)], ids=["classes", "width"]
)
def test_a_size_that_is_given_has_a_bound_that_the_error_names(given, most):
    with pytest.raises(ValueError, match=f"load_model: {given} is .* from 0 to {most:,}"):
        load_model("vit_digits", pretrained=False, **{given: most + 1})
    with pytest.raises(ValueError, match=f"load_model: {given} is -1"):
        load_model("vit_digits", pretrained=False, **{given: -1})
    if given == "num_classes":
        assert describe_model("vit_digits", num_classes=most).num_classes == most


def test_another_width_has_no_weights():
    with pytest.raises(ValueError, match="'vit_digits' of width 48 has no weights: pass pretr"):
        load_model("vit_digits", width=48)
    assert load_model("vit_digits", width=48, pretrained=False).embed_dim == 48


def test_a_model_without_a_head_says_so():
    with pytest.raises(ValueError, match="model 'test_vit' has no classifier head: pass num_cl"):
        load_model("test_vit", pretrained=False, num_classes=0)


def test_a_size_below_one_patch_is_refused():
    with pytest.raises(ValueError, match="can't take img_size=8: that is smaller than one patch"):
        load_model(DEIT, pretrained=False, img_size=8)


@pytest.mark.parametrize("split", [True, False])
def test_query_key_and_value_are_taken_apart_where_that_is_asked(split):
    model = load_model("vit_digits", split_qkv=split)
    assert any(isinstance(m, SplitLinear) for m in model.modules()) is split
    assert bool(model_recipe(model).get("split_qkv")) is split and not model.training


def test_pickled_weights_are_all_named_and_the_first_one_shown_how_to_convert(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in ("b.pt", "a.bin", "c.ckpt", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    told = r"pickled weights \(a.bin, b.pt, c.ckpt\) are.*torch.load\('a.bin', weights_only=True"
    with pytest.raises(ValueError, match=told):
        load_model(str(tmp_path))


def test_a_folder_is_a_place_and_a_name_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("mine", "./mine", "local-dir:mine", f"{tmp_path}/mine"):
        assert local_model(name).resolve() == tmp_path / "mine"
    assert local_model(" local-dir:nowhere ") == Path("nowhere")
    for name in ("vit_digits", DEIT, "owner/name", "config:bert", "hf-hub:owner/name"):
        assert local_model(name) is None
    with pytest.raises(ValueError, match="is a path, but there is no such folder"):
        local_model(r"C:\models\mine")

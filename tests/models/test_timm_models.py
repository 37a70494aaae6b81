"""timm's folders say more than a name: options, names of classes, sizes, two heads."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pclora_lab import from_pretrained, save_pretrained
from pclora_lab.data.images import Preprocessing
from pclora_lab.models.adapting import head_is_new, head_matches, reset_head
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.models.recipes import build_from_recipe, model_recipe
from pclora_lab.models.timm_models import (
    check_timm_folder,
    check_timm_name,
    is_timm_name,
    reset_timm_head,
)
from pclora_lab.nn.forward import call_model, example_input

VIT = "vit_tiny_patch16_224"
SMALL = {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3}


def write(folder, name, changes=None, **options):
    """A folder as timm writes it."""
    torch.manual_seed(0)
    made = timm.create_model(name, num_classes=3, **options).eval()
    folder.mkdir()
    save_file(made.state_dict(), folder / "model.safetensors")
    config = {"architecture": name, "num_classes": 3, "model_args": options}
    config["pretrained_cfg"] = {**made.pretrained_cfg, "num_classes": 3}
    (folder / "config.json").write_text(json.dumps({**config, **(changes or {})}))
    return folder, made


def test_the_options_of_a_folder_are_kept_in_what_is_saved(tmp_path):
    folder, made = write(tmp_path / "vit", VIT, **SMALL)
    model = load_model(folder)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), made(x)) and not head_is_new(model)
    assert example_input(model).shape == (1, 3, 32, 32)
    assert Preprocessing.of(model).input_size == (3, 32, 32)
    again = from_pretrained(save_pretrained(model, tmp_path / "saved"))
    assert torch.equal(again(x), made(x)) and Preprocessing.of(again) == Preprocessing.of(model)
    assert load_model(folder, img_size=64)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_a_folder_without_weights_is_described_with_its_options(tmp_path):
    folder, made = write(tmp_path / "vit", VIT, **SMALL)
    (folder / "model.safetensors").unlink()
    described = describe_model(str(folder))
    assert sum(p.numel() for p in described.parameters()) == sum(
        p.numel() for p in made.parameters()
    )
    with pytest.raises(ValueError, match="a configuration without weights.*plan"):
        load_model(folder)


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained", "pretrained_cfg", "cache_dir"])
def test_a_saved_model_can_not_make_timm_read_a_file(tmp_path, key):
    recipe = model_recipe(load_model(VIT, pretrained=False, img_size=32))
    with pytest.raises(ValueError, match=f"the saved model sets {key}"):
        build_from_recipe({**recipe, "options": {key: "evil.pth"}})


@pytest.mark.parametrize("options", [{"no_such": 1}, {"depth": "two"}, {"embed_dim": -1}])
def test_options_that_are_none_are_named(tmp_path, options):
    folder, _ = write(tmp_path / "vit", VIT, {"model_args": options})
    with pytest.raises(ValueError, match="can't be built"):
        load_model(folder)


def test_the_names_of_a_folders_classes_are_known(tmp_path):
    names = ["ant", "bee", "cat"]
    folder, _ = write(tmp_path / "vit", VIT, {"label_names": names}, **SMALL)
    model = load_model(folder)
    assert model.pclora_class_names == tuple(names)
    assert head_matches(model, tuple(names)) and not head_matches(model, ("bee", "ant", "cat"))


def test_both_heads_of_a_distilled_model_are_drawn(tmp_path):
    options = {"img_size": 32, "depth": 2}
    folder, _ = write(tmp_path / "deit", "deit_tiny_distilled_patch16_224", **options)
    first, same = (
        load_model(folder, num_classes=5, generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    )
    assert head_is_new(first) and first.head.out_features == first.head_dist.out_features == 5
    assert torch.equal(first.head_dist.weight, same.head_dist.weight)
    reset_head(first, 4, torch.Generator().manual_seed(0))
    assert call_model(first, torch.zeros(1, 3, 32, 32)).shape == (1, 4)


@pytest.mark.parametrize(("name", "own"), [("crossvit_9_240", 240), ("efficientformer_l1", 224)])
def test_a_size_that_a_model_is_built_for_and_can_not_run_is_refused(name, own):
    cure = f"leave img_size out for its own, {own}$"
    with pytest.raises(ValueError, match=f"'{name}' can't take img_size=96 .*{cure}"):
        describe_model(name, num_classes=3, img_size=96)


def test_a_size_that_timm_takes_and_forgets_is_kept(tmp_path):
    model = load_model("efficientvit_m0", pretrained=False, num_classes=3, img_size=128)
    again = build_from_recipe(json.loads(json.dumps(model_recipe(model))))
    for found in (model, again):
        assert example_input(found).shape[-1] == Preprocessing.of(found).input_size[-1] == 128


@pytest.mark.parametrize(("name", "size"), [("test_convnext", None), ("test_vit", 32)])
def test_a_recipe_names_a_size_only_where_timm_takes_one(name, size):
    model = load_model(name, pretrained=False, num_classes=3, img_size=32)
    assert model_recipe(model)["img_size"] == size
    assert Preprocessing.of(build_from_recipe(model_recipe(model))).input_size[-1] == 32


def test_timms_own_prefix_is_taken():
    assert load_model(f"timm/{VIT}", pretrained=False, img_size=32).num_classes == 1000


@pytest.mark.parametrize("name", ["weights.safetensors", "open_clip_model.safetensors"])
def test_pickled_weights_beside_others_are_never_read(tmp_path, name):
    folder, made = write(tmp_path / "vit", VIT, **SMALL)
    (folder / "model.safetensors").rename(folder / name)
    for pickled in ("pytorch_model.bin", "pytorch_model.pth", "model.pth"):
        torch.save({"odd": torch.ones(1)}, folder / pickled)
    model = load_model(folder)
    assert torch.equal(model.patch_embed.proj.weight, made.patch_embed.proj.weight)


@pytest.mark.parametrize("prefix", ["", "timm/"])
@pytest.mark.parametrize("tag", ["", ".fb_in1k"])
def test_a_name_may_say_whose_it_is_and_which_weights(prefix, tag):
    check_timm_name(f"{prefix}deit_tiny_patch16_224{tag}")
    with pytest.raises(ValueError, match="did you mean deit_tiny_patch16_224"):
        check_timm_name(f"{prefix}deit_tiny_patch16_22{tag}")


@pytest.mark.parametrize(
    ("labels", "known"),
    [(["ant", "bee"], None), ([1, 2, 3], ("1", "2", "3")), ("abc", None), ([], None)],
)
def test_names_are_taken_where_there_is_one_for_every_class(tmp_path, labels, known):
    folder, _ = write(tmp_path / "vit", VIT, {"label_names": labels}, **SMALL)
    assert getattr(load_model(folder), "pclora_class_names", None) == known


@pytest.mark.parametrize("size", [32, [32, 48]])
def test_a_size_in_the_options_of_a_folder_is_that_of_its_input(tmp_path, size):
    folder, _ = write(tmp_path / "vit", VIT, **{**SMALL, "img_size": size})
    sides = (size, size) if isinstance(size, int) else tuple(size)
    model = load_model(folder)
    assert example_input(model).shape == (1, 3, *sides)
    assert Preprocessing.of(model).input_size == (3, *sides)


@pytest.mark.parametrize("name", ["test_vit", "vit_digits", "tiny_vit"])
def test_a_recipe_says_of_a_size_what_was_asked_for(name):
    plain = model_recipe(load_model(name, pretrained=False))
    assert plain["img_size"] is None and "width" not in plain and not plain.get("options")
    side = 8 if name == "vit_digits" else 32
    other = model_recipe(load_model(name, pretrained=False, num_classes=3, img_size=side, width=48))
    assert (other["num_classes"], other["img_size"], other["width"]) == (3, side, 48)
    assert set(other["preprocessing"]) <= {
        "input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode",
    }  # fmt: skip


def test_a_model_of_somebody_elses_has_no_head_that_is_known():
    with pytest.raises(ValueError, match="Linear has no reset_classifier, as timm's models have"):
        reset_timm_head(nn.Linear(2, 2), 3, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "names no architecture and no model_type"),
        ({"architecture": None}, "names no architecture and no model_type"),
        ({"architecture": 7}, "names no architecture and no model_type"),
        ({"architecture": "vit_tinny"}, "names 'vit_tinny', unknown to timm"),
    ],
)
def test_a_folder_that_is_not_timms_is_refused(tmp_path, config, message):
    check_timm_folder(tmp_path, {"architecture": VIT})
    with pytest.raises(ValueError, match=f"{tmp_path}/config.json {message}"):
        check_timm_folder(tmp_path, config)


def test_at_most_three_near_names_are_told():
    with pytest.raises(ValueError, match="did you mean vit_small[^,]*, [^,]*, [^,?]*[?]"):
        check_timm_name("vit_small")
    assert not is_timm_name("vit_small") and is_timm_name("timm/test_vit.r160_in1k")
    check_timm_name("hf-hub:somebody/something")


@pytest.mark.parametrize("given", [{"width": 49}, {"width": 49, "img_size": 32}])
def test_a_width_that_can_not_be_is_said_with_the_width(given):
    with pytest.raises(ValueError, match="'test_vit' can't be built 49 channels wide: "):
        load_model("test_vit", pretrained=False, **given)

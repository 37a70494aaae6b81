"""What an architecture is built from again, and who is told what is missing."""

import json

import pytest
import torch
from tiny import tiny
from tiny_hf import write_model
from torch import nn

from pclora_lab import from_pretrained, load_model, save_pretrained
from pclora_lab.models.adapting import head_is_new
from pclora_lab.models.recipes import (
    build_from_recipe,
    check_plan,
    dense_twin,
    model_recipe,
    require_recipe,
)
from pclora_lab.nn.split_qkv import SplitLinear


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("vit_digits", {"num_classes", "img_size", "architecture", "preprocessing"}),
        ("bert", {"num_classes", "img_size", "config", "task"}),
    ],
)
def test_a_recipe_that_lacks_something_says_what(kind, needed):
    recipe = model_recipe(tiny(kind))
    for key in needed:
        with pytest.raises(ValueError, match=f"recipe of the saved model lacks {key}$"):
            build_from_recipe({k: v for k, v in recipe.items() if k != key})
    with pytest.raises(ValueError, match=f"lacks {', '.join(sorted(needed))}$"):
        build_from_recipe({key: recipe[key] for key in recipe.keys() & {"library"}})


@pytest.mark.parametrize(
    ("kind", "is_split"),
    [("vit_digits", False), ("vit_digits", True), ("gpt2", True), ("bert", False), ("vit", False)],
)
def test_a_recipe_is_the_models_own_and_builds_what_it_says(kind, is_split):
    model = tiny(kind, split_qkv=is_split)
    recipe = model_recipe(model)
    model_recipe(model)["num_classes"] = 99  # a copy
    again = build_from_recipe(recipe)
    recipe["num_classes"] = 98
    for found in (model, again):
        assert model_recipe(found)["num_classes"] == found.num_classes == 3
        assert any(isinstance(m, SplitLinear) for m in found.modules()) is is_split
    assert not head_is_new(again), "it waits for the head that was saved"
    twin = dense_twin(model.train())
    assert not twin.training and twin.state_dict().keys() == model.state_dict().keys()


def test_a_model_that_nobody_loaded_by_name_has_none():
    assert model_recipe(nn.Linear(1, 1)) is None
    with pytest.raises(ValueError, match="^Linear was not loaded by name.* start from load_model"):
        require_recipe(nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit digits", "names no timm architecture: 'vit digits'"),
        ("", "names no timm architecture: ''"),
        (3, "names no timm architecture: 3"),
        ("bert_glosses", "unknown model 'bert_glosses': update timm, or pass model="),
    ],
)
def test_a_recipe_names_an_architecture_and_nothing_else(name, message):
    with pytest.raises(ValueError, match=message):
        build_from_recipe({**model_recipe(tiny("vit_digits")), "architecture": name})


def edited(folder, change):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    root = tmp_path_factory.mktemp("bert")
    return save_pretrained(load_model(write_model(root / "dense", "bert")), root / "saved")


def test_two_places_of_a_file_may_not_say_another_number_of_classes(bert, tmp_path):
    from_pretrained(bert)
    folder = save_pretrained(from_pretrained(bert), tmp_path / "saved")
    recipe = lambda values: values["quantization_config"]["model"]  # noqa: E731
    edited(folder, lambda values: recipe(values).update(num_classes=None))
    assert from_pretrained(folder).config.num_labels == 3, "of one that is no classifier"
    edited(folder, lambda values: recipe(values).update(num_classes=4))
    with pytest.raises(ValueError, match="says 4 classes in one place and 3 in another"):
        from_pretrained(folder)


def test_a_plan_without_weights_is_not_compared(tmp_path):
    check_plan(tmp_path, {"model": {}})
    with pytest.raises(ValueError, match="recipe of the saved model lacks"):
        (tmp_path / "model.safetensors").write_bytes(b"")
        check_plan(tmp_path, {"model": {}})


def test_a_saved_model_knows_its_classes_its_head_and_its_longest_text(bert, tmp_path):
    short = save_pretrained(load_model(bert, max_tokens=5), tmp_path / "short")
    for found in (load_model(short), from_pretrained(short)):
        assert found.pclora_text.max_tokens == model_recipe(found)["tokens"] == 5
        assert found.num_classes == 3 and not head_is_new(found) and not found.training
    longer = load_model(short, max_tokens=7)
    assert longer.pclora_text.max_tokens == model_recipe(longer)["tokens"] == 7


def test_a_saved_image_model_has_no_text_to_cut_and_one_size(tmp_path):
    folder = save_pretrained(load_model("vit_digits"), tmp_path / "digits")
    assert "tokens" not in model_recipe(load_model(folder, max_tokens=3))
    assert load_model(folder, img_size=8).num_classes == 10
    with pytest.raises(ValueError, match="was saved for img_size=None, not 16"):
        load_model(folder, img_size=16)
    other = load_model(folder, num_classes=10)
    assert not head_is_new(other) and torch.equal(other.head.bias, load_model(folder).head.bias)
    assert head_is_new(load_model(folder, num_classes=3))
    sized = load_model("test_vit", pretrained=False, num_classes=3, img_size=32)
    assert load_model(save_pretrained(sized, tmp_path / "sized"), img_size=32).num_classes == 3

"""What a model keeps about itself, and what it answers when it keeps nothing."""

import pytest
import torch
from torch import nn

from pclora_lab.nn.metadata import note_precision, pretrained_cfg_of, recipe_of, set_metadata


def test_what_is_kept_replaces_what_has_the_same_name_and_nothing_else():
    model = nn.Linear(2, 2)
    set_metadata(model, num_classes=3, pclora_options={"a": 1})
    set_metadata(model, num_classes=5)
    assert model.num_classes == 5 and model.pclora_options == {"a": 1}
    assert set(model.state_dict()) == {"weight", "bias"}


def test_a_recipe_is_the_models_own():
    model, recipe = nn.Linear(2, 2), {}
    set_metadata(model, pclora_recipe=recipe)
    assert recipe_of(model) is recipe, "also one in which nothing is written"


def test_a_model_that_was_not_loaded_by_name_has_no_recipe():
    with pytest.raises(ValueError, match="^Linear was not loaded by name.*start from load_model$"):
        recipe_of(nn.Linear(2, 2))


@pytest.mark.parametrize("known", [None, {}, {"mean": (0.5,)}])
def test_what_is_known_of_the_pixels_may_be_nothing(known):
    model = nn.Linear(2, 2)
    assert pretrained_cfg_of(model) == {}
    model.pretrained_cfg = known
    assert pretrained_cfg_of(model) == (known or {})


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        (torch.bfloat16, "bfloat16"),
        (torch.float16, "float16"),
        ("float16", "float16"),
        ("torch.float16", "float16"),
        (torch.float32, None),
        (torch.float64, None),
        (None, None),
    ],
)
def test_only_half_precision_is_noted(saved, name):
    model = nn.Linear(2, 2)
    note_precision(model, saved)
    assert getattr(model, "pclora_saved_in", None) == name

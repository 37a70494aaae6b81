"""Hashes tell apart what gives other numbers, and nothing else."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from torch import nn

import pclora_lab
from pclora_lab import load_data, load_model
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity import hashes
from pclora_lab.training.identity.description import described
from pclora_lab.training.identity.hashes import (
    hash_of_architecture,
    hash_of_model,
    hash_of_tensors,
    identity_of,
)
from pclora_lab.training.identity.record import determining_settings

TENSORS = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3])}


def test_a_hash_has_16_digits_and_is_the_same_in_any_order_and_layout():
    backwards = dict(reversed(TENSORS.items()))
    found = hash_of_tensors(TENSORS)
    assert len(found) == 16 and int(found, 16) >= 0
    assert hash_of_tensors(backwards) == found
    table = torch.arange(6.0).reshape(2, 3)
    turned = table.T.contiguous().T
    assert not turned.is_contiguous()
    assert hash_of_tensors({"a": turned}) == hash_of_tensors({"a": table})


@pytest.mark.parametrize(
    "other",
    [
        {**TENSORS, "a": torch.tensor([[1.0, 2.5]])},
        {**TENSORS, "a": torch.tensor([1.0, 2.0])},
        {**TENSORS, "a": TENSORS["a"].view(torch.int32)},
        {"c": TENSORS["a"], "b": TENSORS["b"]},
        {"a": TENSORS["a"]},
    ],
    ids=["values", "shape", "type", "name", "fewer"],
)
def test_other_values_shapes_types_and_names_are_another_hash(other):
    assert hash_of_tensors(other) != hash_of_tensors(TENSORS)


def test_the_hash_of_a_model_is_that_of_parameters_and_buffers():
    model = nn.BatchNorm1d(3)
    before = hash_of_model(model)
    assert before == hash_of_tensors(model.state_dict())
    model.running_mean += 1
    assert hash_of_model(model) != before


def built(**recipe):
    model = nn.Linear(2, 2)
    model.pclora_recipe = {"library": "transformers", **recipe}
    return hash_of_architecture(model)


def test_an_architecture_is_what_a_model_is_built_from():
    config = {"layers": 2, "transformers_version": "5"}
    known = built(config=config)
    assert len(known) == 16
    assert built(config={**config, "layers": 3}) != known
    # Another version builds the same; the preprocessing has a hash of its own.
    assert built(config={**config, "transformers_version": "6"}) == known
    assert built(config=config, preprocessing={"mean": 1}, tokens=12) == known
    assert built(config=config, img_size=32) != known


def test_a_model_that_was_not_loaded_by_name_has_no_architecture():
    assert hash_of_architecture(nn.Linear(2, 2)) == ""
    model = nn.Linear(2, 2)
    model.pclora_recipe = None
    assert hash_of_architecture(model) == ""
    assert built(config="of another kind")


def test_an_identity_says_what_a_run_is_made_from_and_where():
    model, data, config = load_model("vit_digits"), load_data("digits"), RunConfig(steps=7)
    found = identity_of(model, data, config, {"device": "cpu"})
    assert found.data == data.fingerprint() and found.weights == hash_of_model(model)
    assert found.architecture == hash_of_architecture(model) != ""
    assert found.settings == determining_settings(config) and found.settings["steps"] == 7
    assert set(found.descriptions) == {"architecture", "preprocessing"}
    assert found.descriptions["architecture"] == described(
        {k: v for k, v in model.pclora_recipe.items() if k not in ("preprocessing", "tokens")}
    )
    assert found.descriptions["preprocessing"] and found.preprocessing
    where = dict(found.environment)
    assert where.pop("device") == "cpu" and where.pop("pclora_lab") == pclora_lab.__version__
    assert where == {p: version(p) for p in ("torch", "timm", "transformers", "tokenizers")}
    assert found.teacher == found.teacher_key == "" and found.notes == ()


def test_another_preprocessing_is_another_hash():
    model, data = load_model("vit_digits"), load_data("digits")
    usual = identity_of(model, data, RunConfig(), {})
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.1,), "std": (0.9,)}
    recipe = dict(model.pclora_recipe)
    if isinstance(recipe.get("preprocessing"), dict):
        recipe["preprocessing"] = {**recipe["preprocessing"], "mean": (0.1,), "std": (0.9,)}
    model.pclora_recipe = recipe
    other = identity_of(model, data, RunConfig(), {})
    assert other.preprocessing != usual.preprocessing
    assert (
        replace(other, preprocessing=usual.preprocessing, descriptions=usual.descriptions) == usual
    )


def test_a_package_that_is_not_installed_is_left_out_and_the_others_are_told(monkeypatch):
    def lacking(name):
        if name == "timm":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(hashes, "version", lacking)
    found = identity_of(load_model("vit_digits"), load_data("digits"), RunConfig(), {})
    assert set(found.environment) == {"pclora_lab", "torch", "transformers", "tokenizers"}

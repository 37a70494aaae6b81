"""A name gives a method, a config its own, and plain values the config that they came from."""

import dataclasses
from dataclasses import FrozenInstanceError

import pytest

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import (
    METHODS,
    compared_methods,
    config_from_dict,
    make_method,
    method_class,
)
from pclora_lab.methods.svd import SVDConfig

NAMES = ("pclora", "pela", "snella", "lora", "svd_kd", "svd", "activation_svd", "full", "small")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_leaves_out_has_its_default(name):
    # Which these are is held by tests/test_settings.py.
    config = config_from_dict({"name": name})
    assert config == method_class(name).Config() and config.to_dict()["name"] == name


def test_these_methods_there_are_each_under_its_own_name():
    assert tuple(METHODS)[: len(NAMES)] == NAMES
    for name in NAMES:
        method = method_class(name)
        assert method is METHODS[name] and method.name == method.Config.name == name


@pytest.mark.parametrize("name", ["magic", "", "PCLoRA", None, 7, ["pclora"]])
def test_another_name_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match="unknown method .*: use one of pclora, pela"):
        method_class(name)


def test_a_comparison_takes_those_that_say_so(monkeypatch):
    before = compared_methods()
    assert "small" not in before and "full" in before
    monkeypatch.setattr(METHODS["small"], "in_default_comparison", True)
    monkeypatch.setattr(METHODS["full"], "in_default_comparison", False)
    assert compared_methods() == (*(n for n in before if n != "full"), "small")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_finds_its_method_and_comes_back_from_plain_values(name):
    config = method_class(name).Config(targets="fc1")
    method = make_method(config)
    assert type(method) is METHODS[name] and method.config is config
    values = config.to_dict()
    kept = dict(values)
    assert config_from_dict(values) == config and values == kept


def test_without_a_name_values_are_those_of_pclora():
    assert config_from_dict({"rank": 3}) == PCLoRAConfig(rank=3)
    assert config_from_dict({"name": "svd", "rank": 3}) == SVDConfig(rank=3)
    with pytest.raises(ValueError, match=r"SVDConfig has no rankk \(did you mean rank\?\)"):
        config_from_dict({"name": "svd", "rankk": 3})


@pytest.mark.parametrize("name", NAMES)
def test_a_comparison_tries_a_few_rates_around_the_usual_one(name):
    method = method_class(name)
    lowest, *_, highest = method.lr_grid
    assert list(method.lr_grid) == sorted(method.lr_grid) and lowest < highest <= 10 * lowest
    assert lowest / 2 <= method.Config.default_lr <= 2 * highest


@pytest.mark.parametrize("name", NAMES)
def test_options_are_given_by_name_and_stay_as_they_are(name):
    config = method_class(name).Config
    for field in dataclasses.fields(config):
        with pytest.raises(TypeError, match="positional argument"):
            config(field.default)
    with pytest.raises(FrozenInstanceError):
        config().targets = "fc1"
    assert config() == config() != config(targets="fc1")
    assert hash(config()) == hash(config())

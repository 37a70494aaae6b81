"""Configurations: there and back through JSON, and every bad value refused with its cure."""

import dataclasses
import json
import math
import re

import pytest

from pclora_lab.methods.pclora.config import INITS, TAPS, PCLoRAConfig
from pclora_lab.training.config import TEACHERS, RunConfig

METHODS = [
    PCLoRAConfig(),
    PCLoRAConfig(rank="25%", init="svd", taps="blocks", targets="mlp", train_norms=True),
    PCLoRAConfig(rank=1, fade_end=1.0, alpha=0.0, logit_weight=0.5, temperature=4.0, scale=2.0),
    PCLoRAConfig(schedule=[(0, 1), (0.2, 0.7), (0.6, 0)]),
]
BAD_METHOD = [
    ("rank", 0, "a whole number such as 16"),
    ("rank", -1, "a whole number such as 16"),
    ("rank", 7.5, "a whole number such as 16"),
    ("rank", True, "a whole number such as 16"),
    ("rank", None, "a whole number such as 16"),
    ("rank", "abc", 'such as "25%"'),
    ("rank", "0%", 'such as "25%"'),
    ("rank", "120%", 'such as "25%"'),
    ("rank", "-5%", 'such as "25%"'),
    ("rank", "--5", 'such as "25%"'),
    ("rank", "²", 'such as "25%"'),
    ("fade_end", 0, "in (0, 1]"),
    ("fade_end", 1.5, "in (0, 1]"),
    ("fade_end", -0.1, "in (0, 1]"),
    ("fade_end", math.nan, "in (0, 1]"),
    ("fade_end", "half", "in (0, 1]"),
    ("alpha", -0.1, "in [0, 1]"),
    ("alpha", 1.1, "in [0, 1]"),
    ("alpha", math.nan, "in [0, 1]"),
    ("alpha", "much", "in [0, 1]"),
    ("logit_weight", -1, "at least 0"),
    ("temperature", 0, "at least 0.001"),
    ("scale", 0, "at least 1e-06"),
    ("init", "random", ", ".join(INITS)),
    ("taps", "heads", ", ".join(TAPS)),
    ("schedule", "cosine", "sine, one_minus_cosine, linear, identity"),
]
BAD_RUN = [
    ("steps", 0, "at least 1"),
    ("steps", 2.5, "whole number"),
    ("steps", True, "whole number"),
    ("batch_size", -1, "at least 1"),
    ("img_size", 0, "at least 1"),
    ("seed", -1, "at least 0"),
    ("lr", 0, "at least 1e-09"),
    ("lr", math.inf, "number"),
    ("teacher_lr", math.nan, "number"),
    ("weight_decay", -0.1, "at least 0"),
    ("warmup", 1.5, "in [0, 1]"),
    ("teacher", "none", ", ".join(TEACHERS)),
    ("precision", "float8", "auto, float32, bfloat16"),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.rank}-{method.init}")
def test_a_config_survives_json(method):
    config = RunConfig(model="some_vit", img_size=64, method=method, seed=3, teacher="pretrained")
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("given", "kept"), [(8, 8), ("8", 8), ("25%", "25%"), (" 12.5 % ", "12.5%"), ("100%", "100%")]
)
def test_a_rank_is_kept_in_one_form(given, kept):
    assert PCLoRAConfig(rank=given).rank == kept


@pytest.mark.parametrize(("name", "value", "cure"), BAD_METHOD)
def test_a_bad_method_value_is_named_with_its_cure(name, value, cure):
    with pytest.raises(ValueError, match=re.escape(cure)) as error:
        PCLoRAConfig(**{name: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(("name", "value", "cure"), BAD_RUN)
def test_a_bad_run_value_is_named_with_its_cure(name, value, cure):
    with pytest.raises(ValueError, match=re.escape(cure)) as error:
        RunConfig(**{name: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 5}, "RunConfig has no stepz: it has .*steps"),
        ({"method": {"rnak": 5}}, "PCLoRAConfig has no rnak: it has .*rank"),
    ],
)
def test_an_unknown_key_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.from_dict(values)


def test_a_bad_value_is_refused_when_read_from_json_too():
    values = RunConfig().to_dict()
    values["method"]["alpha"] = 2
    with pytest.raises(ValueError, match="alpha is 2"):
        RunConfig.from_dict(values)


def test_from_dict_leaves_its_argument_alone():
    values = RunConfig().to_dict()
    RunConfig.from_dict(values)
    assert values == RunConfig().to_dict()


@pytest.mark.parametrize("config", [PCLoRAConfig(), RunConfig()])
def test_a_config_is_frozen(config):
    field = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, "other")

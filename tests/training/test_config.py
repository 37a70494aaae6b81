"""Configurations: there and back through JSON, and every bad value refused with its cure."""

import dataclasses
import json
import math
import re

import pytest
import torch

from pclora_lab.fields import Part, options_of
from pclora_lab.methods.distillation.losses import TAPS
from pclora_lab.methods.pclora.config import INITS, PCLoRAConfig
from pclora_lab.methods.registry import METHODS as EVERY
from pclora_lab.training.config import (
    CONFIG_FORMAT,
    TEACHERS,
    RunConfig,
    read_config,
    upgrade_config,
    write_config,
)
from pclora_lab.training.identity import former
from pclora_lab.training.teacher import teacher_key

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
        ({"stepz": 5}, r"RunConfig has no stepz \(did you mean steps\?\): it has .*steps"),
        (
            {"method": {"rnak": 5}},
            r"method.rnak: PCLoRAConfig has no rnak \(did you mean rank\?\): it has .*rank",
        ),
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


KEYS = {Part.DATA, Part.TEACHER, Part.DENSE}


def test_every_setting_describes_itself():
    assert list(options_of(RunConfig)) == [f.name for f in dataclasses.fields(RunConfig)]
    for described in options_of(RunConfig).values():
        assert described.label and described.help
        assert described.hidden or described.group


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(RunConfig)])
def test_every_setting_is_in_a_key_or_says_that_it_is_in_none(name):
    parts = set(options_of(RunConfig)[name].parts)
    in_none = parts & {Part.STUDENT, Part.OBSERVES}
    assert len(parts & KEYS) == 1 if not in_none else not parts & KEYS


class Facts:
    """Stands for data in a key."""

    def fingerprint(self):
        return "abc"


def key(config, made=teacher_key):
    model = torch.nn.Linear(2, 2)
    for tensor in model.parameters():
        torch.nn.init.constant_(tensor, 0.5)
    return made(model, Facts(), config)


def test_the_key_of_a_teacher_stays_what_it_was(monkeypatch):
    changed = RunConfig(img_size=32, split_qkv=True, weight_decay=0, teacher_lr=1e-3, seed=4)
    # Kept teachers are found by these.
    assert [key(RunConfig()), key(changed)] == ["ffc883afc149418e", "a873b242d50aaccf"]
    # As the first format of the config had them: what older versions left is found by these.
    monkeypatch.setattr(former, "_former_hash", Facts.fingerprint)
    older = [key(config, former.former_teacher_key) for config in (RunConfig(), changed)]
    assert older == ["7e37504daa05b264", "60cf4d1fe35113bc"]


OTHER = {
    "img_size": 8, "max_tokens": 9, "split_qkv": True, "batch_size": 3, "weight_decay": 0.2,
    "warmup": 0.1, "grad_clip": 2.0, "teacher_steps": 7, "teacher_lr": 0.1, "teacher_seed": 5,
    "precision": "float32",
}  # fmt: skip


def test_a_teacher_is_another_one_by_what_determines_it_alone():
    assert set(OTHER) == {n for n, o in options_of(RunConfig).items() if Part.TEACHER in o.parts}
    keys = {key(RunConfig(**{name: value})) for name, value in OTHER.items()}
    assert len(keys | {key(RunConfig())}) == len(OTHER) + 1
    assert key(RunConfig(seed=3, steps=5, lr=0.1, eval_images=7, snapshots=0)) == key(RunConfig())


def test_a_config_file_says_its_format(tmp_path):
    config, path = RunConfig(steps=7, overrides=((2, 0.5), (4, None))), tmp_path / "config.json"
    write_config(path, config)
    assert json.loads(path.read_text())["version"] == CONFIG_FORMAT
    assert read_config(path) == read_config(tmp_path) == config
    assert "version" not in upgrade_config(json.loads(path.read_text()))


def test_a_config_file_without_a_version_is_of_the_first_format(tmp_path):
    old = {"moves": [[2, 0.5]], "layer_facts": False, "method": {"name": "svd", "spend": "energy"}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(old))
    config = read_config(path)
    assert config.overrides == ((2, 0.5),) and config.layer_metrics is False
    assert config.method.rank_allocation == "energy"


@pytest.mark.parametrize("version", range(1, CONFIG_FORMAT + 1))
def test_every_format_up_to_this_one_is_read(version):
    assert RunConfig.from_dict({"version": version, "steps": 7}) == RunConfig(steps=7)
    assert upgrade_config({"version": version, "steps": 7}) == {"steps": 7}
    # What a newer one wrote is left for whoever reads it.
    assert upgrade_config({"version": CONFIG_FORMAT + 1}) == {"version": CONFIG_FORMAT + 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"stepz": 5}, r"RunConfig has no stepz \(did you mean steps\?\)"),
        ({"method": {"name": "svd", "rnk": 5}}, r"method\.rnk: SVDConfig has no rnk \(.* rank\?\)"),
        ({"method": {"ratio": 2}}, r"method\.ratio: .*method\.name is missing, .*pclora"),
        ({"method": {"name": "sdv"}}, "method: unknown method 'sdv'"),
        ({"method": {"alpha": "much"}}, r"method\.alpha: alpha is 'much': it must be a number"),
        ({"method": {"fade_end": 2}}, r"method\.fade_end: fade end q is 2"),
        ({"method": {"name": "pela", "ratio": 1}}, r"method\.ratio: ratio is 1: it must be above"),
        (
            {"method": {"rank": [8]}},
            r"method\.rank: 8 is no layer name with its rank: write \{name: rank, …\}$",
        ),
        ({"method": "svd"}, "method is 'svd': it must be an object"),
        ({"steps": "many"}, "steps is 'many': it must be a whole number of at least 1"),
        ({"steps": [5]}, r"steps is \[5\]: it must be a whole number of at least 1"),
        ({"model": 5}, "model is 5: it must be a text"),
        ({"split_qkv": "yes"}, "split_qkv is 'yes': it must be True or False"),
        ({"overrides": 5}, "overrides is 5"),
        ({"overrides": [[1, 2]]}, "λ of a move is 2"),
        ({"version": 99}, "newer version of pclora_lab .format 99, this one reads up to"),
        ({"version": 99, "quantum": 1}, "newer version of pclora_lab"),
        ({"version": "new"}, "version is 'new': it must be a whole number"),
        ({"version": 0}, "version is 0: it must be a whole number from 1 on"),
        ({"version": True}, "version is True: it must be a whole number from 1 on"),
        ({"version": 1.5}, "version is 1.5: it must be a whole number from 1 on"),
        ([1], "holds a list, not an object"),
    ],
)
def test_a_config_file_that_cannot_be_is_named_with_key_and_cure(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)


def test_a_config_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config file .*mine.json: give one"):
        read_config(tmp_path / "mine.json")


@pytest.mark.parametrize("kind", [RunConfig, *(method.Config for method in EVERY.values())])
def test_options_are_given_by_name(kind):
    """A later version may have one more in between."""
    with pytest.raises(TypeError, match="positional argument"):
        kind(8)


@pytest.mark.parametrize("name", ["pclora", "svd_kd"])
def test_the_share_of_the_task_is_a_share(name):
    for alpha in (-0.1, 1.1):
        with pytest.raises(ValueError, match=re.escape("in [0, 1]")):
            EVERY[name].Config(alpha=alpha)

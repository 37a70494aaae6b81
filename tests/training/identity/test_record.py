"""What is said of two runs that are not made from the same."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from pclora_lab.data.loading import load_data
from pclora_lab.fields import Part, values_of
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.former import _former_hash
from pclora_lab.training.identity.record import (
    Identity,
    determining_settings,
    differences,
    refuse_changes,
)

MADE = Identity(
    "d", "p", "w", "a", "t", determining_settings(RunConfig()), {"torch": "2.1", "device": "cpu"}
)
HASHES = ("data", "preprocessing", "weights", "architecture", "teacher")


def test_it_comes_back_as_it_was_written():
    noted = replace(MADE, notes=("taken up",))
    assert Identity.from_dict({**noted.to_dict(), "notes": ["taken up"], "new": 3}) == noted


@pytest.mark.parametrize("name", [f.name for f in fields(Identity)])
def test_what_no_version_wrote_is_refused(name):
    with pytest.raises(TypeError):
        Identity.from_dict({**MADE.to_dict(), "notes": [], name: 3})


@pytest.mark.parametrize("name", HASHES)
def test_every_hash_is_compared_by_name(name):
    changed, others = differences(MADE, replace(MADE, **{name: "other"}))
    assert len(changed) == 1 and not others
    assert differences(MADE, replace(MADE, teacher=""))[0] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 7}, "steps (300, now 7)"),
        ({"method": PCLoRAConfig(rank=4, init="activation_svd")}, "method.rank (8, now 4)"),
        ({"overrides": ((3, 0.5),)}, "overrides ([], now [[3, 0.5]])"),
        ({"device": "cpu"}, "device ('auto', now 'cpu')"),
    ],
)
def test_every_setting_that_reaches_a_result_is_compared(values, said):
    now = replace(MADE, settings=determining_settings(RunConfig(**values)))
    assert differences(MADE, now) == ([said], [])
    with pytest.raises(ValueError, match="--allow-changes"):
        refuse_changes([said])


def test_settings_are_compared_but_those_that_a_hash_stands_for():
    left = {*values_of(RunConfig(), Part.OBSERVES, Part.DATA), "model"}
    assert set(MADE.settings) == {f.name for f in fields(RunConfig)} - left


def test_what_an_older_version_called_otherwise_or_did_not_know_is_the_same():
    settings = dict(MADE.settings)
    settings["moves"] = settings.pop("overrides")
    del settings["warmup"]
    method = dict(settings["method"])
    method["spend"] = method.pop("rank_allocation")
    assert differences(replace(MADE, settings={**settings, "method": method}), MADE) == ([], [])


def test_another_version_or_device_is_a_remark():
    now = replace(MADE, environment={"torch": "2.2", "device": "cuda"})
    assert differences(MADE, now) == ([], ["torch 2.1, now 2.2", "device cpu, now cuda"])


def test_an_older_key_tells_small_data_apart_by_every_example():
    data = load_data("digits")
    keys = set()
    for changed in (None, *range(20)):
        examples = list(data.train.examples[:20])
        if changed is not None:
            examples[changed] = examples[changed].point(lambda shade: 255 - shade)
        part = replace(data.train, examples=examples, labels=data.train.labels[:20])
        keys.add(_former_hash(replace(data, train=part, account=None)))
    assert len(keys) == 21


def test_what_a_run_is_made_from_stays_as_it_was():
    with pytest.raises(FrozenInstanceError):
        MADE.data = "other"


@pytest.mark.parametrize(
    ("settings", "environment", "precision"),
    [
        ({"precision": "bfloat16"}, {}, "bfloat16"),
        ({"precision": "auto"}, {"precision": "bf16"}, "bfloat16"),
        ({"precision": "auto"}, {"precision": "no"}, "float32"),
        ({}, {"precision": "no"}, "float32"),
        ({"precision": "auto"}, {}, None),
        ({"precision": "float32"}, {"precision": "bf16"}, "float32"),
    ],
)
def test_the_precision_of_a_run_is_what_it_computed_in(settings, environment, precision):
    made = Identity("d", "p", "w", "a", settings=settings, environment=environment)
    assert made.precision == precision

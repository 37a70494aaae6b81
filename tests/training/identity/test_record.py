"""What is said of two runs that are not made from the same."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from pclora_lab.data.loading import load_data
from pclora_lab.fields import Part, values_of
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.former import _former_hash
from pclora_lab.training.identity.record import (
    LIBRARIES,
    Identity,
    RunChanged,
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


def described(name, values, **environment):
    """The same run, of which one part is described by these values."""
    hashed = replace(MADE, **{name: str(values)})
    return replace(
        hashed, descriptions={name: values}, environment={**MADE.environment, **environment}
    )


@pytest.mark.parametrize(
    ("name", "words", "more"),
    [
        ("architecture", "the model's architecture", ""),
        (
            "preprocessing",
            "the preprocessing",
            " (image size, mean, crop, or the tokenizer's files)",
        ),
    ],
)
def test_it_is_said_what_differs_in_how_a_part_is_described(name, words, more):
    before, now = (described(name, {"size": size, "kind": "a"}) for size in (2, 3))
    [told] = differences(before, now)[0]
    assert told.startswith(f"{words}: ") and "size" in told and "2" in told and "3" in told
    # Where either description was not kept, it is only known to be another one.
    without = replace(now, descriptions={})
    assert differences(before, without)[0] == differences(without, before)[0] == [words + more]


@pytest.mark.parametrize("library", ["timm", "transformers", "tokenizers"])
def test_other_keys_are_a_change_unless_a_library_has_another_version(library):
    before, now = ({"size": 2}, {"size": 2, "new": 1})
    versions = dict.fromkeys(LIBRARIES, "1")
    was = described("architecture", before, **versions)
    [told] = differences(was, described("architecture", now, **versions))[0]
    assert "new" in told
    updated = described("architecture", now, **{**versions, library: "2"})
    assert differences(was, updated)[0] == []
    [told] = differences(was, described("architecture", {"size": 3}, **{library: "2"}))[0]
    assert "size" in told
    # Where neither run used a library, none has changed.
    [told] = differences(described("architecture", before), described("architecture", now))[0]
    assert "new" in told


def test_a_teacher_is_compared_where_both_runs_have_one_and_all_else_always():
    without = replace(MADE, teacher="")
    for before, now in ((MADE, without), (without, MADE), (without, without)):
        assert differences(before, now) == ([], [])
        assert len(differences(before, replace(now, data="other"))[0]) == 1
    assert differences(MADE, replace(MADE, teacher="u"))[0] == [
        "the weights of the fine-tuned teacher"
    ]


def test_where_nothing_changed_nothing_is_refused():
    refuse_changes([])
    with pytest.raises(RunChanged, match="one, two changed since it began") as told:
        refuse_changes(["one", "two"])
    assert told.value.changed == ("one", "two")

"""Expressions out of somebody else's configuration find names, or are refused, in a short time."""

import time

import pytest

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.nn.layers import matching
from pclora_lab.nn.layers.matching import exactly, matching_names
from pclora_lab.nn.surgery import bypassed_attention, find_targets

NAMES = [f"bert.encoder.layer.{n}.attention.self.query" for n in range(24)]
HOSTILE = [
    r"(a+)+$", r"(\w+\.?)+\.x$", r"(a|a)*x", r"(.*)*(.*)*(.*)*z", r"(x+x+)+y", r"(.|\w)+(.|e)+!",
    r".*.*.*.*.*.*.*.*z", r"((a{1,1000}){1,1000}){1,1000}b", r"(?:(?:a?){1000}){1000}z",
    r"(a{99999999999})", r"(.+)+\1(.+)+\2x", "(" * 5000, "a|" * 200_000, r"(?<=(a+)+)b",
]  # fmt: skip


@pytest.mark.parametrize("targets", HOSTILE, ids=lambda text: text[:20])
def test_no_expression_takes_long(targets):
    names, began = [*NAMES, "a" * 60 + "!", "xy" * 40], time.monotonic()
    try:
        matching_names(targets, names)
    except ValueError as error:
        assert str(error).startswith("targets ") and len(str(error)) < 600
    assert time.monotonic() - began < 5


def test_an_expression_that_takes_too_long_is_named_with_a_cure(monkeypatch):
    class Slow:
        def search(self, name, timeout):
            raise TimeoutError

    monkeypatch.setattr(matching, "_compiled", lambda targets: Slow())
    with pytest.raises(ValueError, match=r"targets '\(x\+\)\+' takes .* such as fc1\|fc2"):
        matching_names("(x+)+", ["fc1"])


@pytest.mark.parametrize(
    ("targets", "count"),
    [("query", 24), (r"layer\.(0|1)\.", 2), (r"(\d+\.)+a", 24), ("^(a|b)$", 0), (r"\d{2}", 14)],
)
def test_what_is_plain_finds_what_it_says(targets, count):
    assert len(matching_names(targets, NAMES)) == count


def test_every_place_that_takes_an_expression_is_bounded(vit):
    hostile = PCLoRAConfig(targets="((a{1,1000}){1,1000}){1,1000}b").targets
    for look in (find_targets, bypassed_attention):
        with pytest.raises(ValueError, match="repeats up to 1,000,000,000 times"):
            look(vit, hostile)


def test_an_expression_that_is_none_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"targets '\(fc' is no regular expression: missing \)"):
        matching_names("(fc", ["fc1"])
    with pytest.raises(ValueError, match="repeats up to 1,000,000 times"):
        matching_names("(a{,1000}){1000,}b{,}", ["fc1"])


def test_the_longest_expression_is_as_long_as_the_error_says():
    assert not matching_names("a" * 100_000, ["fc1"])
    with pytest.raises(ValueError, match="100,001 characters.*100,000"):
        matching_names("a" * 100_001, ["fc1"])


def test_an_expression_for_names_finds_those_and_no_others():
    names = ["0.fc1", "0-fc1", "(odd) name", "a|b", "fc+"]
    others = ["0_fc1", "00.fc1", "0.fc11", "odd name", "a", "b", "fcc", "0.fc1.A"]
    assert matching_names(exactly(names), [*others, *names]) == set(names)


def test_a_backslash_is_shown_once():
    with pytest.raises(ValueError) as error:
        matching_names(r"fc\d(", ["fc1"])
    assert str(error.value).startswith(r"targets 'fc\d(' is no regular expression")


def test_a_second_is_for_all_names_together(monkeypatch):
    times, asked = iter([0.0, 0.6, 1.2, 1.8]), []

    class Pattern:
        def search(self, name: str, timeout: float) -> bool:
            asked.append((name, timeout))
            return name != "b"

    monkeypatch.setattr(matching.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(matching, "_compiled", lambda targets: Pattern())
    assert matching_names("x", ["a", "b", "c"]) == {"a", "c"}
    assert [name for name, _ in asked] == ["a", "b", "c"]
    assert [seconds for _, seconds in asked] == pytest.approx([0.4, 0.001, 0.001])


@pytest.mark.parametrize(
    ("targets", "count"),
    [("a{10000}", 0), ("(a{100}){100}", 0), ("a{1}b{0}c{10000}", 0), ("(a{2,50}){200}", 0),
     ("a{10001}", 10_001), ("(a{101}){100}", 10_100), ("(a{2,101}){,100}", 10_100)],
)  # fmt: skip
def test_ten_thousand_repetitions_are_the_most(targets, count):
    if not count:
        assert matching_names(targets, ["fc"]) == set()
        return
    with pytest.raises(ValueError, match=f"repeats up to {count:,} times, 10,000 is the most"):
        matching_names(targets, ["fc"])


def test_an_expression_is_told_whole_up_to_eighty_characters():
    for length, told in ((80, "(" + "a" * 79), (81, "(" + "a" * 79 + "…")):
        with pytest.raises(ValueError) as error:
            matching_names("(" + "a" * (length - 1), ["fc"])
        assert str(error.value).startswith(f"targets {told!r} is no regular expression: ")

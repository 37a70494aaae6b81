"""Options describe themselves: validation, flags and form read the same description."""

import argparse
import dataclasses
from dataclasses import dataclass

import pytest

from pclora_lab.cli.flags import add_method_flags, method_from_flags
from pclora_lab.cli.parsing import parse_option
from pclora_lab.fields import FieldError, Option, check_options, option, options_of
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.option_fields import OptionForm


@dataclass(frozen=True, kw_only=True)
class Sample:
    share: float = option(0.5, "number", "share", "of something", low=0, high=1)
    count: int = option(3, "whole", "count", "of things", low=1, high=9)
    kind: str = option("a", "choice", "kind", "of thing", choices=("a", "b"))
    on: bool = option(False, "switch", "on", "or off")
    limit: float | None = option(None, "number", "limit", "none: no limit", low=1, optional=True)
    words: str = option("x", "text", "words", "any")

    def __post_init__(self):
        check_options(self)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("share", 1.5, r"share is 1.5: it must be a number in \[0, 1\]"),
        ("share", None, "share is None"),
        ("count", 10, "count is 10: it must be a whole number of 1 to 9"),
        ("count", 2.0, "count is 2.0"),
        ("kind", "c", "unknown kind 'c': use one of a, b"),
        ("on", 1, "on is 1: it must be True or False"),
        ("limit", 0, "limit is 0: it must be a number of at least 1"),
        ("words", 3, "words is 3"),
    ],
)
def test_a_value_out_of_its_range_is_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        Sample(**{name: value})


def test_every_field_is_described():
    assert list(options_of(Sample)) == ["share", "count", "kind", "on", "limit", "words"]
    assert Sample().limit is None


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "1e-3", 0.001),
        ("whole", "7", 7),
        ("whole", "7.5", 7.5),
        ("rank", "25%", "25%"),
        ("switch", "True", True),
        ("choice", " a ", "a"),
        ("number", "none", None),
    ],
)
def test_typed_values_get_their_type(kind, text, value):
    assert parse_option(Option(kind, "", "", optional=text == "none"), text) == value


def flags(*given):
    parser = argparse.ArgumentParser()
    add_method_flags(parser)
    return method_from_flags(parser.parse_args(given))


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_can_be_chosen_and_told_its_options(name):
    config = flags("--method", name)
    assert config.name == name
    for option_name, described in options_of(config).items():
        if described.choices:
            flag = f"--{option_name.replace('_', '-')}"
            chosen = flags("--method", name, flag, described.choices[-1])
            assert getattr(chosen, option_name) == described.choices[-1]


def test_a_flag_of_another_method_is_refused():
    with pytest.raises(ValueError, match="method svd has no --schedule: it has .*--rank"):
        flags("--method", "svd", "--schedule", "sine")


def test_a_switch_needs_no_value():
    assert flags("--train-norms").train_norms is True
    assert flags("--train-norms", "false").train_norms is False


@pytest.mark.parametrize("name", list(METHODS))
def test_a_form_gives_back_the_options_it_was_made_from(name):
    config = METHODS[name].Config()
    form = OptionForm(config)
    assert dataclasses.replace(config, **form.values()) == config
    visible = {n for n, described in options_of(config).items() if not described.hidden}
    assert set(form.fields) == visible
    assert [row.control for row in form.rows.values()] == list(form.fields.values())
    assert len(form.rows) == len(visible)


def test_a_form_tells_when_something_changes():
    calls = []
    form = OptionForm(METHODS["pela"].Config(), lambda: calls.append(1))
    form.fields["repair"].value = 0.25
    assert calls and form.values()["repair"] == 0.25
    form.fields["budget"].value = 0.2
    assert form.values()["budget"] == 0.2 and form.values()["rank"] is None


def test_whatever_is_given_the_error_is_short_and_names_the_field():
    for odd in (10**400, 10**5000, [10**5000], 2**70, "x" * 100_000, len, {1}):
        for name in ("steps", "seed", "lr", "model", "overrides", "teacher", "text_columns"):
            with pytest.raises(FieldError) as raised:
                RunConfig(**{name: odd})
            message = str(raised.value)
            assert raised.value.field == name and name in message and len(message) < 1000


@pytest.mark.parametrize(
    ("name", "bound"),
    [("batch_size", "65,536"), ("img_size", "8,192"), ("evaluations", "1,000,000")],
)
def test_a_typo_that_would_take_the_memory_meets_a_bound(name, bound):
    with pytest.raises(FieldError, match=f"{name} is 10000000: it must be .* at most {bound}"):
        RunConfig(**{name: 10**7})


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_no_file_can_hold_is_refused(text):
    with pytest.raises(FieldError, match="model is .*: it holds"):
        RunConfig(model=text)

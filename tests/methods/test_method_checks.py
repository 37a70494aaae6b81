"""What another package's method must have, each thing named where it is missing."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from pclora_lab.fields import option
from pclora_lab.methods.base import Method, MethodConfig
from pclora_lab.methods.method_checks import check_method
from pclora_lab.methods.metrics import TASK
from pclora_lab.methods.registry import METHODS
from pclora_lab.plugins import PluginError


@dataclass(frozen=True, kw_only=True)
class GoodConfig(MethodConfig):
    """One described option."""

    name: ClassVar[str] = "good"
    share: float = option(0.5, "number", "share", "how much", low=0, high=1)


class Good(Method[GoodConfig]):
    """As little as there must be."""

    name, title, summary, Config = "good", "good", "Does little.", GoodConfig

    def apply(self, model, context=None):
        return model

    def finalize(self, student):
        return student


@dataclass(frozen=True, kw_only=True)
class BareConfig(GoodConfig):
    bare: int = 1


@dataclass(frozen=True, kw_only=True)
class OddKindConfig(GoodConfig):
    odd: int | None = option(None, "slider", "odd", "of no kind", optional=True)


@dataclass(frozen=True, kw_only=True)
class NeedsConfig(GoodConfig):
    needed: int


@dataclass(frozen=True, kw_only=True)
class RefusesConfig(GoodConfig):
    much: float = option(2.0, "number", "much", "too much", low=0, high=1)


class OtherNameConfig(GoodConfig):
    name = "better"


CLASSES = [
    ({"apply": Method.apply}, "Odd lacks apply. Define what the base class leaves open"),
    ({"finalize": Method.finalize}, "Odd lacks finalize"),
    ({"apply": Method.apply, "finalize": Method.finalize}, "Odd lacks apply, finalize"),
    ({"name": "bad"}, "Odd.name is 'bad', the entry point's name is 'good'. Give both the same"),
    ({"Config": None}, "Odd lacks Config. Give it a subclass"),
    ({"Config": dict}, "Odd lacks Config"),
    ({"Config": GoodConfig()}, "Odd lacks Config"),
    ({"Config": OtherNameConfig}, "OtherNameConfig.name is 'better', the method's is 'good'"),
    ({"Config": NeedsConfig}, "NeedsConfig.. fails with TypeError.*every field has a default"),
    ({"Config": RefusesConfig}, "RefusesConfig.. fails with .*much.*a default that is allowed"),
    ({"Config": BareConfig}, "bare of BareConfig can't be shown as a flag.*fields.option"),
    ({"Config": OddKindConfig}, "odd of OddKindConfig can't be shown"),
    ({"title": ""}, "Odd lacks title. Add a short text"),
    ({"summary": None}, "Odd lacks summary"),
    ({"title": "", "summary": ""}, "Odd lacks title, summary"),
    ({"metrics": (TASK, "loss")}, "metrics of Odd are .*Describe each with"),
    ({"lr_grid": ()}, r"lr_grid of Odd is \(\).*Give one learning rate or more"),
    ({"lr_grid": 1e-3}, "lr_grid of Odd is 0.001"),
    ({"lr_grid": {1e-3}}, "lr_grid of Odd is "),
    ({"lr_grid": (1e-3, 0)}, "a rate in lr_grid of Odd is 0.*Give one learning rate"),
    ({"layer_parts": ("base",)}, "layer_parts of Odd are .*Describe them with"),
    ({"starts_from": "scratch"}, "is 'scratch'. Use one of teacher, pretrained, nothing"),
]


@pytest.mark.parametrize(("spoiled", "message"), CLASSES)
def test_what_is_missing_is_named_with_what_to_add(spoiled, message):
    with pytest.raises(PluginError, match=message):
        check_method("good", type("Odd", (Good,), spoiled))


@pytest.mark.parametrize("loaded", [7, None, Good(GoodConfig()), GoodConfig, "Good"])
def test_what_is_no_method_at_all_is_shown(loaded):
    with pytest.raises(PluginError, match="is no subclass of pclora_lab.methods.Method"):
        check_method("good", loaded)


def test_a_method_without_a_title_or_name_of_its_own_lacks_it():
    class Bare(Method):
        Config = GoodConfig
        apply, finalize = Good.apply, Good.finalize

    with pytest.raises(PluginError, match="Bare.name is None"):
        check_method("good", Bare)
    Bare.name = "good"
    with pytest.raises(PluginError, match="Bare lacks title, summary"):
        check_method("good", Bare)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metrics": ()},
        {"lr_grid": [1e-3]},
        {"starts_from": "teacher"},
        {"starts_from": "pretrained"},
        {"starts_from": "nothing"},
        {"starts_from": property(lambda self: "teacher")},
    ],
)
def test_what_has_all_of_it_is_taken_as_it_is(options):
    method = type("Fine", (Good,), options)
    assert check_method("good", method) is method


def test_every_method_here_would_be_taken():
    for name in METHODS:
        assert check_method(name, METHODS[name]) is METHODS[name]

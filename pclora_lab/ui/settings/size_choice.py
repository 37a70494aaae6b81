"""The size of the result is given in one way at a time: a rank, a budget, a rank for each layer."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from pclora_lab.fields import options_of
from pclora_lab.methods.base import MethodConfig
from pclora_lab.ui.html import SMALL, MessageBox
from pclora_lab.ui.settings.option_fields import OptionForm
from pclora_lab.ui.settings.ranks_by_layer import RanksByLayer
from pclora_lab.ui.widgets.choices import Choices
from pclora_lab.ui.widgets.field_row import FieldRow

__all__ = ["LAYERS", "SizeChoice", "size_options"]

LAYERS = "layers"

_HELP = "what sets the size of the result; only the chosen one counts"

_LABELS = {LAYERS: "layer"}

# Where nobody has named a number: a tenth, and one that many numbers of heads divide.
_FIRST: dict[str, float | int] = {"number": 0.1, "whole": 24}


def size_options(config: MethodConfig) -> tuple[list[str], list[str]]:
    """The options that give the size together, and those that do it alone in their place.

    Example:
        >>> from pclora_lab.methods import PELAConfig, SNELLAConfig
        >>> size_options(PELAConfig()), size_options(SNELLAConfig())
        ((['ratio'], ['rank', 'budget']), (['rank', 'sparsity'], ['budget']))
    """
    described = {name: o for name, o in options_of(config).items() if o.sizes and not o.hidden}
    numbers = {name: o for name, o in described.items() if o.kind != "choice"}
    together = [name for name, o in numbers.items() if not o.optional]
    return together, [name for name, o in numbers.items() if o.optional]


class SizeChoice:
    """Buttons for the ways to give a size, and the fields of the chosen way.

    Args:
        form: the method's options.
        config: that the form shows.
        ranks: a rank for each layer.
        first_ranks: ranks to begin with where somebody wants one for each layer.
        on_change: called when another way is chosen.

    Attributes:
        ways: buttons.
        note: of a rank for each layer.
        widget: to display.
    """

    def __init__(
        self,
        form: OptionForm,
        config: MethodConfig,
        ranks: RanksByLayer,
        first_ranks: Callable[[], Mapping[str, int] | None],
        on_change: Callable[[], None],
    ) -> None:
        self._form, self._ranks, self._first_ranks = form, ranks, first_ranks
        self._on_change = on_change
        self._together, self._alone = size_options(config)
        self._choices = [n for n, o in form.options.items() if o.sizes and o.kind == "choice"]
        self._config = type(config)
        # As they were given, until another way is chosen: a config may hold more than one.
        self._given = {n: v for n in self._alone if (v := getattr(config, n)) is not None}
        self._names = self._way_names()
        self.ways = Choices(
            [{"value": way, "label": _LABELS.get(way, way)} for way in self._names],
            label="size by",
            value=self._way_of(config),
            hint=_HELP,
        )
        self.ways.add_class("pclora-size-by")
        self.note = MessageBox(SMALL)
        self.note.add_class("pclora-ranks-note")
        self.layers_row = FieldRow(self.note)
        self.widget = widgets.VBox(self._rows())
        self.ways.observe(self._changed, "value")
        self._show()

    def _way_names(self) -> list[str]:
        first = self._together[:1]
        by_layer = [LAYERS] if self._form.of_kind("rank") is not None else []
        return [*first, *self._alone, *by_layer]

    def _way_of(self, config: MethodConfig) -> str:
        if self._given:
            return list(self._given)[-1]
        if LAYERS in self._names and isinstance(getattr(config, "rank", None), tuple):
            return LAYERS
        return self._names[0] if self._names else ""

    def _rows(self) -> list[widgets.Widget]:
        names = [*self._together, *self._alone]
        shown = [self.ways] if len(self._names) > 1 else []
        return [*shown, *(self._form.rows[name] for name in names), self.layers_row]

    @property
    def way(self) -> str:
        """The chosen way: the name of an option, or ``layers``."""
        return str(self.ways.value)

    @property
    def names(self) -> list[str]:
        """The options that count, besides ranks by layer."""
        if self.way == LAYERS:
            return []
        return [self.way] if self.way in self._alone else self._together

    @property
    def row(self) -> FieldRow | None:
        """Where an error about the size belongs; None for a method without one."""
        if self.way == LAYERS:
            return self.layers_row
        return self._form.rows[self.way] if self.way else None

    def choose(self, way: str) -> None:
        """Press a button, if there is such a one."""
        if way in self._names:
            self.ways.value = way

    def take_ranks(self, ranks: Mapping[str, int] | None) -> None:
        """A rank for each layer; None takes the slider's for all."""
        self._ranks.use(ranks)
        if ranks is not None:
            self.choose(LAYERS)
        elif self.way == LAYERS:
            self.choose(self._names[0])
        self._show()

    def _changed(self, _: object) -> None:
        if self.way == LAYERS and not self._ranks.given:
            self._ranks.use(self._first_ranks())
        if self.way != LAYERS:
            self._ranks.use(None)
            self._begin_with_a_number()
        self._given = {}
        self._show()
        self._on_change()

    def _begin_with_a_number(self) -> None:
        if self.way not in self._alone:
            return
        field, described = self._form.fields[self.way], self._form.options[self.way]
        if field.value <= described.low and described.kind in _FIRST:
            field.value = _FIRST[described.kind]

    def _show(self) -> None:
        for name in (*self._together, *self._alone):
            self._form.rows[name].set_visible(name in self.names)
        by_layer = self.way == LAYERS
        self.note.show_text(f"{self._ranks}: see “What would it give?”" if by_layer else "")
        self.layers_row.set_visible(by_layer)
        for name in self._choices:
            self._form.rows[name].set_visible(not by_layer)

    def values(self) -> dict[str, Any]:
        """What counts of the size's options; the others are none."""
        chosen = self.names
        unset = {n: self._given.get(n) for n in self._alone if n not in chosen}
        # Ranks by layer are spent already: what says how would contradict them.
        plain = {n: getattr(self._config, n) for n in self._choices} if self.way == LAYERS else {}
        return {**unset, **self._ranks.values(), **plain}

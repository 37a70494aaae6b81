"""Widgets for the options of a config, made from their descriptions."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import ipywidgets as widgets

from pclora_lab.fields import Option, options_of
from pclora_lab.methods.pclora.schedules import SCHEDULES
from pclora_lab.ui.closing import close_widgets, for_all
from pclora_lab.ui.widgets.field_row import FieldRow

__all__ = ["Maker", "OptionForm", "STYLE", "WIDE", "common_traits"]

# One column beside the charts, as narrow as 262 px.
STYLE = {"description_width": "92px"}


# As wide as the column; 100% would add its margins to that.
WIDE = for_all(widgets.Layout(width="auto"))


# What a whole number without a bound may be in a field; JavaScript and the generators take it.
_LARGEST = 2**31 - 1


Maker = Callable[[Option, Any], widgets.Widget]


class OptionForm:
    """One widget per visible option of a config, or of one of its groups.

    Args:
        config: what the widgets show at first; options without a widget stay as given.
        on_change: called after any of them changed.
        group: the options whose description names it.
        without: options that are shown elsewhere.
        filled: optional ones that the config itself fills in, so that none of them is ever none.
        makers: how a widget is made that the kind alone does not tell, by option.

    Attributes:
        fields: widgets by option name.
        rows: the same with the place below each where its error stands.

    Example:
        >>> from pclora_lab import PCLoRAConfig
        >>> form = OptionForm(PCLoRAConfig(alpha=0.5))
        >>> form.fields["alpha"].value, form.values()["alpha"]
        (0.5, 0.5)
    """

    def __init__(
        self,
        config: object,
        on_change: Callable[[], None] = lambda: None,
        *,
        group: str = "",
        without: Collection[str] = (),
        filled: Collection[str] = (),
        makers: Mapping[str, Maker] | None = None,
    ) -> None:
        self.options = {
            name: dataclasses.replace(described, optional=described.optional and name not in filled)
            for name, described in options_of(config).items()
            if described.group == group and not described.hidden and name not in without
        }
        makers = makers or {}
        self.fields: dict[str, widgets.Widget] = {}
        for name, described in self.options.items():
            field = makers.get(name, _MAKERS[described.kind])(described, getattr(config, name))
            close_widgets(field.layout)
            field.layout = WIDE
            field.add_class(f"pclora-{name.replace('_', '-')}")
            field.observe(lambda _: on_change(), "value")
            self.fields[name] = field
        self.rows = {name: FieldRow(field) for name, field in self.fields.items()}

    def values(self) -> dict[str, Any]:
        """What the widgets hold, by option name."""
        return {n: _read(self.options[n], field) for n, field in self.fields.items()}

    def show(self, config: object) -> None:
        """Put a config's values into the widgets."""
        for name, field in self.fields.items():
            value = getattr(config, name)
            field.value = _NONE[self.options[name].kind] if value is None else value

    def of_kind(self, kind: str) -> widgets.Widget | None:
        """The first widget of a kind, if there is one."""
        return next((self.fields[n] for n, o in self.options.items() if o.kind == kind), None)

    def hide_what_does_not_matter(self, config: object) -> None:
        """Show only what changes anything.

        Args:
            config: what the form holds, with this form's options and those that they depend on.
        """
        for name, described in self.options.items():
            if described.matters is not None:
                self.rows[name].set_visible(described.matters(config))


# What a widget shows where an optional value is none.
_NONE: dict[str, object] = {"number": 0, "whole": 0, "text": ""}


def _read(described: Option, field: widgets.Widget) -> Any:
    if described.optional and field.value == _NONE.get(described.kind):
        return None
    # The browser's sliders count in steps: 18 × 0.05 arrives as 0.9000000000000001.
    return float(f"{field.value:.10g}") if described.kind == "number" else field.value


def common_traits(described: Option) -> dict[str, Any]:
    """What every widget takes from a description: its label, and its help as a tooltip."""
    none = "empty" if described.kind == "text" else "0"
    hint = described.help + (f"; {none} for none" if described.optional else "")
    return {"description": described.label, "tooltip": hint, "style": STYLE}


def _rank(described: Option, value: int | str) -> widgets.Widget:
    number = value if isinstance(value, int) else 8
    return widgets.IntSlider(value=number, min=1, max=max(number, 64), **common_traits(described))


def _schedule(described: Option, value: object) -> widgets.Widget:
    choices: list[tuple[str, object]] = [(name, name) for name in SCHEDULES]
    if not isinstance(value, str):
        choices.append(("drawn", value))
    return widgets.Dropdown(value=value, options=choices, **common_traits(described))


def _choice(described: Option, value: str) -> widgets.Widget:
    return widgets.Dropdown(value=value, options=described.choices, **common_traits(described))


def _number(described: Option, value: float | None) -> widgets.Widget:
    traits = {"value": value or 0, "step": described.step, **common_traits(described)}
    bounded = described.high < float("inf")
    if bounded and not described.optional:
        low = max(described.low, described.step if described.low == 0 and value else described.low)
        return widgets.FloatSlider(min=min(low, value or 0), max=described.high, **traits)
    if not described.optional and 0 < described.low < described.step:
        # A widget would take a 0 for its smallest value, and say nothing; validation does.
        return widgets.FloatText(**traits)
    return widgets.BoundedFloatText(
        min=0 if described.optional else described.low,
        max=described.high if bounded else 1e9,
        **traits,
    )


def _whole(described: Option, value: int | None) -> widgets.Widget:
    return widgets.BoundedIntText(
        value=value or 0,
        min=0 if described.optional else int(described.low),
        max=int(described.high) if described.high < float("inf") else _LARGEST,
        **common_traits(described),
    )


def _switch(described: Option, value: bool) -> widgets.Widget:
    return widgets.Checkbox(value=value, indent=True, **common_traits(described))


def _text(described: Option, value: str | None) -> widgets.Widget:
    traits = {"value": value or "", "continuous_update": False, **common_traits(described)}
    if not described.suggestions:
        return widgets.Text(**traits)
    return widgets.Combobox(
        options=described.suggestions,
        placeholder=described.help,
        ensure_option=False,
        **traits,
    )


_MAKERS: dict[str, Maker] = {
    "rank": _rank,
    "schedule": _schedule,
    "choice": _choice,
    "number": _number,
    "whole": _whole,
    "switch": _switch,
    "text": _text,
}

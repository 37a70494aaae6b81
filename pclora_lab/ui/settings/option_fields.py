"""Widgets for the options of any method, made from their descriptions."""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from pclora_lab.fields import Option, options_of
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.pclora.schedules import SCHEDULES

__all__ = ["OptionForm", "STYLE", "WIDE"]

# Three columns fit beside JupyterLab's file browser in a window of 1280 px.
STYLE = {"description_width": "92px"}


WIDE = widgets.Layout(width="258px")


class OptionForm:
    """One widget per visible option of a config.

    Args:
        config: what the widgets show at first; options without a widget stay as given.
        on_change: called after any of them changed.

    Attributes:
        fields: widgets by option name.

    Example:
        >>> from pclora_lab.methods.pclora.config import PCLoRAConfig
        >>> form = OptionForm(PCLoRAConfig(alpha=0.5))
        >>> form.fields["alpha"].value, form.values()["alpha"]
        (0.5, 0.5)
    """

    def __init__(self, config: MethodConfig, on_change: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.options = {n: o for n, o in options_of(config).items() if not o.hidden}
        self.fields = {
            name: _MAKERS[described.kind](described, getattr(config, name))
            for name, described in self.options.items()
        }
        for name, field in self.fields.items():
            field.add_class(f"pclora-{name.replace('_', '-')}")
            field.observe(lambda _: on_change(), "value")

    def values(self) -> dict[str, Any]:
        """What the widgets say, by option name."""
        return {n: _read(self.options[n], field) for n, field in self.fields.items()}

    def of_kind(self, kind: str) -> widgets.Widget | None:
        """The first widget of a kind, if there is one."""
        return next((self.fields[n] for n, o in self.options.items() if o.kind == kind), None)

    def column(self, sizes: bool) -> list[widgets.Widget]:
        """The widgets that change the size of the result, or the others."""
        return [self.fields[n] for n, o in self.options.items() if o.sizes == sizes]


def _read(described: Option, field: widgets.Widget) -> Any:
    if described.optional and field.value == 0:
        return None
    # The browser's sliders count in steps: 18 × 0.05 arrives as 0.9000000000000001.
    return float(f"{field.value:.10g}") if described.kind == "number" else field.value


def _common(described: Option) -> dict[str, Any]:
    hint = described.help + ("; 0 for none" if described.optional else "")
    return {"description": described.label, "tooltip": hint, "style": STYLE, "layout": WIDE}


def _rank(described: Option, value: int | str) -> widgets.Widget:
    number = value if isinstance(value, int) else 8
    return widgets.IntSlider(value=number, min=1, max=max(number, 64), **_common(described))


def _schedule(described: Option, value: object) -> widgets.Widget:
    choices = [(name, name) for name in SCHEDULES]
    if not isinstance(value, str):
        choices.append(("drawn", value))
    return widgets.Dropdown(value=value, options=choices, **_common(described))


def _choice(described: Option, value: str) -> widgets.Widget:
    return widgets.Dropdown(value=value, options=described.choices, **_common(described))


def _number(described: Option, value: float | None) -> widgets.Widget:
    bounded = described.high < float("inf")
    if bounded and not described.optional:
        low = max(described.low, described.step if described.low == 0 and value else described.low)
        return widgets.FloatSlider(
            value=value,
            min=min(low, value),
            max=described.high,
            step=described.step,
            **_common(described),
        )
    return widgets.BoundedFloatText(
        value=value or 0,
        min=0 if described.optional else described.low,
        max=described.high if bounded else 1e9,
        step=described.step,
        **_common(described),
    )


def _whole(described: Option, value: int | None) -> widgets.Widget:
    return widgets.BoundedIntText(
        value=value or 0,
        min=0 if described.optional else int(described.low),
        max=int(described.high) if described.high < float("inf") else 1_000_000,
        **_common(described),
    )


def _switch(described: Option, value: bool) -> widgets.Widget:
    return widgets.Checkbox(value=value, indent=True, **_common(described))


def _text(described: Option, value: str) -> widgets.Widget:
    return widgets.Text(value=value, continuous_update=False, **_common(described))


_MAKERS: dict[str, Callable[[Option, Any], widgets.Widget]] = {
    "rank": _rank,
    "schedule": _schedule,
    "choice": _choice,
    "number": _number,
    "whole": _whole,
    "switch": _switch,
    "text": _text,
}

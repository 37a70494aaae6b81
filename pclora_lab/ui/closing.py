"""Widgets end with whom they belong to: the kernel and a page keep every one that is not closed."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ipywidgets import Box, Widget

__all__ = ["close_widgets", "for_all", "refill", "widgets_of"]

WidgetT = TypeVar("WidgetT", bound=Widget)

# Not owned by anybody: layouts that many widgets share, plotly's script.
_for_all: list[Widget] = []


def for_all(widget: WidgetT) -> WidgetT:
    """A widget that every other may use; it is closed with none of them."""
    _for_all.append(widget)
    return widget


def widgets_of(owner: object) -> Iterator[Widget]:
    """Every widget that belongs to an object of the user interface, hidden ones too.

    That is what it holds, in its attributes, lists and dictionaries, and what these hold; runs,
    models and callbacks are not looked into.

    Example:
        >>> import ipywidgets as widgets
        >>> box = widgets.VBox([widgets.Label()])
        >>> sorted(type(widget).__name__ for widget in widgets_of(box))
        ['Label', 'LabelStyle', 'Layout', 'Layout', 'VBox']
    """
    seen = {id(widget) for widget in _for_all}
    waiting = [owner]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Widget):
            yield thing
            waiting += thing._trait_values.values()
        if type(thing).__module__.startswith("pclora_lab.ui."):
            waiting += getattr(thing, "__dict__", {}).values()
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, (list, tuple, set)):
            waiting += thing


def refill(box: Box, children: Sequence[Widget]) -> None:
    """Other children for a box; those that it had are closed."""
    gone = [child for child in box.children if child not in children]
    box.children = tuple(children)
    close_widgets(gone)


def close_widgets(owner: object) -> None:
    """Close all that belongs to it; what is drawn later reaches no page."""
    for widget in list(widgets_of(owner)):
        widget.close()

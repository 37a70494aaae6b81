"""A table that people sort, filter and select in. The work is done in the browser, by table.js."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bool, Dict, List, TraitError, Unicode, validate

__all__ = ["Table"]

KINDS = ("text", "number", "share")


_OPTIONS = ("name", "label", "kind", "digits", "unit", "times", "plus", "editable_to", "hint")


_CHANGED_BY_HAND = ("rows", "selected", "current", "opened")


# From here on a browser, which computes with doubles, can't tell neighbors apart.
_LARGEST_WHOLE = 2**53


class Table(anywidget.AnyWidget):
    """Rows to sort, filter, select and open.

    A click on a header sorts, the text field filters (all of its words must occur), the boxes
    select. In the rows: arrow keys, Home and End move, Space selects, Enter opens. Order, filter,
    focus and scroll position are the browser's own and survive new rows.

    Args:
        columns: dicts with ``name``, ``label`` and ``kind``: text, number, or share (percent beside
            a bar). May be given: ``digits`` after the point; ``unit``, shown in the header;
            ``times`` and ``plus``, names of other values of the row, for a share of value · times
            + plus; ``editable_to``, the name of a value of the row: cells are then fields for whole
            numbers from 1 to that; ``hint``, why no more than that.
        rows: dicts with an ``id`` (a text, each only once) and a value for every column; None
            where there is none.
        options: any of the attributes below.

    Attributes:
        label: what the rows are, for the header and for screen readers.
        height: the largest height, in CSS; beyond it the table scrolls.
        selectable: whether there are boxes.
        selected: ids of the rows whose box is checked.
        current: id of the row that was clicked or opened last, or "".
        opened: ``id`` of the row that was opened last (Enter or double click) and a counter ``n``.
        browsable: whether to sort, filter, walk over and open rows; chosen when it is made. A table
            of fields does not need it.
        rows: as given. An edit changes them; the browser refuses what a field does not take.

    Raises:
        TraitError: a column or row is not as described.

    Example:
        >>> columns = [{"name": "rank", "label": "rank", "kind": "number"}]
        >>> table = Table(columns, [{"id": "a", "rank": 8}, {"id": "b", "rank": float("nan")}])
        >>> table.selected = ["b", "gone"]
        >>> table.rows[1]["rank"], table.selected
        (None, ['b'])
    """

    _esm = Path(__file__).with_name("table.js")
    _css = Path(__file__).with_name("table.css")

    # ipywidgets holds a change back while the kernel works on the one before it, but sends a click
    # on a button at once. What a person does here is therefore sent at once too, or a button would
    # act on the state before. An echo of it could only undo what was done since.
    columns = List(Dict()).tag(sync=True)
    rows = List(Dict()).tag(sync=True, echo_update=False)
    label = Unicode("rows").tag(sync=True)
    height = Unicode("320px").tag(sync=True)
    selectable = Bool(True).tag(sync=True)
    selected = List(Unicode()).tag(sync=True, echo_update=False)
    current = Unicode("").tag(sync=True, echo_update=False)
    opened = Dict().tag(sync=True, echo_update=False)
    browsable = Bool(True).tag(sync=True)

    def __init__(
        self,
        columns: Iterable[Mapping[str, Any]] = (),
        rows: Iterable[Mapping[str, Any]] = (),
        **options: Any,
    ) -> None:
        super().__init__(columns=list(columns), rows=list(rows), **options)
        self.observe(self._forget_what_is_gone, "rows")
        self.on_msg(lambda _, changes, __: self._take_over(changes))

    def _take_over(self, changes: Any) -> None:
        if isinstance(changes, dict):
            self.set_state({name: changes[name] for name in _CHANGED_BY_HAND if name in changes})

    @validate("columns")
    def _check_columns(self, proposal: Any) -> list[dict[str, Any]]:
        names = [column.get("name") for column in proposal["value"]]
        for column in proposal["value"]:
            kind, name = column.get("kind", "text"), column.get("name")
            unknown = sorted(set(column) - set(_OPTIONS))
            if not isinstance(name, str) or name == "id" or names.count(name) > 1 or unknown:
                raise TraitError(
                    f"column {column!r}: it needs a name of its own that is not 'id', and may "
                    f"have {', '.join(_OPTIONS[1:])}"
                )
            if kind not in KINDS:
                raise TraitError(f"column {name!r} has the kind {kind!r}: use {', '.join(KINDS)}")
        return proposal["value"]

    @validate("rows")
    def _clean_rows(self, proposal: Any) -> list[dict[str, Any]]:
        rows = [{key: _plain(value, key) for key, value in r.items()} for r in proposal["value"]]
        ids = [row.get("id") for row in rows]
        wrong = [i for i in ids if not isinstance(i, str) or not i]
        if wrong or len(set(ids)) < len(ids):
            raise TraitError("every row needs an 'id': a text that no other row has")
        return rows

    @validate("selected")
    def _keep_known(self, proposal: Any) -> list[str]:
        known = {row["id"] for row in self.rows}
        return [i for i in dict.fromkeys(proposal["value"]) if i in known]

    def _forget_what_is_gone(self, _: Any) -> None:
        known = {row["id"] for row in self.rows}
        self.selected = [i for i in self.selected if i in known]
        if self.current not in known:
            self.current = ""

    def on_open(self, callback: Callable[[str], None]) -> None:
        """Call ``callback(id)`` whenever a row is opened, also the same one again."""
        self.observe(lambda change: callback(change["new"]["id"]), "opened")


def _plain(value: Any, key: str) -> str | int | float | bool | None:
    """What JSON can carry and a browser can hold; no number where there is none."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if not isinstance(value, (int, float)):
        raise TraitError(f"{key} is {value!r}: a cell takes text, a number, True, False or None")
    if isinstance(value, int) and abs(value) < _LARGEST_WHOLE:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

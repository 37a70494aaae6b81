"""The table without a browser: what it refuses, cleans and forgets."""

import json

import pytest
from traitlets import TraitError

from pclora_lab.ui.widgets.table import Table

COLUMNS = [
    {"name": "run", "label": "run", "kind": "text"},
    {"name": "rank", "label": "rank", "kind": "number", "digits": 0, "unit": "r"},
]


def make(*ids):
    return Table(COLUMNS, [{"id": i, "run": i, "rank": 1} for i in ids])


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        (2**60 + 1, float(2**60)),
        (7, 7),
        (True, True),
        (None, None),
        ("<b>x</b>", "<b>x</b>"),
    ],
)
def test_cells_hold_what_json_and_a_browser_can_carry(value, cleaned):
    (row,) = Table(COLUMNS, [{"id": "a", "run": "a", "rank": value}]).rows
    assert row["rank"] == cleaned and type(row["rank"]) is type(cleaned)
    json.dumps(row, allow_nan=False)


def test_a_cell_that_is_a_list_is_refused():
    with pytest.raises(TraitError, match=r"rank is \[1\]: a cell takes text, a number"):
        Table(COLUMNS, [{"id": "a", "rank": [1]}])


@pytest.mark.parametrize("ids", [("a", "a"), ("",), (3,), (None,)])
def test_every_row_needs_an_id_of_its_own(ids):
    with pytest.raises(TraitError, match="every row needs an 'id'"):
        Table(COLUMNS, [{"id": i, "run": "x"} for i in ids])


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"label": "x"}, "needs a name"),
        ({"name": "id"}, "not 'id'"),
        ({"name": "rank"}, "of its own"),
        ({"name": "x", "color": "red"}, "may have label"),
        ({"name": "x", "kind": "html"}, "use text, number, share"),
    ],
)
def test_a_column_that_is_not_as_described_is_refused(column, words):
    with pytest.raises(TraitError, match=words):
        Table([*COLUMNS, column])


def test_what_is_gone_is_no_longer_selected_nor_current():
    table = make("a", "b", "c")
    table.selected, table.current = ["c", "a", "x", "a"], "c"
    assert table.selected == ["c", "a"]
    table.rows = [row for row in table.rows if row["id"] != "c"]
    assert (table.selected, table.current) == (["a"], "")
    table.rows = []
    assert table.selected == []


def test_opening_the_same_row_twice_tells_twice():
    table, opened = make("a"), []
    table.on_open(opened.append)
    table.opened = {"id": "a", "n": 1}
    table.opened = {"id": "a", "n": 2}
    assert opened == ["a", "a"]


def test_the_script_puts_data_into_the_page_as_text_only():
    script = Table._esm.__str__()
    assert "textContent" in script
    assert not [word for word in ("innerHTML", "insertAdjacentHTML", "eval(") if word in script]


def test_what_a_page_sends_of_the_table_is_taken_over_and_nothing_else():
    table = make("a", "b")
    table._handle_custom_msg({"selected": ["b", "gone"], "current": "a", "label": "other"}, [])
    assert (table.selected, table.current, table.label) == (["b"], "a", "rows")
    table._handle_custom_msg({"opened": {"id": "b", "n": 1}}, [])
    table._handle_custom_msg("no changes", [])
    assert table.opened == {"id": "b", "n": 1} and table.selected == ["b"]

"""Found = used + left out, in code: numbers that do not add up are no account."""

import dataclasses
import json

import numpy as np
import pytest
from records import assert_fixed

from pclora_lab.data.account import (
    Account,
    AccountError,
    DataError,
    Ledger,
    LeftOut,
    Tally,
    account_lines,
    exceeds,
    round_up,
)
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import LabeledData, Split


@pytest.mark.parametrize(
    ("found", "used", "lost"), [(10, 9, 0), (10, 10, 1), (1, 2, -1), (-1, -1, 0)]
)
def test_a_tally_that_does_not_add_up_can_not_be_made(found, used, lost):
    with pytest.raises(AccountError, match=f"{found} found"):
        Tally(found, used, (LeftOut("without a label", lost),))


def ledger(**rows: int) -> Ledger:
    made = Ledger()
    for split, count in rows.items():
        made.find_rows(split, count)
    return made


def test_a_row_that_is_neither_used_nor_left_out_stops_the_reading():
    made = ledger(train=100, test=50)
    made.leave_rows("train", "without a label", 1)
    with pytest.raises(AccountError, match="train: 100 rows found are not 98 used . 1 left out"):
        made.close({"train": 98, "test": 50})
    account = made.close({"train": 99, "test": 50})
    assert account.rows == Tally(150, 149, (LeftOut("without a label, of train", 1),))


def test_an_account_of_other_rows_than_those_of_the_splits_is_refused():
    split = Split(["a"] * 10, np.zeros(10))
    account = Account(Tally(0, 0), Tally(0, 0), Tally(31, 31))
    with pytest.raises(AccountError, match="31 rows used are not 30 in the splits"):
        LabeledData("x", "text", split, split, split, ("a", "b"), account=account)


@pytest.mark.parametrize(("lost", "is_refused"), [(10, False), (11, True)])
def test_more_than_one_per_cent_needs_to_be_allowed(lost, is_refused):
    made = ledger(train=1000)
    made.leave_rows("train", "without a label", lost, "row 3")
    if is_refused:
        with pytest.raises(DataError, match=r"11 of 1,000 rows .*row 3.*max_left_out=0.02"):
            made.check("mail.csv", 0.01)
        made.check("mail.csv", 0.02)
    else:
        made.check("mail.csv", 0.01)


def test_a_small_split_may_not_hide_behind_a_large_one():
    made = ledger(train=10_000, test=50)
    made.leave_rows("test", "without a label", 5)
    with pytest.raises(DataError, match="5 of 50 rows of test"):
        made.check("mail.csv", 0.01)


def test_an_account_is_plain_numbers_and_readable_lines():
    account = load_data("glosses").account
    assert json.loads(json.dumps(account.to_dict()))["rows"]["found"] == account.rows.used
    assert account.lines() == [
        "files: 5 found, 3 used, 2 left out: 2 of another kind (LICENSE first)",
        "columns: 2 found, 2 used",
        "rows: 34,698 found, 34,698 used",
    ]
    assert dataclasses.is_dataclass(account) and load_data("digits").account.rows.found == 1797


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (LeftOut("without a label", 1), "1 without a label"),
        (LeftOut("without a label", 1, "row 3"), "1 without a label (row 3)"),
        (LeftOut("without a label", 2, "row 3"), "2 without a label (row 3 first)"),
        (LeftOut("empty", 1200), "1,200 empty"),
    ],
)
def test_what_was_left_out_reads_behind_its_number(part, text):
    assert str(part) == text


def test_a_tally_tells_what_was_lost_only_where_something_was():
    assert str(Tally(1200, 1200)) == "1,200 found, 1,200 used"
    parts = (LeftOut("empty", 1), LeftOut("odd", 2, "row 0"))
    tally = Tally(1203, 1200, parts)
    assert tally.lost == 3
    assert str(tally) == "1,203 found, 1,200 used, 3 left out: 1 empty; 2 odd (row 0 first)"
    assert str(Tally(0, 0)) == "0 found, 0 used"
    for wrong in ((2, 3, (LeftOut("a", -1),)), (-1, 0, (LeftOut("a", -1),)), (0, 1, ())):
        with pytest.raises(AccountError):
            Tally(*wrong)


def test_an_account_tells_of_the_kinds_that_there_are_rows_first():
    rows = Tally(5, 4, (LeftOut("empty", 1, "row 2"),))
    account = Account(Tally(1, 1), Tally(0, 0), rows)
    assert account.lines() == [
        "files: 1 found, 1 used",
        "rows: 5 found, 4 used, 1 left out: 1 empty (row 2)",
    ]
    assert str(account) == (
        "rows: 5 found, 4 used, 1 left out: 1 empty (row 2) · files: 1 found, 1 used"
    )
    stored = account.to_dict()
    assert stored["rows"]["left_out"] == [{"reason": "empty", "count": 1, "first": "row 2"}]
    assert account_lines(stored) == account.lines()


def test_an_account_that_somebody_edited_tells_nothing():
    stored = Account(Tally(0, 0), Tally(0, 0), Tally(9, 9)).to_dict()
    for change in (
        {"rows": {"found": 9, "used": 8, "left_out": []}},
        {"rows": {"found": 9}},
        {"rows": 9},
        {"rows": {"found": 9, "used": 9, "left_out": [{"why": "odd"}]}},
        {"more": stored["rows"]},
    ):
        assert account_lines({**stored, **change}) == []
    assert account_lines(None) == account_lines({}) == []


def test_files_and_columns_are_counted_and_those_not_asked_for_named():
    made = ledger(train=10)
    made.find_files(3)
    made.find_files(2)
    made.leave_files("of another kind", ["LICENSE", "notes.md"])
    made.leave_files("empty", [])
    made.use_columns(["text", "id", "label", "when"], ["text", "label"])
    account = made.close({"train": 10})
    assert account.files == Tally(5, 3, (LeftOut("of another kind", 2, "LICENSE"),))
    assert account.columns == Tally(4, 2, (LeftOut("not asked for", 2, "id, when"),))
    made.use_columns(["text", "label"], ["text", "label"])
    assert made.close({"train": 10}).columns == Tally(2, 2)


def test_a_folder_has_no_columns():
    made = ledger(train=1)
    assert made.has_columns and made.place is None and made.notes == []
    made.has_columns = False
    made.use_columns(["image", "label"], ["image"])
    assert made.close({"train": 1}).columns == Tally(0, 0)


def test_rows_that_are_found_in_parts_are_added_up_and_of_one_split_not_named():
    made = ledger(train=10)
    made.find_rows("train", 5)
    made.leave_rows("train", "empty", 0, "row 0")
    made.leave_rows("train", "empty", 2, "row 7")
    made.leave_rows("train", "odd", 1)
    rows = made.close({"train": 12}).rows
    assert rows == Tally(15, 12, (LeftOut("empty", 2, "row 7"), LeftOut("odd", 1)))
    with pytest.raises(AccountError, match="^train: 15 rows found are not 0 used . 3 left out"):
        made.close({})


def test_rows_that_are_excused_or_a_whole_split_without_labels_are_no_loss():
    made = ledger(train=1000, test=100)
    made.leave_rows("train", "that the test split has too", 500, is_excused=True)
    made.leave_rows("train", "empty", 100)
    made.check("mail.csv", 0.01)
    made.leave_rows("test", "without a label", 5)
    with pytest.raises(
        DataError,
        match=r"^data 'mail.csv': 5 of 100 rows of test would be left "
        r"out, more than 1.0%: 5 without a label; why\. Repair the data, or "
        r"allow it with max_left_out=0.05$",
    ):
        made.check("mail.csv", 0.01, "; why")
    made.check("mail.csv", 0.05)


def test_a_split_that_is_lost_as_a_whole_is_a_part_of_all_rows():
    made = ledger(train=900, test=100)
    made.leave_rows("test", "without a text", 100)
    made.check("mail.csv", 0.1)
    with pytest.raises(DataError, match=r"100 of 1,000 rows would be left out.*max_left_out=0.1$"):
        made.check("mail.csv", 0.09)


def test_a_long_message_keeps_its_beginning_and_its_cure():
    text = str(DataError("a" * 5000 + "the cure"))
    assert len(text) == 1000 and text.startswith("aaa") and text.endswith("the cure")
    assert str(DataError("short")) == "short"


@pytest.mark.parametrize(
    ("share", "rounded"),
    [
        (0.0712, 0.08),
        (0.07, 0.07),
        (0.0, 0.0),
        (0.001, 0.01),
        (1.0, 1.0),
        (0.29, 0.29),
        (1 / 3, 0.34),
    ],
)
def test_a_share_is_rounded_up_to_whole_percents(share, rounded):
    assert round_up(share) == rounded


def test_an_account_can_not_be_changed():
    tally = Tally(1, 0, (LeftOut("empty", 1),))
    assert_fixed(tally, tally.left_out[0], Account(tally, tally, tally))


def test_the_share_that_a_message_tells_is_enough_and_no_more_than_a_percent_above():
    for whole in (1, 7, 29, 100, 1000):
        for lost in range(1, whole + 1):
            allowed = round_up(lost / whole)
            assert not exceeds(lost, whole, allowed) and allowed - lost / whole < 0.01
            assert exceeds(lost, whole, allowed - 0.01)


def test_the_cure_of_a_message_works():
    """29 > 0.29 · 100, as a computer multiplies."""
    made = ledger(train=100)
    made.leave_rows("train", "empty", 29)
    with pytest.raises(DataError, match="max_left_out=0.29$"):
        made.check("mail.csv", 0.28)
    made.check("mail.csv", 0.29)

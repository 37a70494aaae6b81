"""Found = used + left out, in code: numbers that do not add up are no account."""

import dataclasses
import json

import numpy as np
import pytest

from pclora_lab.data.account import Account, AccountError, DataError, Ledger, LeftOut, Tally
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

"""What is measured on is not trained on: rows that two splits share are counted or refused."""

import numpy as np
import pandas as pd
import pytest
from pictures import png

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.dividing import divide
from pclora_lab.data.loading import load_data
from pclora_lab.data.overlap import in_others, leave_shared_rows
from pclora_lab.data.splits import Split


def texts(prefix: str, rows: int, shared: int = 0) -> pd.DataFrame:
    words = [f"{'train' if i < shared else prefix} {i}" for i in range(rows)]
    return pd.DataFrame({"text": words, "label": [i % 2 for i in range(rows)]})


def test_a_few_shared_texts_leave_the_training_rows_and_are_counted():
    data = load_data({"train": texts("train", 1000), "test": texts("test", 400, shared=4)})
    assert not set(data.test.examples) & {*data.train.examples, *data.validation.examples}
    assert data.account.rows.found == 1400 and data.account.rows.used == 1396
    assert "4 that the test split has too, of train (row 0" in str(data.account)
    assert len(data.test) == 400, "what is measured on stays"


def test_many_shared_texts_are_refused_unless_that_is_allowed():
    splits = {"train": texts("train", 1000), "test": texts("test", 400, shared=5)}
    with pytest.raises(DataError, match="5 of 400 rows of test.*rows of train.*max_overlap=0.02"):
        load_data(splits)
    assert load_data(splits, max_overlap=0.02).account.rows.lost == 5


def test_the_same_file_twice_is_refused():
    with pytest.raises(DataError, match="40 of 40 rows of test"):
        load_data({"train": texts("train", 40), "test": texts("train", 40)})


def test_validation_rows_count_too():
    splits = {"train": texts("train", 1000), "test": texts("test", 400)}
    splits["validation"] = texts("validation", 200, shared=2)
    data = load_data(splits)
    assert not set(data.validation.examples) & set(data.train.examples)
    splits["validation"] = splits["test"]
    with pytest.raises(DataError, match="400 of 400 rows of test stand among.*validation"):
        load_data(splits)


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_pictures_are_compared_by_their_bytes(tmp_path, kind):
    numbers = {"train": range(240), "test": [0, *range(1000, 1119)]}
    for split, chosen in numbers.items():
        if kind == "folder":
            for row, number in enumerate(chosen):
                place = tmp_path / split / "ab"[row % 2]
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{split}{row}.png").write_bytes(png(number, size=(4, 4)))
        else:
            images = [{"bytes": png(n, size=(4, 4)), "path": None} for n in chosen]
            made = pd.DataFrame({"image": images, "label": [i % 2 for i in range(len(chosen))]})
            made.to_parquet(tmp_path / f"{split}.parquet")
    data = load_data(str(tmp_path))
    assert data.account.rows.found == 360 and data.account.rows.used == 359
    held = {np.asarray(image).tobytes() for image in data.test.examples}
    assert not any(np.asarray(image).tobytes() in held for image in data.train.examples)


class Stored:
    """Pictures as they are stored."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = contents

    def __len__(self) -> int:
        return len(self.contents)

    def lengths(self) -> np.ndarray:
        return np.asarray([len(content) for content in self.contents])

    def content(self, row: int) -> bytes:
        return self.contents[row]


def test_pictures_that_differ_in_the_middle_only_are_not_the_same():
    start, end = b"s" * 5000, b"e" * 5000
    mine = Stored(start + b"1" + end, start + b"2" + end, b"short", b"")
    theirs = Stored(start + b"2" + end, start + b"3" + end)
    assert in_others(mine, [theirs]).tolist() == [False, True, False, False]
    assert in_others(mine, [Stored(), theirs]).tolist() == [False, True, False, False]


def test_dividing_repeated_texts_is_what_it_was():
    """The rows that were held out before texts were compared as Python objects."""
    words = [f"text {row * row % 41}" for row in range(200)]
    split = Split(words, np.asarray([hash(row) % 2 for row in range(200)]))
    _, first, group = np.unique(words, return_index=True, return_inverse=True)
    once = Split([words[i] for i in first], split.labels[first])
    held = np.isin(once.examples, divide(once, 0.2)[1].examples)[group]
    kept, out = divide(split, 0.2)
    assert out.examples == [word for word, is_held in zip(words, held, strict=True) if is_held]
    assert len(kept) + len(out) == 200 and not set(kept.examples) & set(out.examples)


def split(*texts: str) -> Split:
    return Split(list(texts), np.arange(len(texts)))


def left(allowed: float = 1.0, **splits: Split) -> tuple[dict[str, Split], list[str]]:
    """What stays of the splits, and what the ledger was told."""
    ledger = Ledger()
    for name, part in splits.items():
        ledger.find_rows(name, len(part))
    leave_shared_rows(splits, "mail.csv", allowed, ledger)
    ledger.check("mail.csv", 0.0)  # what the other split has is no loss
    rows = ledger.close({name: len(part) for name, part in splits.items()}).rows
    return splits, [str(part) for part in rows.left_out]


def test_each_split_gives_way_to_those_that_are_measured_on_later():
    kept, told = left(
        train=split("a", "b", "c", "d", "b"),
        validation=split("b", "e", "c"),
        test=split("c", "f", "f"),
    )
    assert kept["train"].examples == ["a", "d"] and kept["train"].labels.tolist() == [0, 3]
    assert kept["validation"].examples == ["b", "e"] and kept["test"].examples == ["c", "f", "f"]
    assert told == [
        "1 that the test split has too, of validation (row 2)",
        "3 that the validation or test split has too, of train (row 1 first)",
    ]


@pytest.mark.parametrize("later", ["validation", "test"])
def test_only_splits_that_are_there_are_named(later):
    kept, told = left(train=split("a", "b"), **{later: split("b")})
    assert kept["train"].examples == ["a"]
    assert told == [f"1 that the {later} split has too, of train (row 1)"]


def test_splits_that_share_nothing_and_one_alone_stay_the_very_same():
    given = {"train": split("a", "a"), "validation": split("b"), "test": split("c")}
    kept, told = left(**given)
    assert all(kept[name] is given[name] for name in given) and told == []
    assert left(train=given["train"])[0]["train"] is given["train"]
    assert left(other=split("a"), test=split("a"))[1] == []


def test_the_share_of_the_split_that_is_measured_on_is_what_may_be_allowed():
    train, test = split(*"abcdefgh"), split("a", "x", "y", "z")
    assert left(0.25, train=train, test=test)[1] != []
    with pytest.raises(
        DataError,
        match=r"^data 'mail.csv': 1 of 4 rows of test stand among the "
        r"rows of train too, more than 24.0%: what is measured on must be new. Take "
        r"them out, or allow it with max_overlap=0.25$",
    ):
        left(0.24, train=train, test=test)
    with pytest.raises(DataError, match="1 of 1 rows of test stand among the rows of validation"):
        left(0.5, train=train, validation=split("x", "y", "z"), test=split("x"))


def test_pairs_are_the_same_if_both_texts_are():
    mine = [("a", "b"), ("a", "c"), ("b", "a")]
    assert in_others(mine, [[("a", "b")], [("c", "a")]]).tolist() == [True, False, False]
    assert in_others(mine, []).tolist() == [False] * 3


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        ([b"x" * 5000 + b"y"], [b"z" + b"x" * 4999 + b"y"], False),
        ([b"x" * 5000 + b"y"], [b"x" * 5000 + b"z"], False),
        ([b"ab"], [b"abc"], False),
        ([b""], [b""], True),
        ([b"x" * 9000], [b"y", b"x" * 9000], True),
    ],
)
def test_pictures_are_the_same_if_all_their_bytes_are(mine, theirs, same):
    assert in_others(Stored(*mine), [Stored(*theirs)]).tolist() == [same]
    assert in_others(Stored(*mine), []).tolist() == [False]


def test_only_pictures_of_a_like_length_are_read():
    class Reads(Stored):
        def content(self, row: int) -> bytes:
            assert len(self.contents[row]) == 3, "this one can't be the same"
            return super().content(row)

    mine, theirs = Reads(b"aaa", b"a", b"bbb"), Reads(b"bbb", b"bb", b"cccc")
    assert in_others(mine, [theirs]).tolist() == [False, False, True]


def test_the_share_that_is_told_is_enough():
    shared = [f"s{row}" for row in range(29)]
    given = {"train": split(*shared, "a"), "test": split(*shared, *(f"t{n}" for n in range(71)))}
    with pytest.raises(DataError, match="29 of 100 .*max_overlap=0.29$"):
        left(0.28, **given)
    assert left(0.29, **given)[0]["train"].examples == ["a"]

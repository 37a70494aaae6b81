"""Random data: rows out + rows accounted for = rows in, and no error that is not our own.

``FUZZ=full`` tries as many as the promise says (500 columns of labels, 200 folders, 200 dialects);
otherwise a fifth of them, each time the same.
"""

import csv
import io
import os
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import png

from pclora_lab.data.account import AccountError, DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading.delimited import read_delimited

IS_FULL = os.environ.get("FUZZ") == "full"


def tries(count: int) -> settings:
    return settings(
        max_examples=count if IS_FULL else count // 5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def check(data, found: int) -> None:
    """The splits hold what the account says, and it speaks of all that there was."""
    rows = data.account.rows
    assert rows.found == found == rows.used + rows.lost
    assert rows.used == len(data.train) + len(data.validation) + len(data.test)
    for split in (data.train, data.validation, data.test):
        assert len(split.examples) == len(split.labels)
        assert split.labels.min() >= 0 and split.labels.max() < data.num_classes


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)
labels = st.one_of(
    st.sampled_from(["pos", "neg", "Pos", "", " ", "-1", "0", "1", "1.0", "a|b", "a", "b", "NaN"]),
    st.none(), st.integers(-3, 9), st.booleans(), st.floats(), words, st.binary(max_size=3),
    st.dates(), st.decimals(allow_nan=False, allow_infinity=False),
    st.lists(st.sampled_from("ab"), max_size=2), st.lists(st.floats(0, 1), max_size=2),
    st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=2),
)  # fmt: skip
few = st.lists(labels, min_size=1, max_size=4)


@tries(500)
@given(
    pool=few,
    draws=st.lists(st.integers(0, 3), min_size=0, max_size=60),
    allowed=st.sampled_from([0.0, 0.01, 1.0]),
    kind=st.sampled_from(["frame", "csv", "jsonl", "parquet", "dict"]),
    ordinary=st.sampled_from([[], ["ham", "spam"] * 30, [0, 1] * 30]),
)
def test_any_column_of_labels_is_read_or_refused(pool, draws, allowed, kind, ordinary):
    column = [*ordinary, *(pool[i % len(pool)] for i in draws)]
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(len(column))]})
    frame["label"] = pd.Series(column, dtype=object)
    with tempfile.TemporaryDirectory() as folder:
        try:
            data, found = stored(frame, kind, Path(folder))
        except (TypeError, ValueError, OverflowError, NotImplementedError, LookupError):
            return  # pandas itself can't write it
        try:
            check(load_data(data, max_left_out=allowed), found)
        except DataError as error:
            assert str(error)


def stored(frame: pd.DataFrame, kind: str, folder: Path):
    path = folder / f"a.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "dict":
        half = len(frame) // 2
        return {"train": frame[:half], "test": frame[half:]}, len(frame)
    return (frame if kind == "frame" else str(path)), len(frame)


names = st.sampled_from(
    ["cat", "dog", "Cat", "train", "Test", "val", "extra", "train_1", "a b", "[v2]", "ü", "test-it"]
)
files = st.sampled_from(
    ["1.png", "2.png", "test.png", "3.heic", "4.txt", "5.csv", "6.json", "none", "7.JPG", ".hid",
     "8.bin", "9.parquet", "metadata.csv"]
)  # fmt: skip
trees = st.dictionaries(
    st.tuples(st.lists(names, max_size=3).map(tuple), files), st.integers(0, 3), max_size=40
)


@tries(200)
@given(tree=trees, many=st.booleans(), allowed=st.sampled_from([0.01, 1.0]))
def test_any_folder_is_read_or_refused(tree, many, allowed):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        root.mkdir()
        for number, ((parts, name), kind) in enumerate(tree.items()):
            write(root.joinpath(*parts), name, number, kind)
        if many:
            for number in range(24):
                write(root / ("train" if number % 4 else "test") / "ab"[number % 2],
                      f"{number}.png", 100 + number, 0)  # fmt: skip
        files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")]
        try:
            data = load_data(str(root), max_left_out=allowed, max_overlap=allowed)
        except DataError as error:
            assert str(error)
            return
        assert data.account.files.found == len(files)
        check(data, data.account.rows.found)


def write(folder: Path, name: str, number: int, kind: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    contents = [
        png(number, size=(4, 4)), b"", b"junk",
        "\n".join(["text,label", *(f"text {number} {i},{i % 2}" for i in range(20))]).encode(),
    ]  # fmt: skip
    content = contents[kind if not name.endswith(("csv", "json")) or kind else 3]
    if folder.joinpath(name).is_dir():
        return
    folder.joinpath(name).write_bytes(content)


fields = st.text(st.sampled_from("ab\"\t,;|\n \\'é☃"), max_size=6)


@tries(200)
@given(
    rows=st.lists(st.tuples(fields, st.sampled_from(["pos", "neg"])), min_size=1, max_size=30),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_is_written_by_the_rules_is_read_as_it_was(rows, separator, quoting, end, encoding):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([("text", "label"), *rows])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.csv"
        path.write_bytes(file.getvalue().encode(encoding))
        read = read_delimited(path)
        assert read.found == len(rows) and not read.left_out
        assert [tuple(row.values()) for row in read.table.to_pylist()] == rows


@tries(200)
@given(
    lines=st.lists(st.text(st.sampled_from('ab"\t,; é'), min_size=1, max_size=9), max_size=30),
    heading=st.sampled_from(["text,label", "text\tlabel", '"text";label', "text", "a,b,c,,", '"']),
    suffix=st.sampled_from([".csv", ".tsv"]),
    plain=st.integers(0, 30),
)
def test_what_breaks_the_rules_loses_no_row(lines, heading, suffix, plain):
    separator = next((s for s in "\t;," if s in heading), ",")
    good = [f"text {i}{separator}{('pos', 'neg')[i % 2]}" for i in range(plain)]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"a{suffix}"
        path.write_text("\n".join([heading, *lines, *good]), encoding="utf8")
        try:
            read = read_delimited(path)
            texts = {row.get("text") for row in read.table.to_pylist()}
            if separator in heading and not any('"' in line for line in lines):
                assert read.found == sum(bool(x.strip(" ")) for x in lines) + plain
            if read.table.column_names[:2] == ["text", "label"]:
                assert len({f"text {i}" for i in range(plain)} - texts) <= 1
            data = load_data(str(path), max_left_out=1.0)
            check(data, read.found)
        except DataError as error:
            assert str(error)


def test_an_account_error_is_never_taken_for_bad_data():
    assert not issubclass(AccountError, ValueError)
    with pytest.raises(DataError):
        load_data(3)

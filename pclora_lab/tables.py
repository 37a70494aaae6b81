"""Read tables of examples: hub data sets, files and folders; find their columns and classes."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd

__all__ = ["class_names_of", "find_columns", "is_labelled", "label_numbers", "read_tables"]

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")
TEXT_NAMES = (
    "text", "sentence", "review", "content", "comment", "document", "description", "question",
    "message", "body", "title",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "fine_label", "class", "target", "category", "sentiment", "y",
)  # fmt: skip
_LABEL_TYPES = (datasets.ClassLabel, datasets.Value)
_KINDS = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet",
}  # fmt: skip
_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def read_tables(name: str) -> dict[str, Any]:
    """The splits of a hub data set, a file, or a folder of tables or images, by name.

    Raises:
        ValueError: no such file or folder, nothing in it, or it can't be read.
        ConnectionError: the hub can't be reached or does not have it.
    """
    path = Path(name).expanduser()
    is_local = path.exists()
    if not is_local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ValueError(f"unknown data {name!r}: there is no such folder or file")
    if path.is_dir() and not any(p.is_file() and p.stat().st_size for p in path.rglob("*")):
        raise ValueError(
            f"data folder {name!r} is empty: put parquet files or images into it, "
            "or tables of texts"
        )
    if not is_local and path.suffix in _KINDS:
        raise ValueError(f"unknown data {name!r}: there is no such file")
    try:
        with _quietly():
            return dict(_load_local(path) if is_local else datasets.load_dataset(name))
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise ConnectionError(
            f"data {name!r} is no file or folder here, and the hub can't be reached or does not "
            "have it. Offline, use digits or a folder or file of your own, or glosses for texts. "
            f"({error})"
        ) from error
    # Arrow's errors for a broken file are ValueErrors.
    except (FileNotFoundError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise ValueError(f"data {name!r} can't be read as a table or images: {cause}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without progress bars, which would stand in whichever notebook cell happens to run."""
    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            datasets.enable_progress_bars()


def _load_local(path: Path) -> Mapping[str, Any]:
    if path.is_file():
        if not path.stat().st_size:
            raise ValueError("the file is empty")
        if path.suffix not in _KINDS:
            known = ", ".join(_KINDS)
            raise ValueError(f"{path.suffix or 'no'} file type: give {known}, or a folder")
        return _read_files({"train": [path]}, _KINDS[path.suffix])
    files = [
        p
        for p in sorted(path.rglob("*"))
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
    ]
    images = any(p.suffix.lower() in _IMAGES for p in files)
    sizes: dict[str, int] = {}
    for file in files:
        if file.suffix in _KINDS:
            kind = _KINDS[file.suffix]
            sizes[kind] = sizes.get(kind, 0) + file.stat().st_size
    # A folder of images may carry a table of its own, metadata.csv, which is theirs to read.
    if images or not sizes:
        return datasets.load_dataset(str(path.resolve()))
    kind = max(sizes, key=sizes.__getitem__)  # whatever stands beside the tables is smaller
    splits: dict[str, list[Path]] = {}
    for file in files:
        if _KINDS.get(file.suffix) == kind:
            splits.setdefault(_split_of(file.relative_to(path)), []).append(file)
    return _read_files(splits, kind)


def _split_of(file: Path) -> str:
    """The split that a path names, as the hub does: ``train.csv``, ``data/test-00000.parquet``."""
    for word in reversed(re.split(r"[^a-z]+", str(file.with_suffix("")).lower())):
        for split, words in _SPLIT_WORDS.items():
            if word in words:
                return split
    return "train"


def _read_files(splits: Mapping[str, list[Path]], kind: str) -> Mapping[str, Any]:
    if kind == "parquet":
        # One by one: a test split may lack the column of the labels.
        return {
            split: datasets.load_dataset(
                "parquet", data_files={split: [str(path) for path in paths]}, split=split
            )
            for split, paths in splits.items()
        }
    return {split: _read_words(paths) for split, paths in splits.items()}


def _read_words(files: list[Path]) -> datasets.Dataset:
    """Tables of text, every value a word: a guess at numbers would change what is written."""
    frames = []
    for file in files:
        _require_utf8(file)
        frames.append(_read_json(file) if "json" in file.suffix else _read_csv(file))
    return datasets.Dataset.from_pandas(pd.concat(frames, ignore_index=True), preserve_index=False)


def _read_csv(file: Path) -> pd.DataFrame:
    separator = "\t" if file.suffix == ".tsv" else ","
    # By default "None" and "NA" are missing values, and a row that is too long moves the columns.
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                file, sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
        except pd.errors.ParserWarning:
            raise ValueError(
                f"{file.name} has rows with more fields than its heading has names: put texts that "
                "hold the separator into quotes"
            ) from None


def _read_json(file: Path) -> pd.DataFrame:
    text = file.read_text(encoding="utf8")
    # Not splitlines: a text may hold any of the other characters that end a line in Unicode.
    lines = [line for line in text.split("\n") if line.strip()]
    whole = file.suffix == ".json" and text.lstrip().startswith("[")
    rows = json.loads(text) if whole else [json.loads(line) for line in lines]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{file.name} is no list of objects, one for each example")
    values = [{key: _word(value) for key, value in row.items()} for row in rows]
    return pd.DataFrame(values).astype("string").fillna("")


def _word(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _require_utf8(file: Path) -> None:
    broken, first, count = 0, 0, 0
    with file.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            try:
                line.decode("utf8")
            except UnicodeDecodeError:
                broken += 1
                first = first or count
    if broken:
        raise ValueError(
            f"{file.name} is not UTF-8: {broken} of {count} lines have bytes that are no "
            f"characters, line {first} first. Save it as UTF-8, for example with "
            f"iconv -f cp1252 -t utf8 {file.name} > fixed{file.suffix}"
        )


def find_columns(table: Any, given: Mapping[str, str | None], data: str) -> tuple[str, str, str]:
    """What a table holds: ``image`` or ``text``, the column of these, and the label's column.

    Args:
        table: one split.
        given: names by kind (``image``, ``text``, ``label``); None is guessed.
        data: the data set's name, for errors.

    Raises:
        ValueError: a given column is not there, or none can be guessed.
    """
    for column in filter(None, given.values()):
        if column not in table.column_names:
            have = ", ".join(table.column_names)
            raise ValueError(f"data {data!r} has no column {column!r}: it has {have}")
    if given.get("image") and given.get("text"):
        raise ValueError("give image_column or text_column, not both: a run has one kind of input")
    label = given.get("label") or _guess(table, datasets.ClassLabel, LABEL_NAMES)
    image = given.get("image") or (
        None if given.get("text") else _guess(table, datasets.Image, IMAGE_NAMES)
    )
    kind, column = ("image", image) if image else ("text", given.get("text") or _text(table, label))
    if label is None and table.column_names == [image]:
        raise ValueError(
            f"data {data!r} has one class only: a classifier needs two or more, each in a folder "
            "of its own"
        )
    flags = {"image": "image_column or text_column", "label": "label_column"}
    for what, found in (("image", column), ("label", label)):
        if found is None:
            also = " and none of texts" if what == "image" else ""
            raise ValueError(
                f"no {what} column found in {data!r}{also}: its columns are "
                f"{', '.join(table.column_names)}; pass {flags[what]}"
            )
    return kind, column, label


def _guess(table: Any, feature: type, names: tuple[str, ...]) -> str | None:
    typed = [c for c in table.column_names if isinstance(table.features[c], feature)]
    by_name = sorted((c for c in table.column_names if c.lower() in names),
                     key=lambda column: names.index(column.lower()))  # fmt: skip
    return next(iter([*typed, *by_name]), None)


def _text(table: Any, label: str | None) -> str | None:
    """A column with a usual name, or else the one with the longest strings."""
    strings = [
        c
        for c in table.column_names
        if c != label and getattr(table.features[c], "dtype", None) in ("string", "large_string")
    ]
    named = [c for name in TEXT_NAMES for c in strings if c.lower() == name]
    if named or not strings:
        return named[0] if named else None
    some = table.select(range(min(100, len(table))))
    return max(strings, key=lambda c: sum(len(value or "") for value in some[c]))


def label_word(value: object) -> str:
    """A class as text; whole numbers without a fraction.

    Example:
        >>> label_word(1.0), label_word(" spam ")
        ('1', 'spam')
    """
    word = str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", word)


def _order(words: set[str]) -> list[str]:
    numbers = all(word.removeprefix("-").isdigit() for word in words)
    return sorted(words, key=int) if numbers else sorted(words)


def class_names_of(table: Any, column: str, data: str) -> tuple[str, ...]:
    """The classes of a label column: its own names, or its values in order.

    Raises:
        ValueError: not a label column, or fewer than two classes.
    """
    feature = table.features[column]
    columns = ", ".join(table.column_names)
    if not isinstance(feature, _LABEL_TYPES):
        raise ValueError(
            f"column {column!r} of {data!r} is no label column: every row needs a class name or "
            f"number; pass another label_column ({columns})"
        )
    values = [value for value in table[column] if not is_missing(value)]
    fractions = _fractions(values)
    if fractions:
        raise ValueError(
            f"column {column!r} of {data!r} holds fractions such as {fractions[0]}, which are no "
            f"classes; pass another label_column ({columns})"
        )
    words = {label_word(value) for value in values}
    if isinstance(feature, datasets.ClassLabel):
        names, words = tuple(feature.names), {str(value) for value in values if value >= 0}
    else:
        names = tuple(_order(words))
    if len(words) < 2:
        raise ValueError(
            f"data {data!r} has {len(words)} class in column {column!r}: a classifier needs two or "
            "more; is it the right label_column?"
        )
    if len(words) > len(values) // 2 and len(words) > 20:
        raise ValueError(
            f"column {column!r} of {data!r} has {len(words)} different values in {len(values)} "
            f"rows, which are hardly classes; pass another label_column ({columns})"
        )
    return names


def _fractions(values: list[Any]) -> list[Any]:
    """Those that are not whole, if all of them are numbers; words make numbers to words."""
    try:
        return [value for value in values if not float(value).is_integer()]
    except (TypeError, ValueError, OverflowError):
        return []


def is_missing(value: object) -> bool:
    """Nothing, an empty word, or not a number.

    Example:
        >>> is_missing(None), is_missing("  "), is_missing(float("nan")), is_missing(0)
        (True, True, True, False)
    """
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value


def is_labelled(table: Any, column: str) -> bool:
    """Whether a split has labels; the test splits of many hub data sets have −1 instead."""
    if column not in table.column_names:
        return False
    return any(not is_missing(value) and label_word(value) != "-1" for value in table[column])


def label_numbers(table: Any, column: str, names: tuple[str, ...], where: str) -> np.ndarray:
    """The class number of every row.

    Raises:
        ValueError: a row without a label, or with one that the classes do not have.
    """
    if isinstance(table.features[column], datasets.ClassLabel):
        numbers = list(table[column])
        outside = [n for n in numbers if n is None or not 0 <= n < len(names)]
        if outside:
            raise ValueError(
                f"{where} has {len(outside)} rows whose label is outside the {len(names)} classes "
                f"(0 to {len(names) - 1}), such as {outside[0]}: repair or remove them"
            )
        return np.asarray(numbers, dtype=np.int64)
    number: Callable[[str], int | None] = {name: i for i, name in enumerate(names)}.get
    words = [label_word(value) for value in table[column]]
    unknown = sorted({word for word in words if number(word) is None})
    if unknown:
        raise ValueError(f"{where} has labels that train does not have: {unknown[:5]}")
    return np.asarray([number(word) for word in words], dtype=np.int64)

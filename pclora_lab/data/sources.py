"""Read examples from the hub, from files and from folders, as tables by split."""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pandas as pd

from pclora_lab.quiet import quiet

__all__ = ["read_tables"]

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
        with quiet():
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

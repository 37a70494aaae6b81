"""Anything that may hold examples as tables by split: a path, a hub name, a table in memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.reading.frames import from_frame
from pclora_lab.data.reading.hub import cache_folders, read_hub
from pclora_lab.data.reading.masked.folders import are_masked
from pclora_lab.data.reading.metadata import has_metadata, read_described_pictures
from pclora_lab.data.reading.pictures import read_picture_folder, read_text_folder
from pclora_lab.data.reading.tables import (
    as_dataset,
    read_table_file,
    read_table_folder,
    require_sound,
)
from pclora_lab.data.reading.walking import TABLES, FoundFiles, find_files
from pclora_lab.fields import check_text
from pclora_lab.json_files import read_json

__all__ = ["local_path", "read_tables", "refuse_vague", "source_name"]

_UNREADABLE = (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetGenerationError)

# What datasets raises where its own lists were edited; RuntimeError is of nested ones too.
_NOT_SAVED = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
              pa.ArrowException)  # fmt: skip

_SAVED = ("dataset_dict.json", "dataset_info.json")


def source_name(data: object) -> str:
    """What messages call it: as it was asked for, or its type.

    Example:
        >>> source_name("digits"), source_name(pd.DataFrame())
        ('digits', 'DataFrame')
    """
    return os.fspath(data) if isinstance(data, (str, Path)) else type(data).__name__


def read_tables(data: Any, ledger: Ledger) -> dict[str, datasets.Dataset]:
    """The splits by name; files and rows that can't be read are in the ledger.

    Raises:
        DataError: no such file or folder, nothing in it, it can't be read, or no table.
        ConnectionError: the hub can't be reached or does not have it.
    """
    if not isinstance(data, (str, Path)):
        return _from_memory(data, ledger)
    name = source_name(data)
    refuse_vague(name)
    path = local_path(name)
    is_local = path is not None and path.exists()
    if not is_local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise DataError(f"unknown data {name!r}: there is no such folder or file")
    if not is_local and Path(name).suffix.lower() in TABLES:
        raise DataError(f"unknown data {name!r}: there is no such file")
    if not is_local and name in _PACKAGED_DATASETS_MODULES:
        raise DataError(
            f"data {name!r} is a kind of file for the datasets library, no data set: name the file "
            "or the folder"
        )
    try:
        if path is None or not is_local:
            ledger.place = cache_folders()
            return _counted(read_hub(name), ledger)
        ledger.place = path if path.is_dir() else path.parent
        return read_table_file(path, ledger) if path.is_file() else _read_folder(path, ledger, name)
    except ConnectionError:
        raise
    except _UNREADABLE as error:
        cause = error.__cause__ if not isinstance(error, DataError) else None
        if isinstance(error, DataError) and f"data {name!r}" in str(error):
            raise
        reason: object = cause or error
        if isinstance(reason, UnicodeEncodeError):
            reason = "the name of a file in it holds bytes that are no characters: rename it"
        raise DataError(f"data {name!r} can't be read as a table or images: {reason}") from error


def refuse_vague(name: str) -> None:
    """Ask for a folder where a name is none: nobody means all that is in his home.

    Raises:
        DataError: nothing, dots, a tilde, the root or a home folder, or what no file can be called.

    Example:
        >>> refuse_vague("pictures")
    """
    if not name.strip():
        raise DataError("data is empty: name a data set, a file or a folder")
    try:
        check_text("data", name)
    except ValueError as error:
        raise DataError(str(error)) from error
    if not set(name.strip()) - set("./~\\") or _is_root_or_home(name):
        path = local_path(name.strip())
        where = "" if path is None else f" ({path.resolve()})"
        raise DataError(
            f"data {name!r} is no data set but a place{where}: which file or folder there holds "
            "the examples? Name it by its own name or its whole path"
        )


def _is_root_or_home(name: str) -> bool:
    path = local_path(name)
    if path is None or not path.is_dir():
        return False
    path = path.resolve()
    return path in (Path(path.anchor), Path(os.path.expanduser("~")).resolve())


def local_path(name: str) -> Path | None:
    """Where a name would be on this machine; None if it can't be a path.

    Example:
        >>> local_path("a\\0b") is None
        True
    """
    if not name.strip():
        return None
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, a zero byte
        return None
    return None if "\0" in name else path


def _read_folder(path: Path, ledger: Ledger, name: str) -> dict[str, datasets.Dataset]:
    if any((path / file).is_file() for file in _SAVED):
        return _counted(_from_disk(path), ledger)
    found = find_files(path)
    if found.count == len(found.empty):
        raise DataError(
            f"data folder {name!r} is empty: put parquet files or images into it, or tables of "
            "texts"
        )
    ledger.find_files(found.count)
    _leave_unusable(found, ledger)
    if found.pictures:
        ledger.place = None  # they are listed here, and their paths in a table compared with it
    if are_masked(found.pictures):
        task = "semantic-segmentation"
        raise DataError(
            f"data {name!r} has a folder of images and one of masks with the same names, which are "
            f"no classes of images: set task to {task}",
            task,
        )
    if found.pictures and has_metadata(found):
        return read_described_pictures(path, found, ledger, name)
    if found.pictures:
        tables = [str(file) for files in found.tables.values() for file in files]
        ledger.leave_files("a table or text beside pictures", [*tables, *map(str, found.texts)])
        return read_picture_folder(path, found, ledger, name)
    ledger.leave_files("a picture that can't be read here", [*map(str, found.unreadable)])
    if found.tables:
        ledger.leave_files("a text beside tables", [*map(str, found.texts)])
        return read_table_folder(path, found, ledger)
    if found.texts:
        return read_text_folder(path, found, ledger, name)
    kinds = ", ".join(sorted({file.suffix or file.name for file in found.others}))
    raise DataError(
        f"it holds no tables ({', '.join(TABLES)}), no images and no text files, but {kinds or '-'}"
    )


def _leave_unusable(found: FoundFiles, ledger: Ledger) -> None:
    empty = [str(path) for path in found.empty if path not in found.empty_pictures]
    ledger.leave_files("without a byte", empty)
    ledger.leave_files("that leads nowhere or may not be read", [*map(str, found.lost)])
    ledger.leave_files("of another kind", [*map(str, found.others)])


def _from_disk(path: Path) -> Mapping[str, datasets.Dataset]:
    """A folder that ``save_to_disk`` wrote."""
    _require_own_files(path)
    try:
        saved = datasets.load_from_disk(str(path))
    except _NOT_SAVED as error:
        raise DataError(
            f"the folder was written by save_to_disk, but can't be read: {error}"
        ) from error
    return saved if isinstance(saved, Mapping) else {"train": saved}


def _require_own_files(folder: Path) -> None:
    """Refuse a folder whose own lists name files or splits outside it.

    Raises:
        DataError: names the file.
    """
    splits = (read_json(folder / "dataset_dict.json") or {}).get("splits", [""])
    for split in splits if isinstance(splits, list) else [""]:
        state = read_json(folder / str(split) / "state.json") or {}
        files = state.get("_data_files")
        files = files if isinstance(files, list) else []
        named = [one.get("filename") for one in files if isinstance(one, dict)]
        for path in (Path(str(split)), *(Path(str(split), str(name)) for name in named)):
            if not (folder / path).resolve().is_relative_to(folder.resolve()):
                raise DataError(
                    f"its own list names {str(path)!r}, which is outside it: nothing there is "
                    "read; save the data set again with save_to_disk"
                )


def _from_memory(data: Any, ledger: Ledger) -> dict[str, datasets.Dataset]:
    if isinstance(data, Mapping):
        if not data:
            raise DataError("no tables were given: {} is empty")
        return _counted({str(key): _table(value) for key, value in data.items()}, ledger)
    return _counted({"train": _table(data)}, ledger)


def _table(data: Any) -> datasets.Dataset:
    if isinstance(data, pd.DataFrame):
        return from_frame(data)
    if isinstance(data, pa.Table):
        return as_dataset(data)
    if isinstance(data, datasets.Dataset):
        return data
    cure = {"IterableDataset": "Dataset.from_list(list(data))", "LazyFrame": "collect()"}
    hint = cure.get(type(data).__name__, "pandas.DataFrame(data)")
    raise DataError(
        f"data of type {type(data).__name__} can't be read: give a name, a path, a pandas "
        f"DataFrame, a datasets.Dataset or a pyarrow Table, for example {hint}"
    )


def _counted(tables: Mapping[str, datasets.Dataset], ledger: Ledger) -> dict[str, datasets.Dataset]:
    for split, table in tables.items():
        try:
            require_sound(table.data.table)
        except pa.ArrowException as error:
            raise DataError(f"the rows of {split} can't be read: {error}") from error
        ledger.find_rows(split, len(table))
    return {split: table.with_format(None) for split, table in tables.items()}

"""Text files as a table of documents: one for each file, or many in one file."""

import re
from pathlib import Path

import datasets
import pyarrow as pa

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.reading.encoding import encoding_of
from pclora_lab.data.reading.tables import as_dataset
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.reading.walking import FoundFiles, find_files

__all__ = ["documents_in", "read_text_files", "text_files_in"]


def text_files_in(path: Path) -> FoundFiles | None:
    """The files of a place that holds texts and neither tables nor pictures; None for another.

    Args:
        path: a file or a folder.
    """
    if path.is_file():
        is_text = path.suffix.lower() == ".txt"
        return FoundFiles(texts=[Path(path.name)]) if is_text else None
    if not path.is_dir():
        return None
    found = find_files(path)
    return found if found.texts and not found.tables and not found.pictures else None


def read_text_files(folder: Path, found: FoundFiles, ledger: Ledger) -> dict[str, datasets.Dataset]:
    """Tables with the column ``text`` by split, which the nearest folder or file name says.

    A file that is a split by its own name, such as ``train.txt``, and one that stands alone hold
    many documents, see :func:`documents_in`; any other file is one.

    Args:
        folder: that the files are in.
        found: from :func:`text_files_in`.
        ledger: is told what is left out.

    Raises:
        DataError: bytes that are no characters.
    """
    ledger.has_columns = False
    ledger.find_files(found.count)
    for reason, paths in (
        ("without a byte", found.empty),
        ("that leads nowhere or may not be read", found.lost),
        ("of another kind", [*found.unreadable, *found.others]),
    ):
        ledger.leave_files(reason, [*map(str, paths)])
    splits: dict[str, list[str]] = {}
    for path in found.texts:
        names = (path.stem, *reversed(path.parts[:-1]))
        split = next((named for name in names if (named := split_named(name))), "train")
        text = _read(folder / path)
        holds_many = len(found.texts) == 1 or split_named(path.stem) is not None
        splits.setdefault(split, []).extend(documents_in(text) if holds_many else [text])
    tables = {}
    for split, texts in splits.items():
        ledger.find_rows(split, len(texts))
        tables[split] = as_dataset(pa.table({"text": pa.array(texts, pa.large_string())}))
    return tables


def documents_in(text: str) -> list[str]:
    """The paragraphs of a text, which empty lines part; its lines where no line is empty.

    Example:
        >>> documents_in("One\\ntwo.\\n\\nThree.\\n"), documents_in("One.\\nTwo.\\n")
        (['One\\ntwo.', 'Three.'], ['One.', 'Two.'])
    """
    parts = [part.strip() for part in re.split(r"\n[ \t]*\n", text)]
    paragraphs = [part for part in parts if part]
    if len(paragraphs) > 1:
        return paragraphs
    return [line for line in text.splitlines() if line.strip()]


def _read(path: Path) -> str:
    encoding = encoding_of(path)
    try:
        return path.read_text(encoding=encoding)
    except UnicodeError as error:
        raise DataError(
            f"{path.name} is no text in {encoding} ({error}): save it as UTF-8"
        ) from error

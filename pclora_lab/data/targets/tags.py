"""A tag for each word: lists of words with lists of tags, or texts with as many tags as words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from pclora_lab.data.account import DataError
from pclora_lab.data.columns import LABEL_NAMES, Columns, find_columns
from pclora_lab.data.labels import arrow_column, is_missing, label_word, ordered_words
from pclora_lab.data.other_tasks import is_word_list
from pclora_lab.data.splits import LabeledData
from pclora_lab.data.targets.drawn import gloss_typos
from pclora_lab.data.targets.reading import Rows, TargetReader, label_columns, read_targets
from pclora_lab.data.targets.words import Words
from pclora_lab.wording import listed

__all__ = ["UNTAGGED", "load_tags"]

UNTAGGED = -100
"""Of a word, or a piece of one, that is neither learned nor measured."""

_TAG_NAMES = ("ner_tags", "tags", "pos_tags", "upos", "chunk_tags", "ner", "pos", *LABEL_NAMES)
_WORD_NAMES = ("tokens", "words", "text", "sentence", "form")


def load_tags(data: Any, **settings: Any) -> LabeledData:
    """Read texts whose words have a tag each; see :func:`read_targets`.

    Words are a list in each row and tags another one of the same length, of names or numbers; or
    both are texts whose words are told apart by blanks. Tags may be in BIO form or plain. A row
    with another number of tags than words, or with a tag that the training split does not have, is
    left out and counted. A tag that is missing, or −100, is neither learned nor measured.

    Args:
        data: ``gloss_typos``, or what :func:`pclora_lab.load_data` takes.
        settings: :func:`pclora_lab.load_data`'s; ``text_column`` names the column of words and
            ``label_column`` that of tags.

    Raises:
        DataError: as :func:`read_targets`; also pictures, or no column of tags.

    Example:
        >>> typos = load_tags("gloss_typos")
        >>> typos.class_names, len(typos.train.examples[0].words) == len(typos.train.targets[0])
        (('O', 'B-TYPO'), True)
    """
    return read_targets(_Tags(), data, **settings)


class _Tags(TargetReader):
    kind = "tags"
    task = "token-classification"
    drawn = "gloss_typos"

    def draw(self) -> LabeledData:
        return gloss_typos()

    def find(
        self,
        table: datasets.Dataset,
        given: Mapping[str, str | None],
        pair: Sequence[str] | None,
        data: str,
    ) -> tuple[Columns, tuple[str, ...]]:
        if given.get("image") or pair:
            raise DataError(
                "tags are of the words of one text: leave image_column and text_columns out"
            )
        named, text = given.get("label"), given.get("text")
        labels = label_columns(table, named, data) if named else (_guessed_tags(table, data),)
        if len(labels) > 1:
            raise DataError(f"label_column is {named!r}: tags stand in one column")
        words = text or _guessed_words(table, labels[0])
        if words is not None and words in table.column_names:
            return Columns("text", (words,), labels[0]), labels
        found = find_columns(table, {"text": text, "label": labels[0]}, data)
        if found.kind != "text":
            raise DataError(
                f"data {data!r} has pictures and no words: pass text_column "
                f"({listed(table.column_names)})"
            )
        return found, labels

    def names(self, table: datasets.Dataset, labels: tuple[str, ...], data: str) -> tuple[str, ...]:
        """Those of the table, or the tags that occur: O first, and then by what they tag."""
        own = _names_of(table.features[labels[0]])
        found = own or _sorted_tags(
            {tag for row in _tags(table, labels[0], ()) for tag in row or ()}
        )
        if len(found) < 2:
            raise DataError(
                f"column {labels[0]!r} of {data!r} has {len(found)} tag: two or more are needed; "
                "is it the right label_column?"
            )
        return found

    def rows(
        self,
        table: datasets.Dataset,
        columns: Columns,
        labels: tuple[str, ...],
        names: tuple[str, ...],
    ) -> Rows:
        words = [_words(value) for value in arrow_column(table, columns.content[0]).to_pylist()]
        tags = _tags(table, labels[0], _names_of(table.features[labels[0]]) or ())
        number: dict[str | None, int] = {name: i for i, name in enumerate(names)}
        number[None] = UNTAGGED
        pairs = list(zip(words, tags, strict=True))
        unknown = Counter(tag for row in tags for tag in row or () if tag not in number)
        which = sorted((str(tag) for tag in unknown), key=lambda tag: (-unknown[tag], tag))[:5]
        faults = {
            f"without words in column {columns.content[0]!r}": _flags(not w for w in words),
            "without tags": _flags(not row for row in tags),
            "with another number of tags than words": _flags(
                len(w) != len(t or ()) for w, t in pairs
            ),
            f"with tags that train does not have: {which}": _flags(
                any(tag not in number for tag in row or ()) for row in tags
            ),
        }
        targets = [
            np.array([number.get(tag, UNTAGGED) for tag in row or ()], dtype=np.int64)
            for row in tags
        ]
        return Rows(targets, faults, [Words(row) for row in words])


def _flags(values: Any) -> np.ndarray:
    return np.fromiter(values, dtype=bool)


def _names_of(feature: Any) -> tuple[str, ...] | None:
    inner = getattr(feature, "feature", None)
    return tuple(inner.names) if isinstance(inner, datasets.ClassLabel) else None


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple("" if word is None else str(word) for word in value)
    return tuple(str(value).split()) if not is_missing(value) else ()


def _tags(
    table: datasets.Dataset, column: str, names: tuple[str, ...]
) -> list[list[str | None] | None]:
    """The tags of each row as words; None in it for a word without one."""

    def one(value: Any) -> str | None:
        if is_missing(value) or value in (UNTAGGED, str(UNTAGGED)):
            return None
        word = label_word(value)
        is_number = word.isdigit() and int(word) < len(names)
        return names[int(word)] if is_number and word not in names else word

    cells = arrow_column(table, column).to_pylist()
    listed_ = [cell.split() if isinstance(cell, str) else cell for cell in cells]
    return [[one(tag) for tag in row] if isinstance(row, list) else None for row in listed_]


def _sorted_tags(tags: set[str | None]) -> tuple[str, ...]:
    """O first; tags in BIO form by what they tag, and then by their first letter.

    Example:
        >>> _sorted_tags({"I-PER", "O", "B-PER", "B-LOC"})
        ('O', 'B-LOC', 'B-PER', 'I-PER')
    """
    known = {tag for tag in tags if tag is not None}
    if any("-" in tag for tag in known):
        rest = sorted(known - {"O"}, key=lambda tag: (tag.partition("-")[2], tag))
    else:
        rest = ordered_words(known - {"O"})
    return (*(known & {"O"}), *rest)


def _guessed_tags(table: datasets.Dataset, data: str) -> str:
    have = table.column_names
    plain = {name.strip().lower(): name for name in reversed(have)}
    found = next((plain[name] for name in _TAG_NAMES if name in plain), None)
    if found is None:
        raise DataError(
            f"no column of tags found in {data!r}: its columns are {listed(have)}; pass "
            "label_column"
        )
    return found


def _guessed_words(table: datasets.Dataset, tags: str) -> str | None:
    """A column of lists of strings; None where words stand in texts."""
    schema = table.features.arrow_schema
    lists = [n for n in table.column_names if n != tags and is_word_list(schema.field(n).type)]
    plain = {name.strip().lower(): name for name in reversed(lists)}
    return next((plain[name] for name in _WORD_NAMES if name in plain), next(iter(lists), None))

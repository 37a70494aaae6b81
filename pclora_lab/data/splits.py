"""Labeled examples as three raw splits, and the account of what they were made from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from PIL import Image

from pclora_lab.data.account import Account, AccountError

__all__ = ["LabeledData", "Split", "example_text", "hash_of_texts", "short_name"]


@dataclass(frozen=True)
class Split:
    """Raw examples and their class numbers; ``examples[i]`` is a PIL image, a string, or a pair.

    ``masks[i]`` is a picture of the same size whose gray values are the class numbers of the
    pixels, 255 for none; the labels are all 0 then. So they are where ``targets[i]`` says what is
    right: numbers, a 0 or 1 for each label, or a tag's number for each word.
    """

    examples: Sequence[Any]
    labels: np.ndarray
    masks: Sequence[Image.Image] | None = None
    targets: np.ndarray | Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabeledData:
    """Three splits and the names of the classes. Test is read once, at the end of a run.

    Attributes:
        name: as it was asked for.
        kind: ``image`` or ``text``.
        train: what is learned from.
        validation: what choices are made on.
        test: what is reported.
        class_names: one per class number.
        notes: what was left out or made up while reading, for people to know.
        account: what was found, used and left out.
        content: the columns that the examples are from; two for pairs of texts.
        targets: what ``Split.targets`` holds: ``numbers``, ``labels`` or ``tags``, which
            ``class_names`` are the names of; empty where there are none.

    Raises:
        AccountError: the account's used rows are not those of the splits.
    """

    name: str
    kind: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    account: Account | None = None
    content: tuple[str, ...] = ()
    targets: str = ""

    def __post_init__(self) -> None:
        rows = len(self.train) + len(self.validation) + len(self.test)
        if self.account is not None and self.account.rows.used != rows:
            raise AccountError(f"{self.account.rows.used} rows used are not {rows} in the splits")

    @property
    def is_paired(self) -> bool:
        """Whether an example is a pair of texts."""
        return len(self.content) == 2

    @property
    def has_masks(self) -> bool:
        """Whether the classes are those of pixels."""
        return self.train.masks is not None

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def summary(self) -> str:
        """One line: kind, sizes, classes."""
        names = ", ".join(self.class_names[:10]) + (", …" if self.num_classes > 10 else "")
        sizes = " / ".join(f"{len(split):,}" for split in (self.train, self.validation, self.test))
        things = "pairs of texts" if self.is_paired else f"{self.kind}s"
        things += " with masks" if self.has_masks else ""
        return f"{short_name(self.name)}: {sizes} {things} to train, validate and test on" + (
            f", {self.num_classes} {self.targets or 'classes'} ({names})" if names else ""
        )

    def fingerprint(self) -> str:
        """A hash of every example of every split: same data, same hash, on any machine.

        Of pictures their bytes are hashed as they are stored, without decoding any. The data are
        read once; what was found is kept.
        """
        return self._hash

    @cached_property
    def _hash(self) -> str:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        facts = (self.kind, *self.class_names, *filter(None, (self.targets,)))
        return _hash_of_splits(splits, facts)


def hash_of_texts(*texts: str) -> str:
    """A short hash of texts, in which it matters where one ends and the next begins.

    Example:
        >>> hash_of_texts("ab", "c") == hash_of_texts("a", "bc")
        False
    """
    digest = hashlib.sha256()
    for text in texts:
        _add(digest, _characters(text))
    return digest.hexdigest()[:16]


def _hash_of_splits(splits: Mapping[str, Split], facts: Sequence[str]) -> str:
    """A short hash of labels and examples, every one of them.

    Args:
        splits: by name.
        facts: what the examples are, beside themselves: their kind, the names of the classes.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for fact in facts:
        _add(digest, _characters(fact))
    for name, split in splits.items():
        _add(digest, _characters(name))
        _add(digest, np.ascontiguousarray(split.labels, dtype="<i8").tobytes())
        targets = () if split.targets is None else split.targets
        for examples in (split.examples, split.masks or (), targets):
            # A picture of a table or a folder as its bytes, which takes no decoding.
            read = getattr(examples, "content", None) or partial(_content, examples)
            for index in range(len(examples)):
                _add(digest, read(index))
    return digest.hexdigest()[:16]


def _add(digest: Any, content: bytes) -> None:
    digest.update(len(content).to_bytes(8, "little"))
    digest.update(content)


def _characters(text: str) -> bytes:
    # Half a character, as some tables hold it, is hashed like any other.
    return text.encode("utf8", "surrogatepass")


def _content(examples: Any, index: int) -> bytes:
    example = examples[index]
    if isinstance(example, str):
        return _characters(example)
    if isinstance(example, tuple):
        parts = [_characters(str(text)) for text in example]
        return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    colors = example.getpalette() if isinstance(example, Image.Image) else None
    values = np.asarray(example)
    kind = f"{getattr(example, 'mode', '')} {values.dtype.str} {values.shape} {colors}"
    return _characters(kind) + values.tobytes()


def example_text(example: str | tuple[str, str]) -> str:
    """A text, or a pair of texts, in one line for people to read.

    Example:
        >>> example_text("a\\nb"), example_text(("A man sleeps.", "A man runs."))
        ('a b', 'A man sleeps. ⇢ A man runs.')
    """
    parts = example if isinstance(example, tuple) else (example,)
    return " ⇢ ".join(" ".join(part.split()) for part in parts)


def short_name(name: str) -> str:
    """A name on the hub as it is; of a path on somebody's machine, the last part.

    Example:
        >>> short_name("uoft-cs/cifar10"), short_name("/home/me/reviews.csv")
        ('uoft-cs/cifar10', 'reviews.csv')
    """
    is_path = name.startswith((".", "/", "~", "local-dir:")) or name.count("/") > 1
    return name.rstrip("/").rpartition("/")[2] if is_path else name

"""A folder of pictures or texts in folders: which of them name splits, and which classes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pclora_lab.data.account import DataError
from pclora_lab.data.reading.spelling import joined_spellings
from pclora_lab.wording import listed

__all__ = ["Leaf", "TreeReading", "read_tree", "split_named"]

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def split_named(name: str) -> str | None:
    """The split that a name speaks of, if it does.

    Example:
        >>> split_named("Train"), split_named("seg_test"), split_named("contest")
        ('train', 'test', None)
    """
    for word in reversed(re.split(r"[^a-z]+", name.lower())):
        for split, words in _SPLIT_WORDS.items():
            if word in words:
                return split
    return None


@dataclass(frozen=True)
class Leaf:
    """One file as an example.

    Attributes:
        path: relative to the folder.
        split: that it belongs to; ``train`` where the folder has none.
        label: name of its class.
    """

    path: Path
    split: str
    label: str


@dataclass(frozen=True)
class TreeReading:
    """What a folder's structure says.

    Attributes:
        leaves: the examples, in the order of the paths.
        homeless: files without a folder that names their class, by split.
        astray: files in a folder beside those of the splits, by the folder's name.
        notes: what a person should know about how it was read.
    """

    leaves: list[Leaf]
    homeless: dict[str, list[Path]]
    astray: dict[str, list[Path]]
    notes: tuple[str, ...]


def read_tree(paths: Sequence[Path], name: str) -> TreeReading:
    """Split and class of every file, from the folders that it is in, never from its own name.

    A folder names a split only if folders of classes are below it (``Train/cat/1.png``), or above
    it (``cat/train/1.png``); ``car/1.png`` beside ``train/1.png`` are two classes.

    Args:
        paths: of the files, relative to the folder.
        name: of the data, for errors.

    Raises:
        DataError: the only folders name splits, so that nothing names the classes.
    """
    depth = _common_depth(paths)
    folders = {path: path.parts[depth:-1] for path in paths}
    level = _split_level(list(folders.values()), name)
    leaves: list[Leaf] = []
    homeless: dict[str, list[Path]] = {}
    astray: dict[str, list[Path]] = {}
    for path, parts in folders.items():
        split: str | None = "train"
        if level is not None and len(parts) > level:
            split = split_named(parts[level])
            if split is None:
                astray.setdefault(parts[level], []).append(path)
                continue
        rest = [part for number, part in enumerate(parts) if number != level]
        if not rest:
            homeless.setdefault(split or "train", []).append(path)
        else:
            leaves.append(Leaf(path, split or "train", rest[-1]))
    labels, notes = _spelled_alike(leaves, level, folders)
    return TreeReading(labels, homeless, astray, notes)


def _common_depth(paths: Sequence[Path]) -> int:
    """How many folders all of them are in."""
    depths = zip(*(path.parts[:-1] for path in paths), strict=False)
    return next((n for n, names in enumerate(depths) if len(set(names)) > 1), _least(paths))


def _least(paths: Sequence[Path]) -> int:
    return min((len(path.parts) - 1 for path in paths), default=0)


def _spelled_alike(
    leaves: list[Leaf], level: int | None, folders: dict[Path, tuple[str, ...]]
) -> tuple[list[Leaf], tuple[str, ...]]:
    """One spelling for each class; and what folders of several names or places became one."""
    joined, notes = joined_spellings(Counter(leaf.label for leaf in leaves))
    made = [Leaf(leaf.path, leaf.split, joined[leaf.label]) for leaf in leaves]
    splits: dict[str, set[str]] = {}
    places: dict[str, set[tuple[str, ...]]] = {}
    for leaf in made:
        parts = folders[leaf.path]
        if level is not None and len(parts) > level:
            splits.setdefault(leaf.split, set()).add(parts[level])
            parts = (*parts[:level], *parts[level + 1 :])
        places.setdefault(leaf.label, set()).add(parts[:-1])
    notes += [
        f"the folders {listed(sorted(found))} together are the split {split}"
        for split, found in splits.items()
        if len(found) > 1
    ]
    notes += [
        f"{len(found)} folders named {label!r} are one class"
        for label, found in places.items()
        if len(found) > 1
    ]
    return made, tuple(notes)


def _split_level(folders: list[tuple[str, ...]], name: str) -> int | None:
    """The depth at which folders name splits, or None."""
    for level in range(max(map(len, folders), default=0)):
        here = {parts[level] for parts in folders if len(parts) > level}
        splits = {part for part in here if split_named(part)}
        if not splits:
            continue
        above = any(len(p) > level + 1 and p[level] in splits for p in folders)
        if splits == here and (above or level) or (above and not level):
            return level
        if splits == here and len(splits) > 1:
            raise DataError(
                f"the folders {listed(sorted(here))} of data {name!r} name splits and hold "
                "files at once: nothing names the classes. Put the files of each class into a "
                f"folder of its own, such as {sorted(here)[0]}/cat"
            )
    return None

"""Small data with other targets than one class, made of what comes with the package."""

import numpy as np
from PIL import Image

from pclora_lab.data.account import Account, Tally
from pclora_lab.data.loading import load_data
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.data.targets.words import Words

__all__ = ["digit_turns", "gloss_typos", "scene_digits"]

_LARGEST_TURN = 60

# Fewer pixels of a digit, most of which a later one covers, can't be told.
_FEWEST_PIXELS = 12

_TYPO_TEXTS = {"train": 4000, "validation": 500, "test": 500}
_TYPO_SHARE, _SHORTEST_TYPO = 0.15, 5


def digit_turns(seed: int = 0) -> LabeledData:
    """scikit-learn's digits, each turned by an angle from −60° to 60°, which is the target.

    Positive angles are counterclockwise. Which digit it is has to be seen first, so a model of the
    digits knows where to begin.

    Args:
        seed: of the angles.

    Example:
        >>> turns = digit_turns()
        >>> turns.train.examples[0].size, turns.train.targets.shape
        ((8, 8), (1077, 1))
    """
    digits = load_data("digits")
    generator = np.random.default_rng(seed)
    train, validation, test = (
        _turned(split, generator) for split in (digits.train, digits.validation, digits.test)
    )
    return LabeledData(
        "digit_turns", "image", train, validation, test, ("degrees",),
        account=_all_used(train, validation, test), targets="numbers",
    )  # fmt: skip


def _all_used(*splits: Split) -> Account:
    rows = sum(map(len, splits))
    return Account(Tally(0, 0), Tally(0, 0), Tally(rows, rows))


def _turned(digits: Split, generator: np.random.Generator) -> Split:
    degrees = generator.uniform(-_LARGEST_TURN, _LARGEST_TURN, len(digits)).astype(np.float32)
    pictures = [
        digit.rotate(float(angle), Image.Resampling.BICUBIC)
        for digit, angle in zip(digits.examples, degrees, strict=True)
    ]
    return Split(pictures, np.zeros(len(digits), dtype=np.int64), targets=degrees[:, None])


def scene_digits(seed: int = 0) -> LabeledData:
    """The pictures of ``digit_scenes``; a label for each digit that stands in one.

    A digit counts if 12 of its pixels are seen.

    Args:
        seed: of the scenes.

    Example:
        >>> scenes = scene_digits()
        >>> scenes.num_classes, scenes.train.examples[0].size, scenes.train.targets.shape
        (10, (32, 32), (600, 10))
    """
    scenes = digit_scenes(seed)
    train, validation, test = map(_labeled, (scenes.train, scenes.validation, scenes.test))
    return LabeledData(
        "scene_digits", "image", train, validation, test, tuple(map(str, range(10))),
        account=scenes.account, targets="labels",
    )  # fmt: skip


def _labeled(scenes: Split) -> Split:
    masks = [np.asarray(mask).ravel() for mask in scenes.masks or ()]
    counts = np.stack([np.bincount(mask, minlength=11)[1:] for mask in masks])
    seen = (counts >= _FEWEST_PIXELS).astype(np.float32)
    return Split(scenes.examples, scenes.labels, targets=seen)


def gloss_typos(seed: int = 0) -> LabeledData:
    """Some of the glosses with slips of the pen: two neighboring letters of a word are swapped.

    A word of five letters or more has one with a probability of 15 %; its tag is ``B-TYPO``, that
    of every other word ``O``.

    Args:
        seed: of the slips.

    Example:
        >>> typos = gloss_typos()
        >>> len(typos.train), typos.class_names
        (4000, ('O', 'B-TYPO'))
    """
    glosses, generator = load_data("glosses"), np.random.default_rng(seed)
    train, validation, test = (
        _misspelled(getattr(glosses, name).examples[:count], generator)
        for name, count in _TYPO_TEXTS.items()
    )
    return LabeledData(
        "gloss_typos", "text", train, validation, test, ("O", "B-TYPO"),
        account=_all_used(train, validation, test), content=("gloss",), targets="tags",
    )  # fmt: skip


def _misspelled(glosses: list[str], generator: np.random.Generator) -> Split:
    texts, tags = [], []
    for gloss in glosses:
        words = gloss.split()
        written = [_with_slip(word, generator) for word in words]
        texts.append(Words(written))
        pairs = zip(words, written, strict=True)
        tags.append(np.array([int(right != slip) for right, slip in pairs], dtype=np.int64))
    return Split(texts, np.zeros(len(texts), dtype=np.int64), targets=tags)


def _with_slip(word: str, generator: np.random.Generator) -> str:
    """The word, or one with two letters swapped; never the first, which few people get wrong."""
    draw, place = generator.random(), generator.integers(1, max(2, len(word) - 1))
    if draw >= _TYPO_SHARE or len(word) < _SHORTEST_TYPO or not word.isalpha():
        return word
    first, second = word[place], word[place + 1]
    return word[:place] + second + first + word[place + 2 :]

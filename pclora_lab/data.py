"""Image data by name: embedded digits, hub data sets, folders of parquet files or images.

A data set is read once as three raw splits. :class:`Pixels` turns a split into batches of the
model's own input size; every image is decoded once and kept as bytes if there is room.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

__all__ = ["ImageData", "Pixels", "Preprocessing", "Split", "load_data"]

_IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "category")
_LABEL_TYPES = (datasets.ClassLabel, datasets.Value)
_CACHE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Split:
    """Raw images and their class numbers; ``images[i]`` is a PIL image."""

    images: Sequence[Image.Image]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """Three splits and the names of the classes. Test is read once, at the end of a run."""

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def fingerprint(self) -> str:
        """A short hash of labels and sample images: same data, same hash, on any machine."""
        digest = hashlib.sha256(self.train.labels.astype(np.int64).tobytes())
        for index in range(0, len(self.train), max(1, len(self.train) // 16)):
            digest.update(np.asarray(self.train.images[index]).tobytes())
        return digest.hexdigest()[:16]


def load_data(
    name: str, *, image_column: str | None = None, label_column: str | None = None
) -> ImageData:
    """Read a data set.

    Args:
        name: ``digits``, a folder of parquet files or of images (``folder/train/cat/1.png``), or
            a hub name such as ``uoft-cs/cifar10``.
        image_column: name of the image column; None guesses.
        label_column: name of the label column; None guesses.

    Raises:
        ValueError: unknown name, empty folder, missing column, one class only.
        ConnectionError: the hub can't be reached.

    Example:
        >>> digits = load_data("digits")
        >>> len(digits.train), len(digits.validation), len(digits.test), digits.num_classes
        (1077, 360, 360, 10)
    """
    if name == "digits":
        return _digits()
    tables = _read_tables(name)
    first = tables.get("train") or next(iter(tables.values()))
    image_column = _column(first, image_column, _IMAGE_NAMES, "image", name)
    label_column = _column(first, label_column, _LABEL_NAMES, "label", name)
    class_names = _class_names(first, label_column, name)
    splits = {
        key: _split(table, image_column, label_column, class_names, f"{name} ({key})")
        for key, table in tables.items()
    }
    return _three_splits(name, splits, class_names)


def _digits() -> ImageData:
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    split = Split([Image.fromarray(image) for image in pixels], bunch.target)
    rest, test = _divide(split, 360)
    train, validation = _divide(rest, 360)
    return ImageData("digits", train, validation, test, tuple(map(str, range(10))))


def _read_tables(name: str) -> dict[str, Any]:
    path = Path(name)
    is_local = path.exists()
    if not is_local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ValueError(f"unknown data {name!r}: there is no such folder")
    if path.is_file():
        raise ValueError(f"data {name!r} is a file: give the folder that holds it")
    if is_local and not any(p.is_file() for p in path.rglob("*")):
        raise ValueError(f"data folder {name!r} is empty: put parquet files or images into it")
    try:
        return dict(datasets.load_dataset(str(path.resolve()) if is_local else name))
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise ConnectionError(
            f"data {name!r} is no folder here, and the hub can't be reached or does not have it. "
            f"Offline, use digits or a folder of parquet files or images. ({error})"
        ) from error
    # Arrow's errors for a broken file are ValueErrors.
    except (FileNotFoundError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise ValueError(f"data {name!r} can't be read as parquet or images: {error}") from error


def _column(table: Any, given: str | None, names: tuple[str, ...], kind: str, data: str) -> str:
    columns = table.column_names
    if given is not None:
        if given not in columns:
            raise ValueError(f"data {data!r} has no column {given!r}: it has {', '.join(columns)}")
        return given
    feature = {"image": datasets.Image, "label": datasets.ClassLabel}[kind]
    if kind == "label" and len(columns) == 1:
        raise ValueError(
            f"data {data!r} has one class only: a classifier needs two or more, each in a folder "
            "of its own"
        )
    typed = [c for c in columns if isinstance(table.features[c], feature)]
    named = [c for c in columns if c.lower() in names]
    if not typed and not named:
        raise ValueError(
            f"no {kind} column found in {data!r}: its columns are {', '.join(columns)}; pass "
            f"{kind}_column"
        )
    return (typed or named)[0]


def _class_names(table: Any, column: str, data: str) -> tuple[str, ...]:
    feature, values = table.features[column], table[column]
    if any(value is None for value in values) or not isinstance(feature, _LABEL_TYPES):
        raise ValueError(
            f"column {column!r} of {data!r} is no label column: every row needs a class name or "
            f"number; pass another label_column ({', '.join(table.column_names)})"
        )
    if isinstance(feature, datasets.ClassLabel):
        names = tuple(feature.names)
    else:
        names = tuple(str(value) for value in sorted(set(values)))
    present = len(set(values))
    if present < 2:
        raise ValueError(
            f"data {data!r} has {present} class in column {column!r}: a classifier needs two or "
            "more; is it the right label_column?"
        )
    return names


def _split(
    table: Any,
    image_column: str,
    label_column: str,
    class_names: tuple[str, ...],
    where: str,
) -> Split:
    if isinstance(table.features[label_column], datasets.ClassLabel):
        labels = np.asarray(table[label_column], dtype=np.int64)
    else:
        number = {name: i for i, name in enumerate(class_names)}
        unknown = sorted({str(v) for v in table[label_column]} - set(number))
        if unknown:
            raise ValueError(f"{where} has labels that train does not have: {unknown[:5]}")
        labels = np.asarray([number[str(v)] for v in table[label_column]], dtype=np.int64)
    if (labels < 0).any():
        raise ValueError(f"{where} has unlabelled rows (label −1): use a labelled split")
    try:
        images = table.cast_column(image_column, datasets.Image())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"column {image_column!r} of {where} holds no images: pass another image_column "
            f"({', '.join(table.column_names)})"
        ) from error
    return Split(_Decoded(images, image_column), labels)


class _Decoded(Sequence):
    """Images of a table column, decoded on access; says which row can't be read."""

    def __init__(self, table: Any, column: str, rows: np.ndarray | None = None) -> None:
        self.table, self.column = table, column
        self.rows = np.arange(len(table)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        row = int(self.rows[index])
        try:
            image = self.table[row][self.column]
            if image is None:
                raise ValueError("there is none")
            return image
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"row {row}, column {self.column!r}: the image can't be read ({error}). Remove the "
                "row or repair the file."
            ) from error

    def take(self, indices: np.ndarray) -> "_Decoded":
        return _Decoded(self.table, self.column, self.rows[indices])


def _take(split: Split, indices: np.ndarray) -> Split:
    images = split.images
    taken = images.take(indices) if isinstance(images, _Decoded) else [images[i] for i in indices]
    return Split(taken, split.labels[indices])


def _divide(split: Split, held_out: int | float) -> tuple[Split, Split]:
    """Two parts with the same class balance; the same ones every time."""
    every = np.arange(len(split))
    counts = np.bincount(split.labels)
    balanced = counts[counts > 0].min() >= 2
    if isinstance(held_out, float):
        held_out = max(
            math.ceil(held_out * len(split)), np.count_nonzero(counts) if balanced else 1
        )
    kept, held = train_test_split(
        every,
        test_size=held_out,
        random_state=0,
        stratify=split.labels if balanced else None,
    )
    return _take(split, np.sort(kept)), _take(split, np.sort(held))


def _three_splits(name: str, splits: dict[str, Split], class_names: tuple[str, ...]) -> ImageData:
    """Take the splits there are; make those that are missing out of the training split."""
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    train = splits.get("train") or next(iter(splits.values()))
    validation, test = splits.get("validation"), splits.get("test")
    if min(len(split) for split in (train, validation, test) if split is not None) < 10:
        raise ValueError(f"data {name!r} has fewer than 10 examples in a split: that is too few")
    if test is None:
        train, test = (train, validation) if validation is not None else _divide(train, 0.2)
        validation = None
    if validation is None:
        train, validation = _divide(train, 0.1)
    return ImageData(name, train, validation, test, class_names)


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of an image, from its own configuration."""

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str = "center"

    @classmethod
    def of(cls, model: nn.Module, img_size: int | None = None) -> "Preprocessing":
        """Read timm's configuration; the size a model was built with overrides the side."""
        config = resolve_data_config({}, model=model)
        channels, height, width = config["input_size"]
        img_size = img_size or getattr(model, "pclora_recipe", {}).get("img_size")
        if img_size is not None:
            height = width = img_size
        return cls(
            (channels, height, width),
            tuple(config["mean"]),
            tuple(config["std"]),
            config["interpolation"],
            config["crop_pct"],
            config["crop_mode"],
        )

    def to_bytes(self) -> Callable[[Image.Image], Tensor]:
        """A function that resizes and crops as timm's evaluation does.

        It returns uint8 ``(channels, height, width)``; normalising is left to the device.
        """
        wanted = "L" if self.input_size[0] == 1 else "RGB"
        transform = create_transform(
            self.input_size,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            mean=self.mean,
            use_prefetcher=True,
        )
        return lambda image: transform(image.convert(wanted)).reshape(self.input_size)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 to float: ``(x/255 − mean) / std``, on whatever device the pixels are."""
        mean, std = (
            torch.tensor(values, device=pixels.device).view(-1, 1, 1) * 255
            for values in (self.mean, self.std)
        )
        return (pixels.float() - mean) / std


class Pixels:
    """A split as batches of preprocessed bytes; each image is decoded once where there is room.

    Args:
        split: raw images and labels.
        preprocessing: the model's.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing) -> None:
        self.split, self.preprocessing = split, preprocessing
        self.labels = torch.as_tensor(split.labels)
        shape = (len(split), *preprocessing.input_size)
        fits = int(np.prod(shape)) <= _CACHE_BYTES
        self._cache = torch.empty(shape, dtype=torch.uint8) if fits else None
        self._known = np.zeros(len(split), dtype=bool)
        self._to_bytes = preprocessing.to_bytes()

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images ``(batch, channels, height, width)`` and labels ``(batch,)``."""
        rows = indices.numpy()
        if self._cache is None:
            return torch.stack(self._decode(rows)), self.labels[indices]
        missing = rows[~self._known[rows]]
        if len(missing):
            self._cache[torch.as_tensor(missing)] = torch.stack(self._decode(missing))
            self._known[missing] = True
        return self._cache[indices], self.labels[indices]

    def _decode(self, rows: np.ndarray) -> list[Tensor]:
        def one(row: int) -> Tensor:
            return self._to_bytes(self.split.images[row])

        if len(rows) < 16:
            return [one(row) for row in rows]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(one, rows))

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Index batches without end, a new permutation for every epoch."""
        batch_size = min(batch_size, len(self))
        while True:
            order = torch.randperm(len(self), generator=generator)
            for start in range(0, len(self) - batch_size + 1, batch_size):
                yield order[start : start + batch_size]

    def in_order(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Index batches over the split once; with a limit, evenly spread examples only."""
        count = len(self) if limit is None else min(limit, len(self))
        rows = torch.linspace(0, len(self) - 1, count).round().long()
        yield from rows.split(batch_size)

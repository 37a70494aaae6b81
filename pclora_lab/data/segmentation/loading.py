"""Images with masks by name, as three splits: the reading half of semantic segmentation."""

import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.dividing import three_splits
from pclora_lab.data.loading import EMBEDDED_DATA
from pclora_lab.data.overlap import leave_shared_rows
from pclora_lab.data.pictures import DecodedImages
from pclora_lab.data.reading.masked.folders import has_mask_folders, read_mask_folders
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.rows import picture_column
from pclora_lab.data.segmentation.masks import UNLABELED, ClassMasks, MaskError, class_numbers
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.data.sources import local_path, read_tables, refuse_vague, source_name
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.wording import listed

__all__ = ["MASK_NAMES", "load_masked_data"]

MASK_NAMES = ("annotation", "mask", "label", "labels", "segmentation", "segmentation_mask")
_IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class _Row:
    """What is the matter with a mask, if anything, and the largest class in it."""

    fault: str = ""
    largest: int = -1


def load_masked_data(
    data: Any,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    text_columns: Sequence[str] | None = None,
    max_left_out: float = 0.01,
    max_overlap: float = 0.01,
) -> LabeledData:
    """Read images with masks; :func:`pclora_lab.load_data` reads everything else.

    The names of the classes are from ``classes.txt`` in the folder, one a line; without it they are
    numbered up to the largest of the training masks.

    Args:
        data: ``digit_scenes``, a folder with ``images`` and ``masks``, or what
            :func:`pclora_lab.load_data` takes, with a column of images and one of masks.
        image_column: name of the image column; None guesses.
        label_column: name of the mask column; None guesses (``annotation``, ``mask``, ``label``).
        text_column: None, as masks are of images.
        text_columns: likewise.
        max_left_out: largest share of a split's rows that may be left out, such as an image
            without a mask, or a mask of another size.
        max_overlap: largest share of the test or validation images that may be training images too.

    Raises:
        DataError: a ValueError: nothing to read, no such column, or more rows left out than
            allowed, each with its reason.
        ConnectionError: the hub can't be reached.
    """
    if text_column or text_columns:
        raise DataError("masks are of images: leave text_column and text_columns out")
    name = source_name(data)
    if name == "digit_scenes":
        return digit_scenes()
    if name in EMBEDDED_DATA:
        raise DataError(
            f"{name} holds no masks: choose digit_scenes or other data, or another task"
        )
    ledger = Ledger()
    tables, folder = _tables(data, name, ledger)
    first = tables.get("train", next(iter(tables.values())))
    image = _column(first, image_column, _IMAGE_NAMES, name, "image_column")
    mask = _column(first, label_column, MASK_NAMES, name, "label_column")
    ledger.use_columns(first.column_names, [image, mask])
    names = _names_in(folder)
    splits: dict[str, Split] = {}
    for key in sorted(tables, key=lambda key: _role(key, tables) != "train"):
        if (role := _role(key, tables)) is None:
            reason = "in a split that is none of train, validation and test"
            ledger.leave_rows(key, reason, len(tables[key]))
            continue
        split, largest = _split(tables[key], image, mask, key, names, ledger)
        # What is trained on comes first, and says how many classes there are.
        names = names or tuple(map(str, range(largest + 1)))
        if role in splits:
            raise DataError(f"data {name!r} has more than one split {role}: join them")
        splits[role] = split
    ledger.check(name, max_left_out)
    if len(names) < 2:
        raise DataError(f"data {name!r} has one class of pixels only: there is nothing to tell")
    leave_shared_rows(splits, name, max_overlap, ledger)
    account = ledger.close({key: len(split) for key, split in splits.items()})
    three = three_splits(name, splits, ledger.notes)
    notes, content = tuple(ledger.notes), (image,)
    return LabeledData(
        name,
        "image",
        three["train"],
        three["validation"],
        three["test"],
        class_names=names,
        notes=notes,
        account=account,
        content=content,
    )


def _tables(
    data: Any, name: str, ledger: Ledger
) -> tuple[dict[str, datasets.Dataset], Path | None]:
    """Tables by split, and the folder that they are from."""
    folder = None
    if isinstance(data, str | Path):
        refuse_vague(name)
        path = local_path(name)
        folder = path if path is not None and path.is_dir() else None
    if folder is not None and has_mask_folders(folder):
        return read_mask_folders(folder, ledger, name), folder
    tables = read_tables(data, ledger)
    if not any(map(len, tables.values())):
        raise DataError(f"data {name!r} has no rows")
    return {key: table for key, table in tables.items() if len(table)}, folder


def _role(key: str, tables: Mapping[str, datasets.Dataset]) -> str | None:
    return "train" if len(tables) == 1 else split_named(key)


def _column(
    table: datasets.Dataset, given: str | None, names: Sequence[str], data: str, argument: str
) -> str:
    have = table.column_names
    if given is not None and given not in have:
        raise DataError(f"data {data!r} has no column {given!r}: it has {listed(have)}")
    plain = {column.strip().lower(): column for column in reversed(have)}
    found = given or next((plain[name] for name in names if name in plain), None)
    if found is None:
        what = "masks" if argument == "label_column" else "images"
        raise DataError(
            f"no column of {what} found in {data!r}: its columns are {listed(have)}; pass "
            f"{argument}"
        )
    return found


def _names_in(folder: Path | None) -> tuple[str, ...]:
    """The lines of the folder's ``classes.txt``; none without one."""
    if folder is None or not (folder / "classes.txt").is_file():
        return ()
    try:
        lines = (folder / "classes.txt").read_text(encoding="utf8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / 'classes.txt'} is no UTF-8 text: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def _split(
    table: datasets.Dataset,
    image: str,
    mask: str,
    split: str,
    names: tuple[str, ...],
    ledger: Ledger,
) -> tuple[Split, int]:
    """The rows that have an image and a mask for it, and the largest class among them."""
    pictures, has_picture, is_outside = picture_column(table, image, ledger.place)
    masks, has_mask, mask_outside = picture_column(table, mask, ledger.place, "label_column")
    outside = is_outside | mask_outside
    is_kept = has_picture & has_mask & ~outside
    reasons = {
        "with a picture outside of the data's own folder, which is not read": outside,
        f"without a picture in column {image!r}": ~has_picture & ~outside,
        f"without a mask in column {mask!r}": has_picture & ~has_mask & ~outside,
    }
    rows = np.flatnonzero(is_kept)
    found = _looked_at(pictures, masks, rows, len(names))
    for fault in dict.fromkeys(row.fault for row in found if row.fault):
        is_left = np.zeros(len(table), dtype=bool)
        is_left[rows[[row.fault == fault for row in found]]] = True
        reasons[fault] = is_left
        is_kept &= ~is_left
    for reason, is_left in reasons.items():
        if is_left.any():
            first = f"row {int(is_left.argmax())}"
            ledger.leave_rows(split, reason, int(is_left.sum()), first)
    kept = np.flatnonzero(is_kept)
    largest = max((row.largest for row in found if not row.fault), default=-1)
    labels = np.zeros(len(kept), dtype=np.int64)
    return Split(pictures.take(kept), labels, ClassMasks(masks.take(kept))), largest


def _looked_at(
    pictures: DecodedImages, masks: DecodedImages, rows: np.ndarray, classes: int
) -> list[_Row]:
    """Every mask is decoded once, so that no run stops in the middle of its training."""

    def one(row: int) -> _Row:
        try:
            image = masks[row]
            numbers = class_numbers(image)
        except MaskError as error:
            return _Row(str(error))
        except DataError:
            return _Row("with a mask that can't be read")
        size = _size(pictures, row)
        if size is None:
            return _Row("with a picture that can't be read")
        if image.size != size:
            return _Row("with a mask of another size than its image")
        labeled = numbers[numbers != UNLABELED]
        if not labeled.size:
            return _Row(f"with a mask without a class (all pixels are {UNLABELED})")
        largest = int(labeled.max())
        if classes and largest >= classes:
            return _Row(f"with a class outside of the {classes} (0 to {classes - 1})", largest)
        return _Row(largest=largest)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, rows.tolist()))


def _size(pictures: DecodedImages, row: int) -> tuple[int, int] | None:
    """Width and height; read from the head of the file where nothing says that it is turned."""
    try:
        with Image.open(io.BytesIO(pictures.content(row))) as image:
            if image.getexif().get(0x0112, 1) == 1:
                return image.size
        return pictures[row].size
    except (DataError, OSError, ValueError, SyntaxError, pa.ArrowException):
        return None

"""Two folders with matching names, of images and of their masks, as tables by split."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import datasets
import pyarrow as pa

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.reading.tables import as_dataset
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.reading.walking import FoundFiles, find_files

__all__ = ["are_masked", "has_mask_folders", "read_mask_folders"]

_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
_MASKS = (
    "masks", "mask", "annotations", "annotation", "labels", "label", "segmentationclass", "gtfine",
)  # fmt: skip


def are_masked(pictures: Sequence[Path]) -> bool:
    """Whether most of the images have a mask of the same name in a folder of masks.

    Example:
        >>> are_masked([Path("images/a.jpg"), Path("masks/a.png")])
        True
        >>> are_masked([Path("image/a.jpg"), Path("mask/b.png")])
        False
    """
    places = {
        kind: {_place(path) for path in pictures if _kind(path) == kind}
        for kind in ("image", "mask")
    }
    return 2 * len(places["image"] & places["mask"]) > len(places["image"])


def has_mask_folders(folder: Path) -> bool:
    """Whether pictures stand in a folder of images and in one of masks, at any depth."""
    if not folder.is_dir():
        return False
    kinds = {_kind(path) for path in find_files(folder).pictures}
    return {"image", "mask"} <= kinds


def read_mask_folders(folder: Path, ledger: Ledger, name: str) -> dict[str, datasets.Dataset]:
    """Tables with the columns ``image`` and ``mask``; one without its mask has none there.

    An image and its mask stand at the same place below their two folders, whatever their endings
    are: ``images/train/a.jpg`` and ``masks/train/a.png``, or ``train/images/a.jpg`` and
    ``train/masks/a.png``.

    Raises:
        DataError: two masks for one image, or no image with a mask.
    """
    found = find_files(folder)
    ledger.find_files(found.count)
    ledger.has_columns = False
    _leave_others(found, ledger)
    images, masks = (_by_place(found.pictures, kind, name) for kind in ("image", "mask"))
    if not set(images) & set(masks):
        raise DataError(
            f"data {name!r}: no mask has the name of an image; images are such as "
            f"{str(next(iter(images.values())))!r}, masks such as "
            f"{str(next(iter(masks.values())))!r}. Give both the same name but for the ending"
        )
    without = [str(path) for place, path in masks.items() if place not in images]
    ledger.leave_files("a mask without its image", without)
    by_split: dict[str, list[str]] = {}
    for place in images:
        by_split.setdefault(_split_of(place), []).append(place)
    tables = {}
    for split, places in by_split.items():
        ledger.find_rows(split, len(places))
        columns = {
            key: _column([str(folder / paths[p]) if p in paths else None for p in places])
            for key, paths in (("image", images), ("mask", masks))
        }
        table = as_dataset(pa.table(columns))
        for key in columns:
            table = table.cast_column(key, datasets.Image())
        tables[split] = table
    return tables


def _leave_others(found: FoundFiles, ledger: Ledger) -> None:
    texts = [path for path in found.texts if path.name != "classes.txt"]
    beside = [path for path in found.pictures if _kind(path) is None]
    tables = [file for files in found.tables.values() for file in files]
    for reason, files in (
        ("a text beside pictures", texts),
        ("a table beside pictures", tables),
        ("a picture in neither of the two folders", beside),
        ("a picture that can't be read here", found.unreadable),
        ("without a byte", found.empty),
        ("that leads nowhere or may not be read", found.lost),
        ("of another kind", found.others),
    ):
        ledger.leave_files(reason, [*map(str, files)])


def _kind(path: PurePath) -> str | None:
    """``image`` or ``mask``, by the outermost folder that says so."""
    for part in path.parts[:-1]:
        if part.lower() in _IMAGES:
            return "image"
        if part.lower() in _MASKS:
            return "mask"
    return None


def _by_place(pictures: Sequence[Path], kind: str, name: str) -> dict[str, Path]:
    """Paths by where they stand below their folder, without the ending."""
    found: dict[str, Path] = {}
    for path in pictures:
        if _kind(path) != kind:
            continue
        place = _place(path)
        if place in found:
            raise DataError(
                f"data {name!r}: {str(found[place])!r} and {str(path)!r} are two {kind}s of one "
                "name: which is meant? Move one of them away"
            )
        found[place] = path
    return found


def _place(path: PurePath) -> str:
    parts = [*path.with_suffix("").parts]
    outer = next(i for i, part in enumerate(parts) if part.lower() in (*_IMAGES, *_MASKS))
    return "/".join(parts[:outer] + parts[outer + 1 :])


def _split_of(place: str) -> str:
    parents = PurePath(place).parts[:-1]
    return next((split for part in parents if (split := split_named(part))), "train")


def _column(paths: Sequence[str | None]) -> pa.Array:
    places = pa.array(paths, pa.string())
    nothing = pa.nulls(len(paths), pa.binary())
    is_none = pa.array([path is None for path in paths])
    return pa.StructArray.from_arrays([nothing, places], ["bytes", "path"], mask=is_none)

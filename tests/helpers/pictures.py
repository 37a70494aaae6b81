"""Small random pictures, and tables and folders of them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROWS = 40


def png(number: int, mode: str = "RGB", size: tuple[int, int] = (14, 10)) -> bytes:
    """A random picture, the same for the same number."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "png")
    return file.getvalue()


def write_parquet(folder: Path, **columns: Callable[[list], list]) -> str:
    """Writes ``train.parquet``: 40 pictures of two classes; each column may be changed."""
    images = [{"bytes": png(i), "path": None} for i in range(ROWS)]
    table = pd.DataFrame({"img": images, "label": [i % 2 for i in range(ROWS)]})
    for column, change in columns.items():
        table[column] = change(table[column].tolist())
    folder.mkdir()
    table.to_parquet(folder / "train.parquet")
    return str(folder)


def write_images(
    folder: Path, splits: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")
) -> str:
    """Writes ``folder/split/class/0.png`` …; a split named "" stands for none."""
    for split, count in splits.items():
        for label in classes:
            place = folder / split / label
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i}.png").write_bytes(png(i + 100 * len(split)))
    return str(folder)

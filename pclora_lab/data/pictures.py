"""The pictures of a table, decoded when they are asked for."""

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pclora_lab.data.account import DataError
from pclora_lab.data.labels import arrow_column

__all__ = ["DecodedImages"]

# What Pillow raises for damaged pictures, and for those that are too large to be meant.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class DecodedImages(Sequence[Image.Image]):
    """Images of a table column, decoded on access; says which row can't be read."""

    def __init__(self, table: Any, column: str, rows: np.ndarray | None = None) -> None:
        self.table, self.column = table, column
        self.rows = np.arange(len(table)) if rows is None else rows
        self._stored: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> "DecodedImages": ...
    def __getitem__(self, index: int | slice) -> "Image.Image | DecodedImages":
        if isinstance(index, slice):
            return self.take(index)
        row = int(self.rows[index])
        try:
            image = self.table[row][self.column]
            if image is None:
                raise ValueError("there is none")
            return image
        except _DAMAGED as error:
            raise DataError(
                f"row {row}, column {self.column!r}: the image can't be read ({error}). Remove the "
                "row or repair the file."
            ) from error

    def take(self, indices: np.ndarray | slice) -> "DecodedImages":
        """Some of them, in this order."""
        return DecodedImages(self.table, self.column, self.rows[indices])

    def lengths(self) -> np.ndarray:
        """Bytes of every picture as it is stored, ``(pictures,)``; −1 for one that is not there."""
        if not len(self.rows):
            return np.zeros(0, dtype=np.int64)
        stored = arrow_column(self.table, self.column)
        lengths = pc.binary_length(_field(stored, "bytes"))
        found = lengths.cast(pa.int64()).fill_null(-1).to_numpy()[self.rows].copy()
        for number in np.flatnonzero(found < 0).tolist():
            path = stored[int(self.rows[number])]["path"].as_py()
            if path and os.path.isfile(path):
                found[number] = os.stat(path).st_size
        return found

    def content(self, index: int) -> bytes:
        """A picture as it is stored; nothing for one that is not there."""
        if self._stored is None:
            self._stored = arrow_column(self.table, self.column)
        picture = self._stored[int(self.rows[index])].as_py() or {}
        if picture.get("bytes") is not None:
            return picture["bytes"]
        try:
            with open(picture.get("path") or os.devnull, "rb") as file:
                return file.read()
        except OSError:
            return b""


def _field(stored: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.field(name) for chunk in stored.chunks])

"""Files of tensors that know whether they are still what was written.

Every safetensors file of this package carries a checksum of all its bytes: header and tensors. It
stands in the file's own metadata, where other readers of the format leave it alone, and is compared
before a tensor is believed. It finds damage; it proves nothing about who wrote the file.
"""

import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pclora_lab.files import atomic_write
from pclora_lab.json_files import parse_json, to_json

__all__ = [
    "DamagedFile",
    "hash_of_file",
    "is_whole",
    "load_tensors",
    "read_metadata",
    "save_tensors",
    "seal",
    "sealing",
    "stamp_checksum",
    "verify",
]


class DamagedFile(ValueError):
    """A file of tensors that is not what was written."""


# Two entries: a flipped bit can take the name of one of them, never of both.
_CHECKSUM, _SEALED = "pclora_lab.checksum", "pclora_lab.sealed"
_BLANK = "sha256:" + 64 * "0"
_PLACE = re.compile(rb'"pclora_lab\.checksum":"sha256:([0-9a-f]{64})"')

_CHUNK = 1 << 22
_LARGEST_HEADER = 100_000_000  # as safetensors has it


def sealing() -> dict[str, str]:
    """Metadata that leave room for a checksum; :func:`stamp_checksum` fills it in."""
    return {_SEALED: "1", _CHECKSUM: _BLANK}


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    durable: bool = True,
    keep_as: Path | None = None,
) -> None:
    """Write tensors with a checksum, beside their place first.

    Args:
        path: of the file; replaced in one step.
        tensors: by name; contiguous, on the CPU, none sharing memory with another.
        metadata: more texts for the header.
        durable: wait until the disk has it, so that a loss of power leaves the old or the new.
        keep_as: where the file goes that was there, if it is whole.

    Raises:
        OSError: the folder can't be written, or the disk is full.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "two.safetensors"
        >>> save_tensors(path, {"x": torch.ones(2)})
        >>> load_tensors(path)["x"].tolist()
        [1.0, 1.0]
    """
    with atomic_write(path, durable=durable) as part:
        save_file(dict(tensors), part, metadata={"format": "pt", **(metadata or {}), **sealing()})
        stamp_checksum(part)
        if keep_as is not None and is_whole(path):
            path.replace(keep_as)


def load_tensors(path: Path, *, remark: bool = True) -> dict[str, Tensor]:
    """Tensors by name, once the file is what was written.

    Args:
        path: of the file.
        remark: warn where the file has no checksum, as those of earlier versions.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it is damaged or cut short; names it.
    """
    if verify(path) is None and remark:
        warn_unsealed(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFile(f"{path} is damaged or cut short ({error})") from error


def warn_unsealed(path: Path) -> None:
    """Say that a file is of before there were checksums."""
    warnings.warn(
        f"{path} has no checksum, as it was written by an earlier version: whether it is still "
        "what was written can't be checked",
        stacklevel=3,
    )


def verify(path: Path) -> str | None:
    """Compare a file with the checksum in it.

    Returns:
        The checksum; None where the file has none.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFile: it is not what was written.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
        marks = [f'"{name}":'.encode() in header for name in (_CHECKSUM, _SEALED)]
        if not any(marks):
            _parse(header, path)  # a header cut short by a flipped length would lack them too
            return None
        place = _PLACE.search(header)
        if place is None or not all(marks):
            raise DamagedFile(_damaged(path, "its header was changed"))
        file.seek(0)
        if _digest(file, header, place) != place[1].decode():
            raise DamagedFile(_damaged(path, "its checksum does not match"))
        return f"sha256:{place[1].decode()}"


def hash_of_file(path: Path) -> str:
    """SHA-256 of a whole file, for one that carries no checksum.

    Raises:
        OSError: it is not there, or can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path) -> bool:
    """Whether a file is there and not damaged, as far as it can tell."""
    try:
        verify(path)
    except (OSError, DamagedFile):
        return False
    return True


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a file of tensors; nothing else is read.

    Raises:
        DamagedFile: it has no header that can be read.
    """
    with path.open("rb") as file:
        return _metadata_of(_read_header(file, path), path)


def seal(path: Path) -> None:
    """Give a file that another library has just written a checksum; its tensors stay in place.

    Raises:
        DamagedFile: it is no file of tensors.
        OSError: it can't be written again.
    """
    with path.open("rb") as old:
        header = _parse(_read_header(old, path), path)
        metadata = {**header.get("__metadata__", {}), **sealing()}
        text = to_json({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with atomic_write(path) as part, part.open("r+b") as new:
            new.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(old, new, _CHUNK)
            new.flush()
            stamp_checksum(part)


def stamp_checksum(path: Path) -> None:
    """Fill in the checksum of a file that was written with :func:`sealing`."""
    with path.open("r+b") as file:
        header = _read_header(file, path)
        place = _PLACE.search(header)
        if place is None:
            raise ValueError(f"{path.name} was written without room for a checksum")
        file.seek(0)
        digest = _digest(file, header, place)
        file.seek(8 + place.start(1))
        file.write(digest.encode())


def _digest(file: BinaryIO, header: bytes, place: re.Match[bytes]) -> str:
    """Of the whole file, zeros in place of the checksum."""
    digest = hashlib.sha256(file.read(8))
    digest.update(header[: place.start(1)] + 64 * b"0" + header[place.end(1) :])
    file.seek(8 + len(header))
    buffer = memoryview(bytearray(_CHUNK))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
    return digest.hexdigest()


def _read_header(file: BinaryIO, path: Path) -> bytes:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _LARGEST_HEADER):
        raise DamagedFile(_damaged(path, f"its header can't be {length} bytes long"))
    return file.read(length)


def _parse(header: bytes, path: Path) -> dict[str, Any]:
    try:
        values = parse_json(header, "its header")
    except ValueError as error:
        raise DamagedFile(_damaged(path, str(error))) from error
    if not isinstance(values, dict) or not isinstance(values.get("__metadata__", {}), dict):
        raise DamagedFile(_damaged(path, "its header is of another kind"))
    return values


def _metadata_of(header: bytes, path: Path) -> dict[str, str]:
    return _parse(header, path).get("__metadata__", {})


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is damaged or cut short ({reason})"

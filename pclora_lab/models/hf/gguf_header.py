"""The header of a GGUF file: which architecture, and which tensors; no weight is read.

Layout: the letters GGUF, a version, two counts; then keys with values, then a table of tensors.
Source: the specification in ggml's repository, docs/gguf.md.
"""

import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["GgufHeader", "GgufTensor", "gguf_source", "is_gguf", "read_header"]

_MAGIC = b"GGUF"
# The first counted in 32 bits.
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Of a number, by its kind.
_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_AXES = 8


def is_gguf(name: str) -> bool:
    """Whether a name is that of a GGUF file.

    Example:
        >>> is_gguf("models/SmolLM2-135M-Instruct.Q4_1.gguf"), is_gguf("gpt2")
        (True, False)
    """
    return name.lower().endswith(".gguf")


def gguf_source(name: str) -> tuple[str, dict[str, str]]:
    """How transformers is told of a name: the folder, and for a GGUF file also the file.

    Example:
        >>> gguf_source("gpt2")
        ('gpt2', {})
    """
    if not is_gguf(name):
        return name, {}
    # A whole path: transformers would take a file of that name from the working folder first.
    file = Path(name).absolute()
    return str(file.parent), {"gguf_file": str(file)}


class GgufTensor(NamedTuple):
    """A tensor's place in a file: its shape, the number of its kind, where it begins."""

    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What a file says that it holds.

    Attributes:
        architecture: as llama.cpp calls it, such as ``llama``.
        tensors: by their names there.
        end: of the header, from where offsets count.
        size: of the file in bytes.
    """

    architecture: str
    tensors: dict[str, GgufTensor]
    end: int
    size: int

    @property
    def elements(self) -> int:
        """Numbers in all tensors together."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def blocks(self) -> int:
        """How many of the model's blocks there are."""
        found = (re.match(r"blk\.(\d+)\.", name) for name in self.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def read_header(file: Path) -> GgufHeader:
    """Read what stands in front of the weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no GGUF file, or it is damaged or cut short.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no GGUF file {file}")
    with open(file, "rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(
                f"{file} is no GGUF file: it does not begin with the letters GGUF. Fetch it again, "
                "or take the model's folder with config.json and model.safetensors"
            )
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Cursor(data).header()
            except (struct.error, UnicodeDecodeError, LookupError, ValueError) as error:
                raise ValueError(
                    f"the header of {file} can't be read ({error}): the file is damaged or cut "
                    "short; fetch it again"
                ) from error


class _Cursor:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, len(_MAGIC)

    def header(self) -> GgufHeader:
        version, tensors, keys = self.numbers("IQQ")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}, and versions 2 and 3 are known")
        values = {self.string(): self.value() for _ in range(keys)}
        architecture = values.get("general.architecture")
        if not isinstance(architecture, str):
            raise ValueError("it does not say general.architecture")
        table = dict(self.tensor() for _ in range(tensors))
        last = max((tensor.offset for tensor in table.values()), default=0)
        if self.at + last >= len(self.data) + (not table):
            raise ValueError(f"its tensors go on to byte {self.at + last:,}, behind its end")
        return GgufHeader(architecture, table, self.at, len(self.data))

    def numbers(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def string(self) -> str:
        (length,) = self.numbers("Q")
        return self.skip(length).decode("utf8")

    def skip(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count:,} bytes are announced where fewer are left")
        self.at += count
        # What is skipped may be gigabytes; only what is short is of interest.
        return self.data[self.at - count : self.at] if count < 2**16 else b""

    def value(self) -> str | None:
        """A text; None for anything else, which is passed over."""
        (kind,) = self.numbers("I")
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            self.skip(_BYTES[kind])
            return None
        inner, count = self.numbers("IQ")
        if inner != _STRING:
            self.skip(count * _BYTES[inner])
            return None
        if count > len(self.data):
            raise ValueError(f"a list of {count:,} texts is announced")
        for _ in range(count):
            (length,) = self.numbers("Q")
            self.skip(length)
        return None

    def tensor(self) -> tuple[str, GgufTensor]:
        name = self.string()
        (axes,) = self.numbers("I")
        if axes > _MOST_AXES:
            raise ValueError(f"{name} would have {axes} axes")
        shape = self.numbers(f"{axes}Q")
        return name, GgufTensor(shape[::-1], *self.numbers("IQ"))

"""Writing files so that a reader never sees half of one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside a file to write to; it takes the file's place at the end of the block.

    If the block fails, the file stays as it was and nothing is left beside it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "facts.json"
        >>> with replacing(path) as part:
        ...     _ = part.write_text("{}")
        >>> [file.name for file in path.parent.iterdir()]
        ['facts.json']
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        # A disk that is full, or gone, must not hide what went wrong.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise

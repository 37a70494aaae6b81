"""What a pretended device notes: memory that is held, waits of the host, copies, kernels."""

import collections
import sys
from types import FrameType

import torch

__all__ = ["LEDGER", "PINNED", "Ledger"]

# Set on a CPU tensor that was pinned.
PINNED = "_pretends_to_be_pinned"

_PACKAGE = "/pclora_lab/"
_HELPERS = ("device_ledger.py", "device_tensor.py", "pretend_cuda.py")


class Ledger:
    """Counts for all pretended tensors of the process.

    Attributes:
        held: bytes of the storages that are alive.
        peak: the most that was held; whoever measures sets it to ``held`` before.
        waits: of the host for the device, by what and where.
        copies: from the host to the device, by ``pinned`` or ``pageable`` and where.
        kernels: operations on the device, by name.
    """

    def __init__(self) -> None:
        self.held = self.peak = self.copied_bytes = 0
        self.waits, self.copies, self.kernels = (collections.Counter() for _ in range(3))
        self._alive: collections.Counter = collections.Counter()
        self._sizes: dict[int, int] = {}

    def reset(self) -> None:
        """Forget the events; memory is still held."""
        for counter in (self.waits, self.copies, self.kernels):
            counter.clear()
        self.copied_bytes = 0

    def hold(self, inner: torch.Tensor) -> "Held":
        """Count a tensor's storage until what is returned dies."""
        storage = inner.untyped_storage()
        key = storage._cdata
        if self._alive[key] == 0:
            self._sizes[key] = storage.nbytes()
            self.held += self._sizes[key]
            self.peak = max(self.peak, self.held)
        self._alive[key] += 1
        return Held(self, key, inner)

    def release(self, key: int) -> None:
        """One tensor of a storage is gone."""
        self._alive[key] -= 1
        if self._alive[key] == 0:
            del self._alive[key]
            self.held -= self._sizes.pop(key)

    def wait(self, what: str) -> None:
        """The host waits."""
        self.waits[what, line()] += 1

    def copy_in(self, tensor: torch.Tensor, *, non_blocking: bool) -> None:
        """A tensor goes to the device; the host waits unless it is pinned and need not."""
        kind = "pinned" if getattr(tensor, PINNED, False) else "pageable"
        self.copies[kind, line()] += 1
        self.copied_bytes += tensor.numel() * tensor.element_size()
        if kind == "pageable":
            self.wait("copy of unpinned memory")
        elif not non_blocking:
            self.wait("blocking copy to the device")


class Held:
    """Dies with its tensor; a weak reference to the tensor would forbid ``.to()`` in place."""

    def __init__(self, ledger: Ledger, key: int, inner: torch.Tensor) -> None:
        # The inner tensor keeps the storage's number from being given to another one too early.
        self.ledger, self.key, self.inner = ledger, key, inner

    def __del__(self) -> None:
        self.ledger.release(self.key)


LEDGER = Ledger()


def line() -> str:
    """The innermost line of the package, else of whoever is outside torch and these helpers."""
    frame: FrameType | None = sys._getframe(2)
    outside = None
    while frame is not None:
        name = frame.f_code.co_filename
        # A clone is called pclora_lab too, and may hold an environment.
        is_installed = "/site-packages/" in name.rpartition(_PACKAGE)[2]
        if _PACKAGE in name and "/tests/" not in name and not is_installed:
            return f"{name.split(_PACKAGE)[-1]}:{frame.f_lineno} {frame.f_code.co_name}"
        if outside is None and "/torch/" not in name and not name.endswith(_HELPERS):
            outside = f"{name.split('/site-packages/')[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return outside or "unknown"

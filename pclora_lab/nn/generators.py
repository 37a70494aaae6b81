"""The global random generators, put back where somebody only looks at a model."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["RNG_LOCK", "generators_kept"]

# The global generators belong to the process: whoever draws from them beside a run holds this.
RNG_LOCK = threading.RLock()


@contextmanager
def generators_kept() -> Iterator[None]:
    """Whatever is drawn inside, Python's, NumPy's and torch's generators are as before after it.

    Example:
        >>> before = torch.get_rng_state()
        >>> with generators_kept():
        ...     _ = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    with RNG_LOCK:
        python, cpu = random.getstate(), torch.get_rng_state()
        numpy = np.random.get_state()  # noqa: NPY002  # the global one is meant
        others = [(module, device, module.get_rng_state(*device)) for module, *device in _devices()]
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_rng_state(cpu)
            for module, device, state in others:
                module.set_rng_state(state, *device)


def _devices() -> list[tuple]:
    """Modules with generators of their own, and the number of each device."""
    found: list[tuple] = []
    # Asking would start CUDA where it was not used yet; then it has drawn nothing either.
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found += [(torch.cuda, number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append((torch.mps,))
    return found

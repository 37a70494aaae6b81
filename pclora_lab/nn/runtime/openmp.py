"""One pool of OpenMP workers at a time: a run beside an idle pool takes nearly twice as long.

torch computes on the CPU with GNU OpenMP, which keeps a pool of workers for every thread that has
computed something. Once there are more workers than cores, all of them sleep after every small
operation instead of spinning for a moment, and waking them takes longer than the operation. A
notebook's main thread gets such a pool with its first matrix product, a run in the background has
its own: ``tests/benchmarks/pools.py`` measures what that costs.
"""

import ctypes
import functools
import sys
from pathlib import Path

import torch

__all__ = ["release_after_cells", "release_workers"]

_HARD = 2  # omp_pause_hard: let go of everything; OpenMP 5.0, section 3.2.44


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The library that torch brings along; None where it uses another."""
    places = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    try:
        return ctypes.CDLL(str(places[0])) if places else None
    except OSError:
        return None


def release_workers() -> bool:
    """End the calling thread's idle workers; its next computation starts new ones.

    Returns:
        Whether it was done; False inside a parallel region and with another OpenMP library, whose
        workers stay.

    Example:
        >>> release_workers() in (True, False)
        True
    """
    library = _openmp()
    if library is None or not hasattr(library, "omp_pause_resource_all"):
        return False
    return library.omp_pause_resource_all(_HARD) == 0


def release_after_cells() -> None:
    """In a notebook, do so after every cell and every message of a widget."""
    # Whoever runs a notebook has IPython imported.
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and _after_a_cell not in shell.events.callbacks["post_execute"]:
        shell.events.register("post_execute", _after_a_cell)


def _after_a_cell() -> None:
    release_workers()

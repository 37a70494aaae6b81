"""Who only looks at a model draws nothing from anybody's random numbers."""

import random
import threading

import numpy as np
import pytest
import torch

from pclora_lab.nn import generators
from pclora_lab.nn.generators import RNG_LOCK, generators_kept


def drawn() -> list[float]:
    """The next number of every global generator."""
    return [random.random(), float(np.random.rand()), torch.rand(1).item()]  # noqa: NPY002


@pytest.mark.parametrize("error", [None, KeyError])
def test_every_global_generator_goes_on_as_if_nothing_had_been_drawn(error):
    with generators_kept():
        wanted = drawn()
    if error:
        with pytest.raises(error), generators_kept():
            drawn()
            raise error
    assert drawn() == wanted != drawn()


class Device:
    """An accelerator's module of torch: a state for each of its devices."""

    def __init__(self, *names: int) -> None:
        self.states = {(n,): f"of {n}" for n in names} or {(): "the only one"}

    def get_rng_state(self, *name: int) -> str:
        return self.states[name]

    def set_rng_state(self, state: str, *name: int) -> None:
        self.states[name] = state


def test_the_generators_of_every_accelerator_are_put_back(monkeypatch):
    cuda, mps = Device(0, 1), Device()
    before = dict(cuda.states), dict(mps.states)
    monkeypatch.setattr(generators, "_devices", lambda: [(cuda, 0), (cuda, 1), (mps,)])
    with pytest.raises(KeyError), generators_kept():
        for module in (cuda, mps):
            module.states = dict.fromkeys(module.states, "drawn from")
        raise KeyError
    assert (cuda.states, mps.states) == before


@pytest.mark.parametrize(
    ("available", "started", "mps", "found"),
    [
        (True, True, False, [(torch.cuda, 0), (torch.cuda, 1)]),
        (True, False, False, []),
        (False, False, False, []),
        (False, True, False, []),
        (False, False, True, [(torch.mps,)]),
    ],
)
def test_a_gpu_that_nobody_used_is_not_started(monkeypatch, available, started, mps, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert generators._devices() == found


def test_nobody_else_draws_meanwhile_and_one_may_do_it_twice():
    def other() -> bool:
        taken = RNG_LOCK.acquire(blocking=False)
        if taken:
            RNG_LOCK.release()
        free.append(taken)

    def ask() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    free: list[bool] = []
    with generators_kept(), generators_kept():
        ask()
    ask()
    assert free == [False, True]

"""A time is a median of full passes, without the first, in milliseconds."""

import time
from unittest import mock

import pytest
import torch
from torch import nn

from pclora_lab.nn import latency
from pclora_lab.nn.latency import latency_ms, median_ms, timed_ms


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when somebody says so."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def takes(clock: list[float], seconds: list[float]):
    """A function whose calls take these times in turn."""
    left = iter(seconds)

    def function(*args: object) -> object:
        clock[0] += next(left)
        return torch.zeros(1)

    return function


def test_a_call_is_timed_in_milliseconds(clock):
    assert timed_ms(takes(clock, [0.25])) == 250.0


def test_the_first_call_warms_up_and_the_middle_one_of_the_others_counts(clock):
    times = [9.0, 0.004, 0.001, 0.003]
    assert median_ms(takes(clock, times), repeats=3) == pytest.approx(3.0)
    assert median_ms(takes(clock, [0.0, *times]), repeats=4) == pytest.approx(3.5)
    assert median_ms(takes(clock, [5.0, 0.002]), repeats=1) == pytest.approx(2.0)


@pytest.mark.parametrize(("measure", "calls"), [(median_ms, 1 + 7), (latency_ms, 1 + 5)])
def test_without_another_wish_it_is_timed_as_often_as_the_docs_say(measure, calls):
    count = []
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda *args: count.append(torch.is_inference_mode_enabled()))
    x = torch.zeros(1, 2)
    assert (measure(model, x) if measure is latency_ms else measure(lambda: model(x))) > 0
    assert count == [measure is latency_ms] * calls


def test_a_models_time_is_that_of_its_passes_on_what_it_takes_by_name(clock):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.run = nn.Parameter(torch.zeros(1)), takes(clock, [9.0, 0.1, 0.3, 0.2])

        def forward(self, *, input_ids: torch.Tensor) -> torch.Tensor:
            return self.run(input_ids)

    assert latency_ms(Model(), {"input_ids": torch.zeros(1)}, repeats=3) == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("device", "cuda", "mps"), [("cuda:1", 2, 0), ("mps", 0, 2), ("cpu", 0, 0), (None, 0, 0)]
)
def test_what_a_call_started_on_an_accelerator_belongs_to_it(clock, monkeypatch, device, cuda, mps):
    """Before the clock starts the device is idle, and it stops when the device is done."""
    waits = {"cuda": [], "mps": []}
    place = None if device is None else torch.device(device)
    left = {"ms": 0.0}

    def finish(kind):
        def wait(*args):
            waits[kind].append(args)
            clock[0] += left["ms"] / 1000
            left["ms"] = 0.0

        return wait

    def start() -> None:
        left["ms"] += 40.0

    monkeypatch.setattr(torch.cuda, "synchronize", finish("cuda"))
    monkeypatch.setattr(torch.mps, "synchronize", finish("mps"))
    left["ms"] = 1000.0  # of somebody else's, from before
    on_accelerator = bool(cuda or mps)
    assert timed_ms(start, place) == pytest.approx(40.0 if on_accelerator else 0.0)
    assert len(waits["cuda"]) == cuda and len(waits["mps"]) == mps
    assert all(args == (place,) for args in waits["cuda"]), "of several, the one that computes"


def test_a_model_is_timed_up_to_the_end_on_its_own_device():
    model = nn.Linear(2, 2, device="meta")
    with mock.patch.object(latency, "_finish") as finish:
        latency_ms(model, torch.zeros(1, 2, device="meta"), repeats=2)
    assert finish.call_args_list == [mock.call(torch.device("meta"))] * 2 * 3

"""What a run tells can't be changed by whoever hears it, and is short where it is printed."""

import dataclasses

import pytest
import torch
from torch import nn

from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import (
    AdapterSnapshot,
    LogRow,
    PhaseStart,
    Resolved,
    RunEnd,
    StepEnd,
    TaskGuessed,
)

EVENTS = [
    PhaseStart("fade", 3),
    Resolved(RunConfig()),
    StepEnd("fade", 1, 3),
    LogRow({"step": 1}),
    AdapterSnapshot(1, 0.5, {"A": torch.zeros(2)}),
    RunEnd({"accuracy": 1.0}, nn.Linear(2, 2), nn.Linear(2, 2)),
    TaskGuessed("denoising", "task: denoising, as the data hold images"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_stays_as_it_was_told(event):
    for field in dataclasses.fields(event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)


def test_two_steps_are_the_same_step_whatever_goes_on_from_them():
    told = StepEnd("fade", 1, 3, checkpoint=lambda: None)
    assert told == StepEnd("fade", 1, 3) and told != StepEnd("fade", 2, 3)
    assert StepEnd("fade", 1, 3).checkpoint is None


def test_what_is_printed_of_an_event_holds_no_weights():
    step = StepEnd("fade", 1, 3, checkpoint=lambda: None)
    assert repr(step) == "StepEnd(phase='fade', step=1, steps=3)"
    assert repr(EVENTS[4]) == "AdapterSnapshot(step=1, lam=0.5)"
    assert repr(EVENTS[5]) == "RunEnd(result={'accuracy': 1.0})"

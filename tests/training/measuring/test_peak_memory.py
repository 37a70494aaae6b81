"""The most memory of a training, without what is held for a moment by somebody else."""

import pytest
import torch

from pclora_lab.training.measuring import peak_memory
from pclora_lab.training.measuring.peak_memory import PeakMemory


class Held:
    """Megabytes of a device: now, and the most since the mark was put back."""

    def __init__(self):
        self.now = self.most = 0.0

    def hold(self, megabytes):
        self.now, self.most = megabytes, max(self.most, megabytes)

    def reset(self, device):
        assert device.type == "cuda"
        self.most = self.now


@pytest.fixture
def held(monkeypatch):
    held = Held()
    monkeypatch.setattr(peak_memory, "peak_memory_mb", lambda device: held.most)
    monkeypatch.setattr(peak_memory, "reset_peak_memory", held.reset)
    return held


def test_what_is_held_in_between_is_left_out_and_what_was_before_and_after_counts(held):
    peak = PeakMemory(torch.device("cuda"))
    held.hold(30)
    held.hold(10)
    with peak.left_out():
        held.hold(500)
        held.hold(10)
    assert peak.megabytes == 30
    held.hold(20)
    assert peak.megabytes == 30
    with peak.left_out():
        held.hold(600)
        held.hold(20)
    held.hold(40)
    assert peak.megabytes == 40


def test_what_failed_in_between_is_left_out_too(held):
    peak = PeakMemory(torch.device("cuda"))
    with pytest.raises(MemoryError), peak.left_out():
        held.hold(500)
        held.hold(10)
        raise MemoryError
    assert peak.megabytes == 10


def test_what_was_left_there_is_held_by_the_training(held):
    peak = PeakMemory(torch.device("cuda"))
    with peak.left_out():
        held.hold(50)
    assert peak.megabytes == 50

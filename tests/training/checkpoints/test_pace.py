"""Writing takes a hundredth of the time at most, and is tried again after a while."""

import pytest

from pclora_lab.training.checkpoints import pace
from pclora_lab.training.checkpoints.pace import Pace


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is set."""
    time = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: time[0])
    return time


def wait_of(made, now):
    """Whole seconds until it is due."""
    began = now[0]
    for second in range(2000):
        now[0] = began + second
        if made.is_due:
            return second
    return None


def test_the_first_one_is_due_after_five_seconds(now):
    assert wait_of(Pace(), now) == 5


@pytest.mark.parametrize(("seconds", "wait"), [(0.001, 5), (0.05, 5), (0.06, 6), (2.0, 200)])
def test_what_took_long_is_seldom_repeated(now, seconds, wait):
    """A hundred times as long passes before the next, and five seconds at least."""
    made = Pace()
    now[0] += 7
    made.wrote(seconds)
    assert wait_of(made, now) == wait


def test_after_a_failure_a_minute_passes(now):
    made = Pace()
    now[0] += 7
    made.failed()
    assert wait_of(made, now) == 60

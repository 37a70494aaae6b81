"""The peak memory that a run reports is its training's, whatever else took more before or after."""

import pytest
import torch
from device_runs import config
from pretend_cuda import PretendCuda

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import method_class
from pclora_lab.training import result, teacher
from pclora_lab.training.events import PhaseStart
from pclora_lab.training.loop import train
from pclora_lab.training.measuring import metrics

Method = method_class("pclora")
# MB that a part of the run takes on top, for a moment; each another one, so that a peak tells.
TAKES = {
    (DataCache, "batches"): 900,
    (teacher, "call_model"): 800,
    (teacher, "evaluate"): 700,
    (Method, "apply"): 600,
    (metrics, "evaluate"): 500,
    (Method, "measure"): 400,
    (result, "scored"): 300,
    (result, "latency_ms"): 200,
}


def taking(call, megabytes, taken):
    """The same function, which holds so much on the device while it is called."""

    def wrapped(*args, **options):
        taken.add(megabytes)
        held = torch.empty(megabytes * 10**6, dtype=torch.uint8, device="cuda")
        found = call(*args, **options)
        del held
        return found

    return wrapped


@pytest.fixture
def peak_of(tmp_path, monkeypatch):
    """The peak of a run in which some functions take so many MB more, if each takes them."""

    def run(takes):
        taken = set()
        with PretendCuda(), monkeypatch.context() as patch:
            for (where, name), megabytes in takes.items():
                patch.setattr(where, name, taking(getattr(where, name), megabytes, taken))
            asked = config(tmp_path, "pclora", device="cuda", teacher="finetune", teacher_steps=2,
                           evaluations=2, report_on="test")  # fmt: skip
            events = list(train(asked, tmp_path / str(len(takes)), cache=DataCache()))
        assert taken == set(takes.values()), "all of them had it"
        assert PhaseStart("teacher", 2) in events
        return events[-1].result["peak_memory_mb"]

    return run


def test_data_teacher_start_and_evaluation_are_not_the_trainings(peak_of):
    assert peak_of(TAKES) < 100


def test_a_step_of_the_training_is(peak_of):
    assert 100 < peak_of({(Method, "after_backward"): 100, (metrics, "evaluate"): 500}) < 200

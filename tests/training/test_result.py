"""The final numbers are those of the finished model, each counted as its name says."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from marked import MarkedCache, marked_digits

from pclora_lab.machine import processor
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.nn.counting import count_macs
from pclora_lab.training import result
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import hardware_name
from pclora_lab.training.parallel.ranks import Ranks
from pclora_lab.training.setup import prepare

DATA = marked_digits(train=20, validation=12, test=9)
CONFIG = RunConfig(
    method=METHODS["svd"].Config(rank=4), steps=2, device="cpu", precision="float32",
    eval_batch_size=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished():
    """A setup, its student, its numbers and the finished model."""
    setup = prepare(CONFIG, make_method(CONFIG.method), MarkedCache(DATA), None)
    student = setup.make_student(torch.Generator().manual_seed(0))
    return setup, student, *result.final_result(setup, student)


def size(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_those_of_the_models_before_and_after(finished):
    setup, _, numbers, small = finished
    dense = setup.model
    assert numbers["params_before"] == size(dense) and numbers["params_after"] == size(small)
    assert numbers["params_removed_whole"] == pytest.approx(1 - size(small) / size(dense))
    assert numbers["macs_before"] == count_macs(dense) > numbers["macs_after"] == count_macs(small)
    removed = 1 - count_macs(small) / count_macs(dense)
    assert numbers["macs_removed_whole"] == pytest.approx(removed)
    assert numbers["bytes_after"] == sum(
        t.numel() * t.element_size() for t in (*small.parameters(), *small.buffers())
    )
    assert numbers["bytes_before"] == setup.counts.bytes


def test_the_share_of_replaced_layers_leaves_the_others_out(finished):
    setup, _, numbers, small = finished
    replaced = sum(layer.params for layer in setup.counts.layers)
    rest = size(setup.model) - replaced
    assert numbers["params_removed_replaced"] == pytest.approx(1 - (size(small) - rest) / replaced)


def test_the_accuracy_is_of_the_split_that_is_reported_and_told_under_both_names(finished):
    setup, _, numbers, small = finished
    batches = setup.batches["test"]
    inputs, labels = batches.batch(torch.arange(9))
    with torch.no_grad():
        right = int((small(inputs).argmax(-1) == labels).sum())
    assert numbers["accuracy"] == numbers["accuracy_if_base_removed"] == pytest.approx(right / 9)
    assert numbers["method"] == "svd" and numbers["device"] == "cpu"
    assert numbers["precision"] == "float32"
    assert numbers["latency_ms_before"] > 0 and numbers["latency_ms_after"] > 0


def test_the_gap_is_the_largest_between_student_and_finished_model_in_eval_mode(
    finished, monkeypatch
):
    setup, student, *_ = finished
    sizes, seen = [], []

    class Off:
        """The same, with one logit of one example raised by 3."""

        def __init__(self, inner):
            self.inner = inner

        def __call__(self, x):
            found = self.inner(x).clone()
            found[3, 2] += 3
            sizes.append(len(x))
            return found

        def __getattr__(self, name):
            return getattr(self.inner, name)

    small = setup.method.finalize(student)
    method = SimpleNamespace(
        finalize=lambda s: Off(small), trains=True, name="svd", starts_from="teacher"
    )
    monkeypatch.setattr(result, "count_macs", lambda model: 7)
    half = SimpleNamespace(compute=lambda: {"accuracy": 0.5})
    monkeypatch.setattr(result, "scored", lambda *a, **k: seen.append(k) or half)
    monkeypatch.setattr(result, "latency_ms", lambda model, inputs: float(len(inputs)))
    numbers, _ = result.final_result(dataclasses.replace(setup, method=method), student.train())
    assert numbers["max_logit_difference"] == pytest.approx(3, abs=1e-4)
    assert seen == [{"batch_size": 5}] and sizes == [9] and not student.training
    assert numbers["latency_ms_before"] == numbers["latency_ms_after"] == 9
    trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
    assert numbers["params_trained"] == trained


def test_the_result_says_what_its_accuracy_and_its_times_rest_on(finished):
    setup, _, numbers, _ = finished
    assert numbers["accuracy_examples"] == 9 == len(setup.data.test)
    assert numbers["hardware"] == processor() != ""


def test_a_run_of_several_processes_says_so(finished, monkeypatch):
    setup, student, *_ = finished
    monkeypatch.setattr(result, "latency_ms", lambda model, inputs: 1.0)
    shared = dataclasses.replace(setup, ranks=Ranks(1, 2))
    numbers, _ = result.final_result(shared, student)
    assert numbers["hardware"] == f"{processor()}, 2 processes"


def test_a_gpu_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert hardware_name(torch.device("cuda:1")) == "GPU 1"


def test_a_latency_is_of_64_examples_where_there_are_as_many(finished, monkeypatch):
    setup, student, *_ = finished
    larger = MarkedCache(marked_digits(train=20, validation=70, test=70))
    setup = prepare(CONFIG, setup.method, larger, None)
    monkeypatch.setattr(result, "latency_ms", lambda model, inputs: float(len(inputs)))
    numbers, _ = result.final_result(setup, student)
    assert numbers["latency_ms_before"] == numbers["latency_ms_after"] == 64


def test_a_method_that_is_done_once_applied_has_trained_nothing(finished):
    _, student, numbers, _ = finished
    assert numbers["params_trained"] == 0
    student.requires_grad_(True)
    assert result._trained(student) == size(student)
    next(student.parameters()).requires_grad_(False)
    assert result._trained(student) == size(student) - next(student.parameters()).numel()

"""Which examples a number rests on, and in which mode it was measured.

Every example of the data says who it is, and a spy reads that off whatever any model is given: so
these tests trust no index, split or mode that the package reports itself.
"""

import dataclasses

import numpy as np
import pytest
from marked import MarkedCache, Spy, marked_digits

from pclora_lab.methods.registry import METHODS, method_class
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, RunEnd, StepEnd
from pclora_lab.training.loop import train
from pclora_lab.training.setup import CALIBRATION_EXAMPLES

SIZES = {"train": 600, "validation": 90, "test": 70}
DATA = marked_digits(**SIZES)
EVAL, PROBE = 31, 32
NAMES = list(METHODS)


def config_of(name, **changed):
    config = RunConfig(
        method=method_class(name).default_config(), steps=4, batch_size=16, evaluations=2,
        eval_images=EVAL, eval_batch_size=20, device="cpu", teacher="finetune", teacher_steps=2,
    )  # fmt: skip
    return dataclasses.replace(config, **changed)


def spied(config, folder):
    """The passes of a run, each with the phase that it belongs to, and the run's events."""
    spy, events = Spy(), []
    with spy.watching():
        for event in train(config, folder, cache=MarkedCache(DATA)):
            events.append(event)
            if isinstance(event, PhaseStart):
                spy.phase = event.name
    return spy, events


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def run(name):
        if name not in made:
            made[name] = spied(config_of(name), tmp_path_factory.mktemp(name))
        return made[name]

    return run


def spread(count, limit):
    """Evenly spread, the first and the last included."""
    return sorted({round(x) for x in np.linspace(0, count - 1, min(limit, count))})


def numbers(passes):
    return sorted(n for p in passes for n in p.numbers)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_training_split_is_learned_from(name, runs):
    spy, _ = runs(name)
    learned = [p for p in spy.passes if p.grad]
    assert {p.split for p in learned} <= {"train"}
    assert bool([p for p in learned if p.phase == "fade"]) == METHODS[name].trains


@pytest.mark.parametrize("name", NAMES)
def test_a_start_is_calibrated_on_some_of_the_training_split(name, runs):
    spy, _ = runs(name)
    calibration = [p for p in spy.of("start") if p.split != "validation"]
    assert {p.split for p in calibration} <= {"train"}
    if getattr(config_of(name).method, "init", "") == "activation_svd":
        probe = spread(SIZES["train"], PROBE)
        wanted = {*spread(SIZES["train"], CALIBRATION_EXAMPLES), *probe}
        assert set(numbers(calibration)) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_what_is_evaluated_on_the_way_is_the_validation_split(name, runs):
    spy, events = runs(name)
    looked = [p for p in spy.of("teacher", "start", "fade") if not p.grad and p.split != "train"]
    assert {p.split for p in looked} == {"validation"}
    seen = numbers(looked)
    wanted = spread(SIZES["validation"], EVAL)
    assert sorted(set(seen)) == wanted and len(seen) % len(wanted) == 0
    measured = [e for e in events if isinstance(e, LogRow) and e.values.get("accuracy") is not None]
    assert len(seen) // len(wanted) >= len(measured)


@pytest.mark.parametrize("name", NAMES)
def test_the_test_split_is_read_once_whole_and_last(name, runs):
    spy, events = runs(name)
    assert {p.split for p in spy.of("test")} == {"test"}
    assert not [p for p in spy.passes if p.phase != "test" and p.split == "test"]
    # Gap and latencies are of one batch of it; accuracies of all of it, of the teacher's and ours.
    models = {}
    for p in spy.of("test"):
        models.setdefault(p.model, set()).update(p.numbers)
    assert set(range(SIZES["test"])) in models.values()
    whole = sum(seen == set(range(SIZES["test"])) for seen in models.values())
    has_teacher = events[-1].result["teacher_accuracy"] is not None
    assert whole == 1 + has_teacher


@pytest.mark.parametrize("name", NAMES)
def test_whoever_learns_is_in_training_mode_and_nobody_else(name, runs):
    spy, _ = runs(name)
    for p in spy.passes:
        assert p.trains if p.grad else p.evaluates, p


@pytest.mark.parametrize("report_on", ["validation", "test"])
def test_the_final_number_is_of_the_split_that_it_names(report_on, tmp_path):
    spy, events = spied(config_of("svd", report_on=report_on, teacher="pretrained"), tmp_path)
    assert {p.split for p in spy.of("test")} == {report_on}
    assert set(numbers(spy.of("test"))) == set(range(SIZES[report_on]))
    assert isinstance(events[-1], RunEnd) and events[-1].result["report_on"] == report_on
    if report_on == "validation":
        assert not [p for p in spy.passes if p.split == "test"]


def test_a_step_takes_the_batch_that_was_asked_for_and_an_epoch_every_example_once(tmp_path):
    config = config_of("full", teacher="pretrained", steps=2 * (SIZES["train"] // 16))
    spy, events = spied(dataclasses.replace(config, evaluations=1), tmp_path)
    batches = [p.numbers for p in spy.passes if p.grad]
    assert {len(b) for b in batches} == {16}
    assert len(batches) == sum(isinstance(e, StepEnd) for e in events) == config.steps
    first, second = batches[: config.steps // 2], batches[config.steps // 2 :]
    for epoch in (first, second):
        drawn = [n for b in epoch for n in b]
        assert len(set(drawn)) == len(drawn) == SIZES["train"] // 16 * 16
    assert first != second

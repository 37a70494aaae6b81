"""A row of a history: what is measured at its step, at what cost, and what ends no training."""

import contextlib
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from marked import MarkedCache, marked_digits
from torch import nn

from pclora_lab.methods.base import Method
from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.metrics import LR_SHARE, TASK
from pclora_lab.methods.registry import make_method
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.training.config import RunConfig
from pclora_lab.training.lambda_override import LambdaDriver, LambdaOverride
from pclora_lab.training.measuring import metrics
from pclora_lab.training.measuring.metrics import MetricTracker, RunClock, held_tensors
from pclora_lab.training.optimizer import LossDiverged
from pclora_lab.training.setup import prepare

DATA = marked_digits(train=50, validation=12, test=8)
CONFIG = RunConfig(
    method=FullConfig(), steps=8, device="cpu", evaluations=2, eval_images=6, eval_batch_size=4,
    precision="float32", layer_metrics=False,
)  # fmt: skip


class Fades(Method):
    """Has something that is still to be removed."""

    fades = True

    def __init__(self):
        super().__init__(None)
        self.is_whole, self.broken = True, False

    def set_progress(self, student, progress):
        return {"lam": 1 - progress}

    def measure(self, student, probe):
        return {"own": len(probe), "layer_base_share": {"head": 0.5}}

    def without_base(self, student):
        return self.removed() if self.is_whole else None

    @contextlib.contextmanager
    def removed(self):
        self.broken = True
        try:
            yield
        finally:
            self.broken = False


@pytest.fixture(scope="module")
def prepared():
    return prepare(CONFIG, make_method(CONFIG.method), MarkedCache(DATA), None)


@pytest.fixture
def tracker_of(prepared, monkeypatch):
    """A tracker of a method, and the accuracies that it will read one after another."""
    scores = lambda self, limit=None: {"accuracy": limit / 100}  # noqa: E731
    monkeypatch.setattr(type(prepared), "teacher_scores", scores)

    def make(method=None, accuracies=(), **changes):
        config = dataclasses.replace(CONFIG, **changes)
        setup = dataclasses.replace(prepared, method=method or prepared.method, config=config)
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        driver = LambdaDriver(setup.method, student, config.steps, LambdaOverride())
        tracker, left = MetricTracker(setup, student, driver), list(accuracies)
        tracker.read = []

        def evaluate(task, model, batches, accelerator, **how):
            tracker.read.append((model, batches, accelerator, how))
            found = left.pop(0) if left else 0.5
            if isinstance(found, Exception):
                raise found
            return {"accuracy": found}

        monkeypatch.setattr(metrics, "evaluate", evaluate)
        return tracker

    return make


def test_a_row_says_where_the_training_is_and_what_the_student_holds(tracker_of, prepared):
    tracker = tracker_of()
    row = tracker.row(2, {"loss": 1.5, "lr": tracker.config.peak_lr / 4})
    dense = sum(p.numel() for p in prepared.model.parameters())
    assert (row["phase"], row["step"], row["progress"]) == ("fade", 2, 0.25)
    assert row["loss"] == 1.5 and row["lr_share"] == 0.25
    assert row["held_params"] == 650 and row["held_percent"] == pytest.approx(65000 / dense)
    assert row["student_mb"] == 0.0026
    assert row["examples"] == 6 and row["teacher_accuracy"] == 0.06
    assert row["memory_mb"] > 10 and 0 <= row["seconds"] < 60


def test_an_accuracy_is_read_on_the_validation_split_at_the_planned_steps_only(
    tracker_of, prepared
):
    tracker = tracker_of(accuracies=[0.1, 0.2, 0.3])
    assert tracker.plan.steps == (0, 4, 8)
    rows = [tracker.row(step, {}) for step in range(9)]
    assert [row["accuracy"] for row in rows] == [0.1, None, None, None, 0.2, None, None, None, 0.3]
    assert {row["accuracy_if_base_removed"] for row in rows} == {None}
    for model, batches, accelerator, how in tracker.read:
        assert model is tracker.student and batches is prepared.batches["validation"]
        assert accelerator is prepared.accelerator and how == {"limit": 6, "batch_size": 4}


def test_no_more_examples_are_read_than_there_are(tracker_of):
    assert tracker_of(eval_images=100).plan.examples == 12


@pytest.mark.parametrize(
    ("traits", "means", "told"),
    [((TASK, LR_SHARE), {"lr": 0.0}, True), ((TASK, LR_SHARE), {"lr": None}, False),
     ((TASK, LR_SHARE), {}, False), ((TASK,), {"lr": 0.1}, False)],
)  # fmt: skip
def test_the_share_of_the_rate_is_told_where_the_method_draws_it(tracker_of, traits, means, told):
    method = Fades()
    method.metrics = traits
    row = tracker_of(method).row(1, means)
    assert ("lr_share" in row) is told


def test_what_is_still_to_be_removed_is_read_twice_and_what_is_gone_once(tracker_of):
    method = Fades()
    row = tracker_of(method, [0.75, 0.25]).row(0, {})
    assert (row["accuracy"], row["accuracy_if_base_removed"]) == (0.75, 0.25)
    assert row["lam"] == 1.0 and row["base_held"] is True and not method.broken
    method.is_whole = False
    tracker = tracker_of(method, [0.75, 0.25])
    row = tracker.row(8, {})
    assert (row["accuracy"], row["accuracy_if_base_removed"]) == (0.75, 0.75)
    assert row["base_held"] is False and len(tracker.read) == 1


def test_a_student_that_can_not_do_without_yet_goes_on(tracker_of):
    method = Fades()
    row = tracker_of(method, [0.75, NotFinite("too large")]).row(0, {})
    assert (row["accuracy"], row["accuracy_if_base_removed"]) == (0.75, None)
    assert not method.broken


@pytest.mark.parametrize(
    ("step", "trains", "error"),
    [(0, True, NotFinite), (4, True, LossDiverged), (4, False, NotFinite)],
)
def test_logits_that_are_not_finite_are_the_trainings_fault_only_after_a_step(
    tracker_of, step, trains, error
):
    method = Fades()
    method.trains = trains
    tracker = tracker_of(method, [NotFinite("the logits are NaN")], lr=0.25)
    with pytest.raises(error, match="the logits are NaN") as told:
        tracker.row(step, {})
    if error is LossDiverged:
        assert f"after step {step} the logits" in str(told.value) and "lr=0.25" in str(told.value)


def test_a_method_tells_its_own_of_32_training_examples_and_layers_only_where_asked(tracker_of):
    tracker = tracker_of(Fades())
    assert len(tracker.probe) == 32 and tracker.layers is None
    row = tracker.row(0, {})
    assert row["own"] == 32 and "layer_base_share" not in row and "probe_percent" not in row
    assert "own" not in tracker.row(1, {})


class Layers:
    """Looks at layers; finds no room the given number of times."""

    seconds = 3.0

    def __init__(self, room=True):
        self.room, self.asked = room, []

    def measure(self, *, distances):
        self.asked.append(distances)
        if not self.room:
            raise torch.OutOfMemoryError("no room")
        return {"layer_mse": {"head": 1.0}}


def test_layers_are_compared_where_it_is_planned_and_the_cost_is_told(tracker_of):
    tracker = tracker_of(Fades())
    tracker.layers = layers = Layers()
    tracker.plan = dataclasses.replace(tracker.plan, distances=(0, 8))
    tracker.clock = SimpleNamespace(seconds=12.0)
    rows = [tracker.row(step, {}) for step in (0, 1, 4, 8)]
    assert layers.asked == [True, False, True]
    assert [row.get("probe_percent") for row in rows] == [25.0, None, 25.0, 25.0]
    assert rows[0]["layer_mse"] == {"head": 1.0}
    tracker.clock = SimpleNamespace(seconds=0.0)
    assert tracker.probe_percent > 100
    # Of a run that has hardly begun too; two digits are more than anybody reads.
    for seconds, percent in ((0.5, 600.0), (9.0, 33.33), (7.0, 42.86)):
        tracker.clock = SimpleNamespace(seconds=seconds)
        assert tracker.probe_percent == percent
    tracker.layers = None
    assert tracker.probe_percent == 0.0


def test_a_device_too_small_to_look_at_layers_ends_no_training(tracker_of):
    tracker = tracker_of(Fades())
    tracker.layers = Layers(room=False)
    with pytest.warns(UserWarning, match="not looked at any more, for want of memory: no room"):
        row = tracker.row(0, {})
    assert tracker.layers is None and row["own"] == 32 and row["accuracy"] == 0.5


def test_layers_are_looked_at_if_the_config_asks(tracker_of, prepared):
    method = Fades()
    assert tracker_of(method).layers is None
    student = prepared.model
    config = dataclasses.replace(CONFIG, layer_metrics=True)
    setup = dataclasses.replace(prepared, config=config, method=method)
    driver = LambdaDriver(method, student, config.steps, LambdaOverride())
    tracker = MetricTracker(setup, student, driver)
    assert tracker.layers.names == [layer.name for layer in prepared.counts.layers]
    tracker.restore(SimpleNamespace(seconds=100.0, probe_seconds=7.0))
    assert tracker.clock.seconds >= 100 and tracker.layers.seconds >= 7
    tracker.layers = None
    tracker.restore(SimpleNamespace(seconds=100.0, probe_seconds=7.0))
    assert tracker.clock.seconds >= 200


def test_a_method_without_a_second_accuracy_has_more_readings_for_the_same(tracker_of):
    more = {"evaluations": None, "eval_images": 1, "steps": 100, "batch_size": 1}
    plain, fading = Fades(), Fades()
    plain.fades = False
    counts = [len(tracker_of(method, **more).plan.steps) for method in (plain, fading)]
    assert counts[0] > counts[1]


def test_held_tensors_are_each_counted_once_without_what_a_layer_only_notes():
    class Noting(nn.Linear):
        bookkeeping = ("noted",)

        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("noted", torch.zeros(5))
            self.register_buffer("used", torch.zeros(3))

    model = nn.Sequential(Noting(), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    found = held_tensors(model)
    assert sorted(t.numel() for t in found) == [2, 2, 3, 4]


def test_a_clock_stands_still_while_it_waits_and_goes_on_afterwards(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    clock = RunClock()
    now[0] += 3
    with clock.waiting():
        now[0] += 50
        assert clock.seconds == 3
    assert (clock.seconds, clock.paused) == (3, 50)
    now[0] += 2
    with pytest.raises(KeyError), clock.waiting():
        now[0] += 10
        raise KeyError
    assert (clock.seconds, clock.paused) == (5, 60)
    clock.add(1000)
    assert clock.seconds == 1005

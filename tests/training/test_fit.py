"""What a training tells, in which order, and how it goes on from a checkpoint."""

import dataclasses
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.methods.base import Method
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator
from pclora_lab.training.events import AdapterSnapshot, LogRow, StepEnd
from pclora_lab.training.fit import Fit, kept_steps
from pclora_lab.training.lambda_override import LambdaDriver, LambdaOverride
from pclora_lab.training.parallel.ranks import ALONE
from pclora_lab.training.state import trained_bytes

CONFIG = RunConfig(steps=6, snapshots=3, batch_size=4, device="cpu", precision="float32")


class Vectors(Batches):
    """Eight examples of two classes."""

    def __init__(self):
        super().__init__(torch.arange(8) % 2)

    def inputs(self, indices, device=None):
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(0))[indices]


class Noted(Method):
    """Learns from labels and notes what it was asked."""

    supports_replay, fades = True, False

    def __init__(self, **traits):
        super().__init__(None)
        self.told, self.closed, self.loaded = [], 0, None
        vars(self).update(traits)

    def set_progress(self, student, progress):
        self.told.append(round(progress, 6))
        return {"lam": 1 - progress} if self.fades else {}

    def loss_terms(self, student, teacher):
        losses = super().loss_terms(student, teacher)

        def close():
            self.closed += 1

        losses.close = close
        return losses

    def state_dict(self, student):
        return {"own": torch.tensor([4.0])}

    def load_state_dict(self, student, state):
        self.loaded = state


class Clock:
    """Counts how often it waited, and says whether it does."""

    seconds = 12.5

    def __init__(self):
        self.waits, self.is_waiting = 0, False

    @contextmanager
    def waiting(self):
        self.is_waiting = True
        self.waits += 1
        yield
        self.is_waiting = False


class Tracker:
    """Tells a row without measuring anything."""

    def __init__(self, layers=None, measured=(0, 2, 4, 6)):
        self.clock, self.layers, self.restored = Clock(), layers, None
        self.plan = SimpleNamespace(steps=measured)

    def row(self, step, means):
        return {"step": step, "means": means}

    def restore(self, checkpoint):
        self.restored = checkpoint


def student():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def fit_of(method=None, config=CONFIG, checkpoint=None, tracker=None, overrides=()):
    model, method = student(), method or Noted()
    setup = SimpleNamespace(
        config=config, method=method, model=student(), batches={"train": Vectors()},
        accelerator=make_accelerator(config, model), identity="made from",
        ranks=ALONE, task=IMAGE_CLASSIFICATION,
    )  # fmt: skip
    driver = LambdaDriver(method, model, config.steps, LambdaOverride(overrides))
    generator = torch.Generator().manual_seed(1)
    return Fit(setup, model, driver, tracker or Tracker(), generator, checkpoint)


def told(events):
    """Each event by its kind and step."""
    kinds = {LogRow: "row", AdapterSnapshot: "snapshot", StepEnd: "step"}
    return [(kinds[type(e)], e.values["step"] if isinstance(e, LogRow) else e.step) for e in events]


def test_it_tells_where_it_starts_and_of_each_step_its_row_its_snapshot_and_its_end():
    wanted = [("snapshot", 0), ("row", 0)]
    for step in range(1, 7):
        kept = [("snapshot", step)] if step in (3, 6) else []
        wanted += [("row", step), *kept, ("step", step)]
    assert told(fit_of().events()) == wanted


@pytest.mark.parametrize(
    ("count", "steps"), [(0, ()), (1, ()), (2, (0, 6)), (4, (0, 2, 4, 6)), (50, tuple(range(7)))]
)
def test_snapshots_are_taken_at_the_planned_steps_and_no_others(count, steps):
    config = dataclasses.replace(CONFIG, snapshots=count)
    events = told(fit_of(config=config).events())
    assert tuple(step for kind, step in events if kind == "snapshot") == steps


def test_a_method_that_can_not_look_back_keeps_no_snapshots():
    assert "snapshot" not in dict(told(fit_of(Noted(supports_replay=False)).events()))


def test_as_many_snapshots_are_kept_as_megabytes_allow():
    each = trained_bytes(student())
    for fitting, steps in ((1, ()), (2, (0, 6)), (3, (0, 3, 6)), (9, (0, 3, 6))):
        config = dataclasses.replace(CONFIG, snapshot_mb=(fitting + 0.5) * each / 1e6)
        assert kept_steps(student(), config) == steps


@pytest.mark.parametrize(("spare", "steps"), [(0, (0, 6)), (-1, ()), (1, (0, 6))])
def test_a_megabyte_is_a_million_bytes_to_the_byte(spare, steps):
    model = nn.Linear(1000, 500)
    each = trained_bytes(model)
    assert each > 2e6
    config = dataclasses.replace(CONFIG, snapshot_mb=(2 * each + spare) / 1e6)
    assert kept_steps(model, config) == steps


def test_a_method_that_is_done_once_applied_tells_one_row_of_the_last_step():
    method = Noted(trains=False)
    made = fit_of(method)
    assert told(made.events()) == [("row", 6)] and made.snapshot_steps == ()
    assert method.closed == 0 and torch.equal(made.student.weight, student().weight)


def test_a_row_is_told_after_about_one_in_120_of_the_steps_and_after_the_last():
    config = dataclasses.replace(CONFIG, steps=250, snapshots=0)
    rows = [step for kind, step in told(fit_of(config=config).events()) if kind == "row"]
    assert rows == list(range(0, 251, 2))


def test_a_row_of_a_step_holds_its_means_and_the_first_none():
    rows = [e.values for e in fit_of().events() if isinstance(e, LogRow)]
    assert rows[0]["means"] == {}
    assert all({"loss", "task", "lr"} <= set(row["means"]) for row in rows[1:])
    assert rows[1]["means"]["lr"] <= CONFIG.peak_lr


def test_a_snapshot_is_what_is_trained_at_its_step_and_its_lambda():
    made, at = fit_of(Noted(fades=True)), {}
    for event in made.events():
        if isinstance(event, AdapterSnapshot):
            assert event.lam == pytest.approx(1 - event.step / 6)
            at[event.step] = event.tensors
            weight = made.student.weight
            assert torch.equal(event.tensors["weight"], weight)
            assert event.tensors["weight"].data_ptr() != weight.data_ptr()
    assert not torch.equal(at[0]["weight"], at[3]["weight"])
    assert {e.lam for e in fit_of().events() if isinstance(e, AdapterSnapshot)} == {0.0}


def test_a_hand_on_lambda_is_in_the_snapshot():
    class Held(Noted):
        def override_lambda(self, student, lam):
            return {"lam": lam}

    made = fit_of(Held(fades=True), overrides=[(2, 0.25)])
    lams = {e.step: e.lam for e in made.events() if isinstance(e, AdapterSnapshot)}
    assert lams == {0: 1.0, 3: 0.25, 6: 0.0}


def test_the_clock_waits_while_somebody_hears_of_a_step_and_else_it_runs():
    made = fit_of()
    for event in made.events():
        assert made.tracker.clock.is_waiting == isinstance(event, StepEnd)
    assert made.tracker.clock.waits == 6


@pytest.mark.parametrize("left_at", [1, 6, None])
def test_losses_are_let_go_of_whether_it_ends_or_is_left(left_at):
    method = Noted()
    events = fit_of(method).events()
    for event in events:
        assert method.closed == 0
        if isinstance(event, StepEnd) and event.step == left_at:
            events.close()
    assert method.closed == 1


def stopped_at(step, method=None, **options):
    """A checkpoint of a training that was left there, and all that it told until then."""
    made, heard = fit_of(method, **options), []
    for event in made.events():
        heard.append(event)
        if isinstance(event, StepEnd) and event.step == step:
            return event.checkpoint(), heard
    raise AssertionError("no such step")


def test_a_checkpoint_says_where_the_training_is():
    tracker = Tracker(layers=SimpleNamespace(seconds=1.5))
    found, _ = stopped_at(3, tracker=tracker)
    assert (found.step, found.seconds, found.probe_seconds) == (3, 12.5, 1.5)
    assert found.evaluated == 2 and found.identity == "made from" and found.fingerprint == ""
    assert found.base_dropped is False and found.overrides == ()
    assert found.tensors["method/own"].tolist() == [4.0]
    assert {"trained/weight", "exp_avg/bias", "meter/bad_step"} <= set(found.tensors)
    assert stopped_at(3)[0].probe_seconds == 0.0


@pytest.mark.parametrize(("step", "evaluated"), [(1, 1), (2, 2), (5, 3), (6, 4)])
def test_a_checkpoint_counts_the_readings_up_to_its_step(step, evaluated):
    assert stopped_at(step)[0].evaluated == evaluated


def test_what_is_asked_for_later_is_in_the_checkpoint():
    class Held(Noted):
        def override_lambda(self, student, lam):
            return {"lam": lam}

    moves = [(1, 0.5), (5, None)]
    found, _ = stopped_at(3, Held(fades=True), overrides=moves)
    assert found.overrides == tuple(moves) and found.base_dropped is True


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_training_that_is_taken_up_tells_the_rest_and_ends_at_the_same_bits(step):
    whole = fit_of()
    everything = told(whole.events())
    checkpoint, heard = stopped_at(step)
    method, tracker = Noted(), Tracker()
    made = fit_of(method, checkpoint=checkpoint, tracker=tracker)
    assert told(heard) + told(made.events()) == everything
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.student.parameters(), made.student.parameters(), strict=True)
    )
    assert tracker.restored is checkpoint and method.loaded["own"].tolist() == [4.0]


def test_lambda_is_found_as_it_was_at_the_step_before():
    checkpoint, _ = stopped_at(3, Noted(fades=True, without_base=lambda student: 1))
    assert not checkpoint.base_dropped
    method = Noted(fades=True, without_base=lambda student: 1)
    next(fit_of(method, checkpoint=checkpoint).events())
    assert method.told[:2] == pytest.approx([2 / 6, 3 / 6])


@pytest.mark.parametrize(("dropped", "has_base", "first"), [(True, True, 1.0), (True, False, None),
                                                           (False, True, None)])  # fmt: skip
def test_a_base_that_was_gone_is_gone_before_the_weights_are_put_back(dropped, has_base, first):
    checkpoint = dataclasses.replace(stopped_at(3)[0], base_dropped=dropped)
    method = Noted(without_base=lambda student: 1 if has_base else None)
    next(fit_of(method, checkpoint=checkpoint).events())
    assert (method.told[0] == 1.0) is (first == 1.0)


def test_an_error_of_a_loss_names_the_rate_of_the_run():
    made = fit_of(config=dataclasses.replace(CONFIG, lr=0.0125))
    assert made.meter.setting == "lr=0.0125"


def test_what_is_trained_decays_as_the_config_says():
    made = fit_of(config=dataclasses.replace(CONFIG, weight_decay=0.3))
    assert [g["weight_decay"] for g in made.optimizer.param_groups] == [0.3, 0.0]

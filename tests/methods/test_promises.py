"""A check that authors of methods and schedules can run says which promise is broken."""

import copy
import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_vit
from torch import nn

from pclora_lab.methods import (
    METHODS,
    SCHEDULES,
    SVD,
    BrokenPromises,
    Full,
    Metric,
    Panel,
    PCLoRA,
    PCLoRAConfig,
    SmallFromScratch,
    check,
)
from pclora_lab.methods.base import TaskLoss
from pclora_lab.nn.sizes import dense_plan
from pclora_lab.plugins import PluginError

sys.path.insert(0, str(Path(__file__).parent / "plugin"))
from topk_rows.method import TopKRows
from topk_rows.schedule import squared_cosine


@pytest.mark.parametrize("name", METHODS)
def test_every_method_here_keeps_its_promises(name):
    check(METHODS[name])


def test_options_and_methods_and_schedules_of_others_are_tried():
    check(PCLoRA, init="zeros", schedule="linear", train_norms=True)
    check(TopKRows)
    check(squared_cosine)
    for schedule in SCHEDULES.values():
        check(schedule)


class Trains(Full):
    """Full fine-tuning, which the classes below spoil."""


class TrainsTheTeacher(Trains):
    def loss_terms(self, student, teacher):
        terms = TaskLoss(student)

        def loss(inputs, labels, progress):
            found = terms(inputs, labels, progress)
            return {**found, "loss": found["loss"] + teacher(inputs).square().mean()}

        loss.close = terms.close
        return loss


class LeavesEvalMode(Trains):
    def set_progress(self, student, progress):
        student.eval()
        return {}


class LeavesTheTeacherTraining(Trains):
    def loss_terms(self, student, teacher):
        teacher.train()
        return TaskLoss(student)


class IgnoresTheSeed(Trains):
    def apply(self, model, context=None):
        student = super().apply(model)
        nn.init.normal_(student.head.weight)
        return student


class OwnSeed(Trains):
    drawn = 0

    def apply(self, model, context=None):
        type(self).drawn += 1
        generator = torch.Generator().manual_seed(self.drawn)
        student = super().apply(model)
        nn.init.normal_(student.head.weight, generator=generator)
        return student


class FinishesInTraining(Trains):
    def finalize(self, student):
        return copy.deepcopy(student).train()


class FinishesInPlace(Trains):
    def finalize(self, student):
        return student.eval()


class FinishesAnother(Trains):
    def finalize(self, student):
        small = super().finalize(student)
        small.head.bias += 1
        return small


class SpoilsTheStudent(Trains):
    def finalize(self, student):
        small = super().finalize(student)
        student.head.bias += 1
        return small


class ReportsMore(Trains):
    def set_progress(self, student, progress):
        return {"secret": 1.0}


class ReportsTensors(Trains):
    metrics = (*Full.metrics, Metric("size", "size", Panel.PROGRESS, "blue"))

    def set_progress(self, student, progress):
        return {"size": torch.tensor(1.0)}


class ReportsNothingFinite(ReportsTensors):
    def set_progress(self, student, progress):
        return {"size": math.nan}


class LearnsNothing(Trains):
    def loss_terms(self, student, teacher):
        terms = TaskLoss(student)

        def loss(inputs, labels, progress):
            found = terms(inputs, labels, progress)
            return {**found, "loss": 0 * found["loss"]}

        loss.close = terms.close
        return loss


class Forgets(Trains):
    def apply(self, model, context=None):
        student = super().apply(model)
        student.register_buffer("count", torch.zeros(()), persistent=False)
        student.head.register_forward_hook(lambda m, x, y: y + student.count)
        return student

    def after_backward(self, student):
        student.count += 1


class PlansAnother(SmallFromScratch):
    def plan(self, counts, model):
        return dense_plan(counts)


class ChangesTheModel(SVD):
    def apply(self, model, context=None):
        with torch.no_grad():
            model.head.bias += 1
        return super().apply(model, context)


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (TrainsTheTeacher, "the model it is given has other weights, modes or gradients"),
        (LeavesEvalMode, "the student is in eval mode after a step"),
        (LeavesTheTeacherTraining, "other weights, modes or gradients"),
        (IgnoresTheSeed, "draws from torch's global generator"),
        (OwnSeed, "two starts from one seed differ in head.weight"),
        (FinishesInTraining, "is in training mode: call eval"),
        (FinishesInPlace, "shares memory with the student"),
        (FinishesAnother, "logits differ from the student's by 1"),
        (SpoilsTheStudent, "finalize changes the student"),
        (ReportsMore, "it reports 'secret', which is none of its metrics"),
        (ReportsTensors, "can't be written as JSON"),
        (ReportsNothingFinite, "can't be written as JSON"),
        (LearnsNothing, "nothing is learned"),
        (Forgets, "a student that is taken up answers differently"),
        (PlansAnother, "the plan promises 450,730 parameters"),
        (ChangesTheModel, "the model it is given has other weights"),
    ],
)
def test_a_broken_promise_is_named(method, broken):
    with pytest.raises(BrokenPromises) as caught:
        check(method)
    assert broken in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "broken"),
    [
        (lambda t: 0.5, "it gives 0.5 at t = 0"),
        (lambda t: 1 - 2 * t, "it gives -0.03125: λ stays in"),
        (lambda t: 1 + t, "λ stays in"),
        (lambda t: math.nan if t > 0.5 else 1 - t, "two values"),
    ],
)
def test_a_broken_schedule_is_named(schedule, broken):
    with pytest.raises(BrokenPromises, match=broken):
        check(schedule)


def test_what_is_no_method_is_refused():
    with pytest.raises(PluginError, match="neither a method nor a schedule"):
        check("pclora")
    with pytest.raises(PluginError, match="no subclass"):
        check(PCLoRAConfig)


@pytest.fixture
def small_bench(monkeypatch):
    """The check on a model of one block; how to ask for it."""

    def made(name):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = tiny_vit(in_chans=1, num_classes=10)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (1, 8, 8)}
        return model

    monkeypatch.setattr("pclora_lab.methods.promises.load_model", made)


def with_terms(change):
    """Full fine-tuning whose loss terms are changed."""

    class Changed(Trains):
        def loss_terms(self, student, teacher):
            terms = TaskLoss(student)

            def loss(inputs, labels, progress):
                return change(terms(inputs, labels, progress), student)

            loss.close = terms.close
            return loss

    return Changed


class ReportsFromLater(Trains):
    """In order at first."""

    def set_progress(self, student, progress):
        return {"layer_sizes": {"a": 1.0}} | ({"late": 1.0} if progress > 0 else {})


class MeasuresMore(Trains):
    def measure(self, student, probe):
        return {"unheard": float(len(probe))}


class FreezesTooLate(Trains):
    """A parameter that is to be frozen has a gradient all the same."""

    def after_backward(self, student):
        student.head.bias.requires_grad_(False)


class AnswersALittleOff(Trains):
    off = 2e-3

    def finalize(self, student):
        small = super().finalize(student)
        with torch.no_grad():
            small.head.bias += self.off
        return small


class FinishesTheStart(Trains):
    """What was learned is not in the finished model."""

    def apply(self, model, context=None):
        self.start = super().apply(model)
        return copy.deepcopy(self.start)

    def finalize(self, student):
        return copy.deepcopy(self.start).eval()


class StartsWithGradients(Trains):
    """Leaves a gradient at the model it was given."""

    def apply(self, model, context=None):
        student = super().apply(model)
        model.head.bias.grad = torch.zeros_like(model.head.bias)
        return student


class GrowsEachTime(Trains):
    """Starts of another shape each time."""

    drawn = 0

    def apply(self, model, context=None):
        type(self).drawn += 1
        student = super().apply(model)
        student.register_buffer("extra", torch.zeros(self.drawn))
        return student


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (with_terms(lambda f, s: {**f, "odd": f["task"]}), ["its loss has a term 'odd' that is"]),
        (with_terms(lambda f, s: {**f, "loss": f["loss"] * math.inf}), ["its first loss is inf"]),
        (ReportsFromLater, ["it reports 'late', which is none"]),
        (MeasuresMore, ["it reports 'unheard', which is none"]),
        (FreezesTooLate, ["a frozen parameter gets a gradient"]),
        (AnswersALittleOff, ["the finished model's logits differ from the student's by 0.002:"]),
        (FinishesTheStart, ["the finished model's logits differ from the student's by"]),
        (StartsWithGradients, ["the model it is given has other weights, modes or gradients"]),
    ],
)
def test_whoever_breaks_one_promise_is_told_of_that_alone(small_bench, method, broken):
    with pytest.raises(BrokenPromises) as caught:
        check(method)
    told = [line + ":" for line in caught.value.broken]
    assert len(told) == len(broken) and all(map(str.startswith, told, broken)), told
    first = str(caught.value).splitlines()[0]
    assert first == f"{method.__name__} breaks 1 of its promises:"


def test_starts_of_unequal_shapes_are_two(small_bench):
    with pytest.raises(BrokenPromises) as caught:
        check(GrowsEachTime)
    differ, other = caught.value.broken
    assert differ.startswith("two starts from one seed differ in extra")
    assert other.startswith("a student can't be taken up (RuntimeError: Error(s) in loading")


def test_rounding_is_no_broken_promise_and_the_generators_stay(small_bench, monkeypatch):
    monkeypatch.setattr(AnswersALittleOff, "off", 1e-4)
    torch.manual_seed(41)
    before = torch.get_rng_state()
    check(AnswersALittleOff)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_it_is_told_is_what_it_tries(small_bench):
    seen = []

    class Looks(Trains):
        def apply(self, model, context=None):
            seen.append((self.config, context.seed, len(context.example), len(context.calibration)))
            return super().apply(model, context)

        def set_progress(self, student, progress):
            seen.append(progress)
            return {}

    check(Looks, targets="fc1")
    starts = [s for s in seen if isinstance(s, tuple)]
    points = [s for s in seen if not isinstance(s, tuple)]
    assert set(starts) == {(Full.Config(targets="fc1"), 0, 1, 1)} and len(starts) >= 3
    # A step from the start; what it tells at two points; taken up in the middle; and finished.
    assert points == [0.0, 0.0, 0.5, 0.5, 1.0]


def test_a_schedule_may_begin_beside_1_by_rounding():
    check(lambda t: (1 - 1e-7) * (1 - t))
    with pytest.raises(BrokenPromises, match="it gives 0.99 at t = 0: a fade begins at λ = 1"):
        check(lambda t: 0.99 * (1 - t))


def test_a_schedule_is_asked_from_its_first_point_to_its_last_in_even_steps():
    asked = []
    check(lambda t: asked.append(t) or 1 - t)
    points = sorted(set(asked))
    assert (points[0], points[-1]) == (0, 1) and len(points) > 32
    assert {late - early for early, late in itertools.pairwise(points)} == {points[1]}
    with pytest.raises(BrokenPromises, match="it gives -1: λ stays in"):
        check(lambda t: -1 if t == 1 else 1 - t)


def test_a_method_that_trains_nothing_is_asked_for_no_loss(small_bench):
    class Done(Trains):
        trains = False
        loss_terms = after_backward = None

    check(Done)


def test_what_broke_is_kept_line_by_line():
    broken = BrokenPromises("theirs", ["one", "two"])
    assert broken.broken == ("one", "two") and isinstance(broken, ValueError)
    assert str(broken) == "theirs breaks 2 of its promises:\none\ntwo"

"""What callback and loss do at each of a trainer's events, without a trainer."""

from types import SimpleNamespace

import pytest
import torch
from small_net import SmallNet, small_batch
from torch import nn
from transformers import TrainerState

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.hf_trainer import DistillationLoss, PCLoRACallback
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers, set_progress
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.tasks.losses import classification_loss, language_model_loss

X, LABELS = small_batch(), torch.tensor([0, 2, 1, -100])


def student_of(net: nn.Module, **options) -> nn.Module:
    config = PCLoRAConfig(**{"rank": 2, "init": "svd", "schedule": "linear", **options})
    student = get_pclora_model(net, config, example=X)
    return student


def state_at(step: int, steps: int = 10) -> TrainerState:
    return TrainerState(global_step=step, max_steps=steps)


def arguments(**given) -> SimpleNamespace:
    settings = {"learning_rate": 1e-3, "load_best_model_at_end": False, "warmup": 0}
    made = SimpleNamespace(**{**settings, **given})
    made.get_warmup_steps = lambda steps: made.warmup
    return made


class Named(SmallNet):
    """Takes its input by name and gives a mapping, as transformers' models do."""

    def forward(self, states, scale=None, labels=None, num_items_in_batch=None):
        states = states if scale is None else scale * states
        return {"logits": super().forward(states)}


@pytest.fixture
def pair():
    teacher = SmallNet()
    student = student_of(teacher)
    set_progress(student, 0.3)
    loss = DistillationLoss(student, teacher)
    yield student, teacher, loss
    loss.close()


def wanted(labels=LABELS) -> dict[str, torch.Tensor]:
    """Of another pair that is the same; a student has one distiller."""
    teacher = SmallNet()
    student = student_of(teacher)
    set_progress(student, 0.3)
    distiller = Distiller(student, teacher)
    terms = distiller.terms(X, labels)
    terms["loss"] = total_loss(terms, distiller.config)
    distiller.close()
    return terms


def test_the_loss_of_a_batch_is_the_distillers(pair):
    student, _, loss = pair
    terms = wanted()
    found = loss((student(X),), LABELS)
    torch.testing.assert_close(found, terms["loss"])
    means = loss.take_means()
    assert set(means) == {"task", "feature"} and loss.take_means() == {}
    assert means == {name: pytest.approx(float(terms[name].detach())) for name in means}


@pytest.mark.parametrize("items", [6, torch.tensor(6)])
def test_a_batch_weighs_its_share_of_the_labels_that_count(pair, items):
    student, _, loss = pair
    terms = wanted()
    found = loss((student(X),), LABELS, items)
    torch.testing.assert_close(found, terms["loss"] * 3 / 6)
    other = torch.tensor([-100, 1, -100, -100])
    loss((student(X),), other, items)
    task = (3 * terms["task"] + wanted(other)["task"]) / 4
    assert loss.take_means()["task"] == pytest.approx(float(task.detach()))


@pytest.mark.parametrize("items", [0, torch.tensor(0)])
def test_a_step_without_a_label_that_counts_teaches_nothing(pair, items):
    student, _, loss = pair
    none = torch.full((4,), -100)
    assert loss((student(X),), none, items) == 0
    assert loss.take_means() == {}


def test_the_first_of_a_texts_labels_is_no_word_to_guess(pair):
    student, teacher, loss = pair
    labels = torch.tensor([[1, 2, -100], [1, 2, 0]])
    words = DistillationLoss(student, teacher, task_loss=language_model_loss)
    assert float(words._share(labels, 6)) == pytest.approx(3 / 6)
    assert float(loss._share(labels, 6)) == pytest.approx(5 / 6)
    assert words.distiller.task_loss is language_model_loss
    assert loss.distiller.task_loss is classification_loss
    words.close()


def test_an_evaluation_is_the_task_alone_and_asks_no_teacher(pair):
    student, teacher, loss = pair
    teacher.forward = None
    with torch.no_grad():
        found = loss({"logits": student(X)}, LABELS, 6)
        torch.testing.assert_close(found, classification_loss(student(X), LABELS) * 3 / 6)
    assert loss.inputs == {} and loss.take_means() == {}


def test_the_teacher_sees_what_the_student_saw_and_no_labels():
    teacher = Named()
    student = student_of(teacher)
    loss, seen = DistillationLoss(student, teacher), []
    teacher.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append((args, kwargs, m.training)), with_kwargs=True
    )
    teacher.train()
    output = student(X, torch.tensor(2.0), labels=LABELS, num_items_in_batch=3)
    assert set(loss.inputs) == {"states", "scale"}
    loss(output, LABELS)
    ((args, kwargs, training),) = seen
    assert args == () and set(kwargs) == {"states", "scale"} and not training
    assert kwargs["states"] is X and teacher.training
    student(X, labels=LABELS)
    assert set(loss.inputs) == {"states"}, "what is None is not given"
    loss.close()


def test_a_batch_is_used_once_and_nothing_is_held_after_it_or_the_end(pair):
    student, _, loss = pair
    outputs = (student(X),)
    loss(outputs, LABELS)
    with pytest.raises(ValueError, match="the student of this DistillationLoss was not run"):
        loss(outputs, LABELS)
    student(X)
    loss.close()
    assert loss.inputs == {} and not student._forward_pre_hooks
    student(X)
    assert loss.inputs == {}


def test_lambda_follows_the_steps_that_are_done_and_the_base_goes_when_it_is_0():
    student = student_of(SmallNet(), fade_end=0.5)
    callback = PCLoRACallback(student)
    for step, lam in ((0, 1.0), (2, 0.6), (4, 0.2)):
        callback.on_step_begin(arguments(), state_at(step), None)
        assert callback.lam == pytest.approx(lam)
        assert all(m.lam == pytest.approx(lam) for m in pclora_layers(student).values())
        assert all(m.base is not None for m in pclora_layers(student).values())
    callback.on_step_end(arguments(), state_at(5), SimpleNamespace())
    assert callback.lam == 0 and all(m.base is None for m in pclora_layers(student).values())
    callback.on_train_end(arguments(), state_at(12), None)
    assert callback.lam == 0, "more steps than planned are the end"


def test_it_moves_the_trainers_model_and_needs_one():
    own, trained = student_of(SmallNet()), student_of(SmallNet())
    PCLoRACallback(own).on_step_begin(arguments(), state_at(3), None, model=trained)
    assert {float(m.lam) for m in pclora_layers(own).values()} == {1.0}
    assert {float(m.lam) for m in pclora_layers(trained).values()} == {0.5}
    PCLoRACallback().on_step_begin(arguments(), state_at(3), None, model=nn.DataParallel(own))
    assert {float(m.lam) for m in pclora_layers(own).values()} == {0.5}
    with pytest.raises(ValueError, match="PCLoRACallback has no student: pass one"):
        PCLoRACallback().on_step_begin(arguments(), state_at(3), None)
    with pytest.raises(ValueError, match="pass what get_pclora_model returned"):
        PCLoRACallback(SmallNet())


@pytest.mark.parametrize(
    ("rate", "is_refused"), [(1e-3, False), (1e38, True), (0.0, False), (1e-10, True)]
)
def test_rates_are_looked_at_before_the_first_step(rate, is_refused):
    student = student_of(SmallNet())
    groups = [{"lr": 1e-3}, {"lr": 0.0, "initial_lr": rate}]
    optimizer = SimpleNamespace(param_groups=groups)
    for settings, given in (
        (arguments(learning_rate=rate), {}),
        (arguments(learning_rate=1e38), {"optimizer": optimizer}),  # which the optimizer overrides
        (None, {"optimizer": optimizer}),
    ):
        callback = PCLoRACallback(student)
        if is_refused:
            with pytest.raises(ValueError, match="learning_rate"):
                callback.on_train_begin(settings, state_at(0), None, **given)
        else:
            callback.on_train_begin(settings, state_at(0), None, **given)
    PCLoRACallback(student).on_train_begin(None, state_at(0), None)


def test_a_training_that_is_taken_up_begins_at_the_students_lambda():
    student = student_of(SmallNet())
    set_progress(student, 0.3)
    callback = PCLoRACallback(student)
    callback.on_train_begin(arguments(), state_at(3), None)
    assert callback.lam == 0.5


def test_who_lost_its_base_is_trained_on_only_at_lambda_0():
    student = student_of(SmallNet())
    next(iter(pclora_layers(student).values())).drop_base()
    callback = PCLoRACallback(student)
    with pytest.raises(ValueError, match="begins at λ = 1, but the student lost its base"):
        callback.on_train_begin(arguments(), state_at(0), None)
    callback.on_train_begin(arguments(), state_at(6), None)


@pytest.mark.parametrize(("fade_end", "last"), [(1.0, "0.1"), (0.95, "0.053")])
def test_a_best_model_needs_an_evaluation_without_a_base(fade_end, last):
    student = student_of(SmallNet(), fade_end=fade_end)
    callback = PCLoRACallback(student)
    message = f"load_best_model_at_end: λ is still {last} at the last of 10 steps"
    with pytest.raises(ValueError, match=message):
        callback.on_train_begin(arguments(load_best_model_at_end=True), state_at(0), None)
    callback.on_train_begin(arguments(), state_at(0), None)
    early = PCLoRACallback(student_of(SmallNet(), fade_end=0.9))
    early.on_train_begin(arguments(load_best_model_at_end=True), state_at(0), None)
    one = student_of(SmallNet())
    with pytest.raises(ValueError, match="still 1 at the last of 1 steps"):
        PCLoRACallback(one).on_train_begin(
            arguments(load_best_model_at_end=True), state_at(0, 1), None
        )


@pytest.mark.parametrize("event", ["step", "save", "final_row"])
def test_no_student_that_was_trained_above_0_is_the_best(event):
    callback = PCLoRACallback(student_of(SmallNet(), fade_end=0.5))

    def after(step):
        callback.on_step_begin(arguments(), state_at(step), None)
        state = state_at(step + 1)
        state.best_metric, state.best_global_step, state.best_model_checkpoint = 0.9, 1, "there"
        if event == "step":
            callback.on_step_begin(arguments(), state, None)
        elif event == "save":
            callback.on_save(arguments(), state, None)
        else:
            callback.on_log(arguments(), state, None, logs={"train_runtime": 3.0})
        return state.best_metric, state.best_global_step, state.best_model_checkpoint

    assert after(2) == (None, None, None)
    assert after(6) == (0.9, 1, "there")


def test_an_ordinary_row_keeps_the_best():
    callback = PCLoRACallback(student_of(SmallNet()))
    state = state_at(1)
    state.best_metric = 0.9
    callback.on_log(arguments(), state, None, logs={"loss": 1.0})
    assert state.best_metric == 0.9


def test_rows_get_lambda_and_the_terms_since_the_last(pair):
    student, _, loss = pair
    callback = PCLoRACallback(student, loss=loss)
    callback.on_step_begin(arguments(), state_at(3), None)
    loss((student(X),), LABELS)
    state, logs = state_at(3), {"loss": 1.0}
    state.log_history = [{"loss": 2.0}, {"loss": 1.0}]
    callback.on_log(arguments(), state, None, logs=logs)
    assert set(logs) == {"loss", "lam", "task", "feature"} and logs["lam"] == 0.5
    assert state.log_history == [{"loss": 2.0}, logs]
    callback.on_log(arguments(), state_at(3), None, logs=(second := {}))
    assert second == {"lam": 0.5}


@pytest.mark.parametrize("asked", [True, False])
def test_a_jump_clears_the_moments_if_asked_and_the_rate_rises_again(asked):
    student = student_of(SmallNet(), schedule="identity", init="zeros", reset_moments=asked)
    callback, settings = PCLoRACallback(student), arguments(warmup=4)
    optimizer = SimpleNamespace(state={}, param_groups=[{"lr": 0.0}, {"lr": 0.0}])
    rates = []
    for step in range(12):
        optimizer.state["moments"] = step
        state = state_at(step, 12)
        callback.on_step_begin(settings, state, None, optimizer=optimizer)
        assert bool(optimizer.state) != (asked and step == 8), "λ is 0 from 0.6 of the steps on"
        for group in optimizer.param_groups:
            group["lr"] = 0.5  # as a scheduler sets it
        callback.on_pre_optimizer_step(settings, state, None, optimizer=optimizer)
        rates.append([group["lr"] for group in optimizer.param_groups])
    rising = [0.125, 0.25, 0.375, 0.5] if asked else [0.5] * 4
    assert rates == [[0.5, 0.5]] * 8 + [[rate, rate] for rate in rising]


@pytest.mark.parametrize(("steps", "rising"), [(40, 2), (50, 2), (10, 1)])
def test_without_a_warm_up_it_rises_over_a_twentieth_of_the_steps(steps, rising):
    student = student_of(SmallNet(), schedule="identity", init="zeros", reset_moments=True)
    callback = PCLoRACallback(student)
    optimizer = SimpleNamespace(state={}, param_groups=[{"lr": 1.0}])
    end = round(0.6 * steps)
    for step in (end - 1, end):
        state = state_at(step, steps)
        callback.on_step_begin(arguments(), state, None, optimizer=optimizer)
    callback.on_pre_optimizer_step(arguments(), state, None, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == 1 / rising


ASKED = ["should_log", "should_evaluate", "should_save", "should_training_stop"]


@pytest.mark.parametrize("asked", [*ASKED, "nothing", "the last step"])
def test_weights_must_be_finite_wherever_somebody_looks(asked):
    student = student_of(SmallNet())
    student.head.weight.data[0, 0] = torch.nan
    student.norm.weight.data[0] = torch.nan  # which does not train
    callback = PCLoRACallback(student)
    state = state_at(10 if asked == "the last step" else 3)
    control = SimpleNamespace(**{what: what == asked for what in ASKED})
    if asked == "nothing":
        callback.on_step_end(arguments(), state, control)
        return
    told = f"head.weight was not finite after step {state.global_step}: .*than 0.001 .a third"
    with pytest.raises(NotFinite, match=told):
        callback.on_step_end(arguments(), state, control)
    with pytest.raises(NotFinite, match="smaller learning_rate, more warmup_steps"):
        callback.on_train_end(None, state, control)

"""PC-LoRA inside transformers' own trainer."""

import pytest
import torch
import two_processes
from datasets import Dataset
from pairs import two_of
from safetensors.torch import load_file
from tiny import batch, tiny
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import integration_utils

from pclora_lab import DistillationLoss, PCLoRACallback
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.methods.pclora.schedules import base_weight_factor


@pytest.fixture
def pair():
    teacher = tiny("bert")
    return get_pclora_model(teacher, PCLoRAConfig(rank=2, init="svd")), teacher


QUIET = {
    "report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
    "use_cpu": True, "learning_rate": 1e-2, "per_device_train_batch_size": 4,
}  # fmt: skip


def make_trainer(student, tmp_path, steps=10, arguments=(), **more):
    rows = batch(tiny("bert"), 16)
    rows["labels"] = torch.arange(16) % 3
    settings = TrainingArguments(str(tmp_path), max_steps=steps, **QUIET | dict(arguments))
    table = Dataset.from_dict({name: values.tolist() for name, values in rows.items()})
    return Trainer(student, settings, train_dataset=table, eval_dataset=table, **more)


def fit(student, tmp_path, steps=10, **more):
    return make_trainer(student, tmp_path, steps, **more).train()


def test_the_trainer_fades_the_base_and_the_result_compresses(pair, tmp_path):
    student, teacher = pair
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    seen = []

    class Spy(PCLoRACallback):
        def on_step_end(self, *args, **kwargs):
            seen.append(float(next(iter(pclora_layers(student).values())).lam))

    loss = DistillationLoss(student, teacher)
    fit(student, tmp_path, compute_loss_func=loss, callbacks=[Spy(student)])
    wanted = [base_weight_factor(step / 10, "sine", 0.6) for step in range(10)]
    assert seen == pytest.approx(wanted)
    small = compress(student)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in before.values())
    assert all(torch.equal(p, before[name]) for name, p in teacher.named_parameters())


def test_its_loss_is_the_distillers(pair):
    student, teacher = pair
    inputs, labels = batch(student), torch.tensor([0, 1, 2, 0])
    distiller = Distiller(student, teacher)
    wanted = total_loss(distiller.terms(inputs, labels), student.pclora_config)
    distiller.close()
    loss = DistillationLoss(student, teacher)
    found = loss(student(**inputs), labels)
    torch.testing.assert_close(found, wanted)
    loss.close()
    student(**inputs)
    assert not student._forward_pre_hooks and loss.inputs == {}


def test_the_student_can_be_copied_while_the_hooks_are_on(pair):
    student, teacher = pair
    loss = DistillationLoss(student, teacher)
    set_progress(student, 0.59)
    loss(student(**batch(student)), torch.tensor([0, 1, 2, 0])).backward()
    callback = PCLoRACallback(student)
    callback.on_train_end(None, TrainerState(global_step=10, max_steps=10), None)
    assert compress(student) is not None


def test_a_training_that_was_stopped_early_keeps_its_base(pair):
    student, _ = pair
    callback = PCLoRACallback(student)
    callback.on_train_end(None, TrainerState(global_step=2, max_steps=10), None)
    assert callback.lam == pytest.approx(base_weight_factor(0.2, "sine", 0.6)) and callback.lam > 0


def test_a_model_that_does_not_fade_is_refused():
    with pytest.raises(ValueError, match="has no PCLoRALinear"):
        PCLoRACallback(tiny("bert"))


@pytest.mark.parametrize("items", [int, torch.tensor])
def test_accumulated_batches_give_what_one_large_batch_gives(pair, items):
    student, teacher = pair
    set_progress(student, 0.3)
    inputs, labels = batch(student, 8), torch.arange(8) % 3
    del inputs["attention_mask"]  # equal lengths
    gradients = []
    for parts in ([slice(0, 8)], [slice(0, 2), slice(2, 8)]):
        loss, total = DistillationLoss(student, teacher), 0.0
        student.zero_grad()
        for part in parts:
            outputs = student(**{name: values[part] for name, values in inputs.items()})
            value = loss(outputs, labels[part], num_items_in_batch=items(8))
            value.backward()
            total += value.item()
        gradients.append((total, {n: p.grad.clone() for n, p in student.named_parameters()
                                  if p.grad is not None}))  # fmt: skip
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_two_processes_give_what_one_gives(pair):
    """As the trainer does it: labels are counted over both, the loss is doubled, DDP averages."""
    student, teacher = pair
    set_progress(student, 0.3)
    inputs, labels = batch(student, 8), torch.arange(8) % 3
    del inputs["attention_mask"]
    loss = DistillationLoss(student, teacher)
    whole = loss(student(**inputs), labels, num_items_in_batch=8).item()
    halves = [
        2 * loss(student(**{n: v[part] for n, v in inputs.items()}), labels[part], 8).item()
        for part in (slice(0, 3), slice(3, 8))
    ]
    assert sum(halves) / 2 == pytest.approx(whole, rel=1e-5)


def test_two_real_processes_end_where_one_ends(tmp_path):
    with two_of(two_processes.__file__, tmp_path), torch.random.fork_rng():
        torch.manual_seed(0)
        weights, losses = two_processes.fit()
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first.pop("losses").tolist() == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(first, weights, rtol=1e-5, atol=1e-6)


def test_a_label_that_does_not_count_is_not_counted(pair):
    student, teacher = pair
    loss, inputs = DistillationLoss(student, teacher), batch(student)
    labels = torch.tensor([0, 1, -100, -100])
    once, half = (loss(student(**inputs), labels, items).item() for items in (2, 4))
    assert half == pytest.approx(once / 2)


@pytest.mark.parametrize("items", [None, 0, 5, torch.tensor(0), torch.tensor(5)])
def test_a_batch_in_which_no_label_counts_spoils_no_step(pair, items):
    student, teacher = pair
    set_progress(student, 0.3)
    inputs, distiller = batch(student), Distiller(student, teacher)
    feature = distiller.terms(inputs, torch.tensor([0, 1, 2, 0]))["feature"]
    loss = DistillationLoss(student, teacher)
    value = loss(student(**inputs), torch.full((4,), -100), num_items_in_batch=items)
    value.backward()
    # Alone it teaches its features; among others it weighs what its labels do, which is nothing.
    assert value.item() == pytest.approx(0.0 if items is not None else 0.8 * feature.item())
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients and all(bool(g.isfinite().all()) for g in gradients)
    with torch.no_grad():
        assert loss(student(**inputs), torch.full((4,), -100), items) == 0
    assert all(value == value for value in loss.take_means().values())


def test_rows_tell_lambda_and_the_terms_and_the_loss_is_their_sum(pair, tmp_path):
    student, teacher = pair
    loss = DistillationLoss(student, teacher)
    arguments = {"logging_strategy": "steps", "logging_steps": 2, "gradient_accumulation_steps": 2}
    trainer = make_trainer(
        student, tmp_path, 4, arguments, compute_loss_func=loss,
        callbacks=[PCLoRACallback(student, loss=loss)],
    )  # fmt: skip
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    wanted = [base_weight_factor(step / 4) for step in (2, 4)]
    assert [row["lam"] for row in rows] == pytest.approx(wanted)
    for row in rows:
        total = 0.2 * row["task"] + 0.8 * row["feature"]
        assert row["loss"] == pytest.approx(total, rel=1e-4)


def test_trackers_of_the_trainer_are_told_lambda_and_every_term(pair, tmp_path, monkeypatch):
    _, teacher = pair
    student = get_pclora_model(teacher, PCLoRAConfig(rank=2, logit_weight=0.5))
    told = []

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            told.append(dict(logs))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Tracker)
    arguments = {"logging_strategy": "steps", "logging_steps": 2, "eval_strategy": "steps",
                 "eval_steps": 2, "report_to": ["trackio"]}  # fmt: skip
    loss = DistillationLoss(student, teacher)
    trainer = make_trainer(
        student, tmp_path, 4, arguments, compute_loss_func=loss,
        callbacks=[PCLoRACallback(student, loss=loss)],
    )  # fmt: skip
    trainer.train()
    assert told == [
        {k: v for k, v in row.items() if k != "step"} for row in trainer.state.log_history
    ]
    steps = [row for row in told if "loss" in row]
    assert len(steps) == 2 and all(
        {"lam", "task", "feature", "logit"} <= row.keys() for row in steps
    )
    assert [row["lam"] for row in told if "eval_loss" in row] == [row["lam"] for row in steps]


def test_an_evaluation_runs_no_teacher_and_holds_nothing(pair):
    student, teacher = pair
    loss, inputs, labels = DistillationLoss(student, teacher), batch(student), torch.arange(4) % 3
    teacher.forward = None
    with torch.no_grad():
        outputs = student(**inputs)
        value = loss(outputs, labels, num_items_in_batch=torch.tensor(4))
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(outputs.logits, labels))
    assert loss.inputs == {} and loss.distiller.features.take(checked=False) == ({}, {})


def test_a_loss_for_another_student_is_refused(pair, tmp_path):
    student, teacher = pair
    other = get_pclora_model(teacher, PCLoRAConfig(rank=2))
    loss = DistillationLoss(other, teacher)
    with pytest.raises(ValueError, match="another model"):
        fit(student, tmp_path, compute_loss_func=loss)


def test_the_callback_moves_the_model_that_the_trainer_has(pair, tmp_path):
    student, teacher = pair
    made = []

    def model_init():
        made.append(get_pclora_model(teacher, PCLoRAConfig(rank=2)))
        return made[-1]

    for callback in (PCLoRACallback(), PCLoRACallback(student)):
        fit(None, tmp_path, 2, model_init=model_init, callbacks=[callback])
        assert next(iter(pclora_layers(made[-1]).values())).lam == 0 == callback.lam


BEST = {
    "load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1,
    "save_strategy": "steps", "metric_for_best_model": "score", "greater_is_better": True,
}  # fmt: skip


def falling(scores):
    left = iter(scores)
    return lambda _: {"score": next(left)}


@pytest.mark.parametrize("stopping", [[], [EarlyStoppingCallback(1)]])
def test_only_a_student_without_its_base_can_be_the_best(pair, tmp_path, stopping):
    student, _ = pair
    trainer = make_trainer(
        student, tmp_path, 8, BEST, compute_metrics=falling([9, 8, 7, 6, 5, 4, 3, 2]),
        callbacks=[PCLoRACallback(student), *stopping],
    )  # fmt: skip
    trainer.train()
    # λ = 0 from the step with number 5 on (5 / 8 > 0.6), which is the sixth.
    assert trainer.state.best_global_step == 6 and trainer.state.best_metric == 4
    assert compress(student) is not None


def test_a_best_model_that_no_evaluation_could_be_is_refused(pair, tmp_path):
    _, teacher = pair
    student = get_pclora_model(teacher, PCLoRAConfig(rank=2, fade_end=1.0))
    trainer = make_trainer(student, tmp_path, 4, BEST, callbacks=[PCLoRACallback(student)])
    with pytest.raises(ValueError, match="no evaluation sees the student without its base"):
        trainer.train()


def test_weights_of_another_lambda_do_not_compress(pair, tmp_path):
    student, _ = pair
    trainer = make_trainer(student, tmp_path, 8, {"save_strategy": "steps", "save_steps": 2},
                           callbacks=[PCLoRACallback(student)])  # fmt: skip
    trainer.train()
    assert compress(student) is not None
    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    student.load_state_dict(saved, strict=False)
    set_progress(student, 1.0)
    with pytest.raises(ValueError, match="last trained at λ = 0.68"):
        compress(student)


@pytest.mark.parametrize("reset", [False, True])
def test_moments_are_cleared_where_lambda_jumps_if_asked(pair, tmp_path, reset):
    _, teacher = pair
    config = PCLoRAConfig(rank=2, schedule="identity", fade_end=0.5, reset_moments=reset)
    student, seen = get_pclora_model(teacher, config), []

    class Spy(TrainerCallback):
        def on_optimizer_step(self, args, state, control, optimizer, **kwargs):
            counts = {int(values["step"]) for values in optimizer.state.values()}
            seen.append((max(counts), optimizer.param_groups[0]["lr"]))

    arguments = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2}
    fit_with = make_trainer(student, tmp_path, 8, arguments,
                            callbacks=[PCLoRACallback(student), Spy()])  # fmt: skip
    fit_with.train()
    steps, rates = zip(*seen, strict=True)
    assert steps == ((1, 2, 3, 4, 1, 2, 3, 4) if reset else (1, 2, 3, 4, 5, 6, 7, 8))
    assert rates[3] == rates[5] == 1e-2 and rates[4] == (5e-3 if reset else 1e-2)


def kept_bases(student):
    return [layer.base is not None for layer in pclora_layers(student).values()]


def test_the_base_goes_once_lambda_is_zero_for_good(pair, tmp_path):
    student, _ = pair
    seen = []

    class Spy(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            seen.append(any(kept_bases(student)))

    fit(student, tmp_path, 8, callbacks=[PCLoRACallback(student), Spy()])
    assert seen == [True] * 5 + [False] * 3  # 5 / 8 > 0.6
    assert compress(student) is not None


def test_a_schedule_that_comes_back_keeps_its_base_until_it_does_not(tmp_path):
    points = [(0, 1), (0.2, 0), (0.4, 0), (0.5, 0.3), (0.6, 0), (1, 0)]
    student = get_pclora_model(tiny("bert"), PCLoRAConfig(rank=2))
    vars(student)["pclora_config"] = config = PCLoRAConfig(rank=2)
    object.__setattr__(config, "schedule", points)
    callback, kept = PCLoRACallback(student), {}
    for step in (3, 5, 6):
        callback.on_step_begin(None, TrainerState(global_step=step, max_steps=10), None)
        kept[step] = all(kept_bases(student)), callback.lam
    assert kept == {3: (True, 0.0), 5: (True, 0.3), 6: (False, 0.0)}


@pytest.mark.parametrize("at", [2, 6])
def test_a_checkpoint_before_or_after_the_base_went_is_taken_up(pair, tmp_path, at):
    student, teacher = pair
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer = make_trainer(student, tmp_path, 8, saving, callbacks=[PCLoRACallback(student)])
    trainer.train()
    again = get_pclora_model(teacher, PCLoRAConfig(rank=2, init="svd"))
    rest = make_trainer(again, tmp_path, 8, saving, callbacks=[PCLoRACallback(again)])
    rest.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{at}"))
    small, wanted = compress(again), compress(student)
    for one, other in zip(small.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_second_training_of_a_student_without_its_base_is_refused(pair, tmp_path):
    student, _ = pair
    fit(student, tmp_path, 2, callbacks=[PCLoRACallback(student)])
    with pytest.raises(ValueError, match="begins at λ = 1, but the student lost its base"):
        fit(student, tmp_path, 2, callbacks=[PCLoRACallback(student)])

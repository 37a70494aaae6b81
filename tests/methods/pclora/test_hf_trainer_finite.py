"""A training in transformers' own trainer that goes to infinity ends with its place and a cure."""

import math

import pytest
import torch
from datasets import Dataset
from tiny import batch, tiny
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pclora_lab import PCLoRACallback, compress
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers, set_progress
from pclora_lab.nn.layers.finite import NotFinite

QUIET = {
    "report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
    "use_cpu": True, "per_device_train_batch_size": 4, "max_steps": 4,
}  # fmt: skip


@pytest.fixture
def student():
    return get_pclora_model(tiny("bert"), PCLoRAConfig(rank=2, init="svd"))


def fit(student, folder, *others, **arguments):
    rows = {**batch(tiny("bert"), 16), "labels": torch.arange(16) % 3}
    table = Dataset.from_dict({name: values.tolist() for name, values in rows.items()})
    settings = TrainingArguments(str(folder), **QUIET | arguments)
    callbacks = [PCLoRACallback(student), *others]
    trainer = Trainer(student, settings, train_dataset=table, callbacks=callbacks)
    trainer.train()
    return trainer


class Break(TrainerCallback):
    """Puts a NaN where a step of an optimizer could have."""

    def __init__(self, step):
        self.step = step

    def on_optimizer_step(self, args, state, control, model, **kwargs):
        if state.global_step == self.step:
            with torch.no_grad():
                next(iter(pclora_layers(model).values())).A[0, 0] = math.nan


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        (0, {"save_strategy": "steps", "save_steps": 2}),
        (0, {"logging_strategy": "steps", "logging_steps": 2}),
        (3, {}),
    ],
)
def test_weights_that_are_not_finite_are_neither_saved_nor_called_a_result(
    student, tmp_path, step, arguments
):
    with pytest.raises(NotFinite, match=r"A was not finite after step [24]: train again .* than"):
        fit(student, tmp_path, Break(step), **arguments)
    assert not list(tmp_path.glob("checkpoint-*"))
    set_progress(student, 1.0)
    with pytest.raises(NotFinite, match="weight of BertForSequence.* diverged"):
        compress(student, allow_unfaded=True)


def test_a_rate_that_is_too_high_is_said(student, tmp_path):
    with pytest.raises(NotFinite, match=r"learning_rate than 1e\+29"):
        fit(student, tmp_path, learning_rate=1e29, max_grad_norm=0.0)


@pytest.mark.parametrize("rate", [1e38, 1e300])
@pytest.mark.parametrize("kind", ["linear", "constant_with_warmup"])
def test_a_rate_that_no_step_can_have_is_refused_before_the_first(student, tmp_path, rate, kind):
    before = {name: p.clone() for name, p in student.named_parameters()}
    with pytest.raises(ValueError, match=r"learning_rate is 1e\+\d+: a learning rate of more than"):
        fit(student, tmp_path, learning_rate=rate, lr_scheduler_type=kind, warmup_steps=2)
    assert all(torch.equal(p, before[name]) for name, p in student.named_parameters())


def test_a_training_that_stays_finite_ends_as_before(student, tmp_path):
    fit(student, tmp_path, learning_rate=1e-2, logging_strategy="steps", logging_steps=1)
    assert compress(student) is not None


def test_a_student_that_is_compiled_is_told_of_by_its_own_names(student):
    """Not by those of the wrapper around it, which no configuration and no file has."""
    callback, args = PCLoRACallback(), TrainingArguments(report_to=[], use_cpu=True)
    name, layer = next(iter(pclora_layers(student).items()))
    layer.A.data[0, 0] = math.nan
    state, control = TrainerState(global_step=1, max_steps=4), TrainerControl(should_log=True)
    with pytest.raises(NotFinite, match=f"^{name}.A was not finite"):
        callback.on_step_end(args, state, control, model=torch.compile(student))

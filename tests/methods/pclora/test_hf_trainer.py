"""PC-LoRA inside transformers' own trainer."""

import pytest
import torch
from datasets import Dataset
from tiny import batch, tiny
from transformers import Trainer, TrainerState, TrainingArguments

from pclora_lab import DistillationLoss, PCLoRACallback
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.methods.pclora.schedules import base_weight_factor


@pytest.fixture
def pair():
    teacher = tiny("bert")
    return get_pclora_model(teacher, PCLoRAConfig(rank=2, init="svd")), teacher


def fit(student, tmp_path, steps=10, **more):
    rows = batch(student, 16)
    rows["labels"] = torch.arange(16) % 3
    arguments = TrainingArguments(
        str(tmp_path), max_steps=steps, per_device_train_batch_size=4, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
        learning_rate=1e-2,
    )  # fmt: skip
    table = Dataset.from_dict({name: values.tolist() for name, values in rows.items()})
    return Trainer(student, arguments, train_dataset=table, **more).train()


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
    assert not student._forward_pre_hooks and set(loss.inputs) == {"input_ids", "attention_mask"}


def test_the_student_can_be_copied_while_the_hooks_are_on(pair):
    student, teacher = pair
    loss = DistillationLoss(student, teacher)
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

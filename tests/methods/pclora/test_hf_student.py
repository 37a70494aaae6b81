"""A student that transformers saves opens as itself, before and after its base went."""

import json

import pytest
import torch
from datasets import Dataset
from tiny_hf import batch, logits, opened, seeded, write_model
from transformers import AutoModel, Trainer, TrainingArguments

from pclora_lab import (
    DistillationLoss,
    PCLoRACallback,
    compress,
    from_pretrained,
    get_pclora_model,
    load_model,
    set_progress,
)
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.hf_student import describe_student
from pclora_lab.methods.pclora.model import pclora_layers
from pclora_lab.methods.pclora.removal import drop_base
from pclora_lab.quiet import quiet

KINDS = ("bert", "gpt2", "vit")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    root = tmp_path_factory.mktemp("dense")
    return {kind: write_model(root / kind, kind) for kind in KINDS}


def student_of(kind, folder, progress=0.3, **options):
    """With adapters that were moved, as in training."""
    config = PCLoRAConfig(**{"rank": 2, "init": "svd", "train_norms": True, **options})
    student = get_pclora_model(opened(kind, folder), config)
    set_progress(student, progress)
    for parameter in student.parameters():
        if parameter.requires_grad:
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=seeded(2))
    return student


@pytest.mark.parametrize("progress", [0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_door_opens_a_student_as_itself(kind, progress, dense, tmp_path):
    student = student_of(kind, dense[kind], progress)
    if progress == 1.0:
        drop_base(student, allow_unfaded=True)
    student.save_pretrained(tmp_path / "student")
    again = opened(kind, tmp_path / "student")
    assert torch.equal(logits(again, kind), logits(student, kind)) and not again.training
    with quiet():
        base = AutoModel.from_pretrained(tmp_path / "student")
    with torch.no_grad():
        states = [m(**batch(kind)).last_hidden_state for m in (base, student.base_model)]
    assert torch.equal(*states)
    assert again.pclora_config == student.pclora_config
    assert again.pclora_targets == student.pclora_targets
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (again, student)]
    assert trained[0] == trained[1] and trained[0]
    state, wanted = again.state_dict(), student.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[n], t) or t.isnan().all() for n, t in wanted.items())
    # Saved once more it is the same, and the finished model is the same too.
    again.save_pretrained(tmp_path / "again")
    files = [(tmp_path / name / "config.json").read_bytes() for name in ("student", "again")]
    assert files[0] == files[1]
    for model in (again, student):
        set_progress(model, 1.0)
    assert torch.equal(logits(compress(again), kind), logits(compress(student), kind))


def test_a_table_of_words_and_drawn_schedules_are_kept(dense, tmp_path):
    points = ((0.0, 1.0), (0.5, 0.4), (1.0, 0.0))
    student = student_of("bert", dense["bert"], embeddings="low_rank", schedule=points, scale=2.0)
    student.save_pretrained(tmp_path)
    again = opened("bert", tmp_path)
    assert torch.equal(logits(again, "bert"), logits(student, "bert"))
    assert again.pclora_config == student.pclora_config
    assert describe_student(again) == describe_student(student)
    assert type(again.get_input_embeddings()) is type(student.get_input_embeddings())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_or_asked_for(dtype, dense, tmp_path):
    student = student_of("bert", dense["bert"])
    student.save_pretrained(tmp_path / "single")
    student.to(dtype).save_pretrained(tmp_path / "half")
    for again in (
        opened("bert", tmp_path / "half"),
        opened("bert", tmp_path / "single", dtype=dtype),
    ):
        assert {p.dtype for p in again.parameters()} == {dtype}
        assert torch.equal(logits(again, "bert"), logits(student, "bert"))
    single = opened("bert", tmp_path / "half", dtype=torch.float32)
    assert {p.dtype for p in single.parameters()} == {torch.float32}


def test_our_own_doors_say_what_opens_it_and_what_to_save(dense, tmp_path):
    student = get_pclora_model(load_model(dense["bert"]), PCLoRAConfig(rank=2))
    student.save_pretrained(tmp_path)
    for door in (from_pretrained, load_model):
        with pytest.raises(ValueError, match=r"own classes opens .AutoModelFor….. For a finished"):
            door(tmp_path)
    again = opened("bert", tmp_path)
    assert again.pclora_class_names == student.pclora_class_names


def change_student(folder, change):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values["quantization_config"]["student"])
    path.write_text(json.dumps(values))


LAYER = "bert.encoder.layer.0.output.dense"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(kind="of tomorrow"), "can't be opened: it is .*a student in the"),
        (lambda s: s.pop("kind"), "can't be opened: it is .*a student in the"),
        (lambda s: s.pop("layers"), "config.json: student lacks layers"),
        (lambda s: s["layers"][LAYER].update(rank="all"), f"layers.{LAYER}.rank is 'all': it must"),
        (lambda s: s["layers"][LAYER].update(rank=10**8), f"layers.{LAYER}.rank is 100000000: it"),
        (lambda s: s["layers"].update(bert=s["layers"].pop(LAYER)), "layer .bert., a BertMo"),
        (lambda s: s["layers"].update(odd=s["layers"].pop(LAYER)), "names layer 'odd', which the"),
        (lambda s: s["config"].update(odd=1), "PCLoRAConfig has no odd"),
        (lambda s: s["config"].update(fade_end=7), "fade end q is 7"),
    ],
)  # fmt: skip
def test_what_can_not_be_a_student_is_refused(change, message, dense, tmp_path):
    student_of("bert", dense["bert"]).save_pretrained(tmp_path)
    change_student(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        opened("bert", tmp_path)


def test_a_trainers_checkpoints_are_opened_and_taken_up(dense, tmp_path):
    rows = {"input_ids": torch.randint(5, 90, (16, 9), generator=seeded(3)).tolist()}
    table = Dataset.from_dict({**rows, "labels": [0, 1, 2, 0] * 4})
    settings = TrainingArguments(
        str(tmp_path), max_steps=8, save_steps=2, report_to=[], use_cpu=True, disable_tqdm=True,
        logging_strategy="no", learning_rate=1e-2,
    )  # fmt: skip
    teacher, ends = opened("bert", dense["bert"]), []
    for at in (0, 2, 6):  # with the base, and without
        start = str(tmp_path / f"checkpoint-{at}") if at else None
        if start is None:
            student = get_pclora_model(teacher, PCLoRAConfig(rank=2, init="svd"))
        else:
            student = opened("bert", start)
        bases = [layer.base for layer in pclora_layers(student).values()]
        assert all((base is None) == (at == 6) for base in bases)
        loss = DistillationLoss(student, teacher)
        trainer = Trainer(
            student, settings, train_dataset=table, compute_loss_func=loss,
            callbacks=[PCLoRACallback(student, loss=loss)],
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=start)
        loss.close()
        ends.append(student)
    trainer.save_model(str(tmp_path / "end"))
    ends.append(opened("bert", tmp_path / "end"))
    first, *others = (logits(compress(student), "bert") for student in ends)
    assert all(torch.equal(first, other) for other in others)

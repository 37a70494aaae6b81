"""Models, students, teachers and batches on a pretended GPU, moved in every order."""

import copy
import weakref

import pytest
import torch
from datasets import Dataset
from device_ledger import LEDGER
from device_tensor import OnGPU
from pretend_cuda import PretendCuda
from tiny import batch, tiny
from torch import nn
from transformers import Trainer, TrainingArguments

from pclora_lab import (
    DistillationLoss,
    Distiller,
    PCLoRACallback,
    PCLoRAConfig,
    compress,
    get_pclora_model,
    set_progress,
    total_loss,
)
from pclora_lab.methods import input_moments
from pclora_lab.methods.pclora import model as pclora
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.model import get_snella_model
from pclora_lab.training.evaluation import accuracy

LABELS = torch.arange(4) % 3


@pytest.fixture
def gpu():
    with PretendCuda() as pretended:
        yield pretended


def places(model: nn.Module) -> set[str]:
    return {str(p.device) for p in (*model.parameters(), *model.buffers())}


def loop(model, student, inputs, labels):
    """The README's."""
    teach = Distiller(student, model)
    optimizer = torch.optim.AdamW(p for p in student.parameters() if p.requires_grad)
    for step in range(3):
        set_progress(student, step / 3)
        total_loss(teach.terms(inputs, labels), student.pclora_config).backward()
        optimizer.step()
        optimizer.zero_grad()
    set_progress(student, 1.0)
    return compress(student)


@pytest.mark.parametrize("who", ["both", "student", "teacher", "model"])
def test_a_loop_of_your_own_runs_whoever_was_moved(gpu, who):
    model = tiny("vit")
    if who == "model":
        model.to("cuda")
    student = get_pclora_model(model, PCLoRAConfig(rank=2, init="svd"))
    if who in ("both", "student"):
        student.to("cuda")
        assert places(model) == {"cuda:0"}
    if who in ("both", "teacher"):
        model.to("cuda")
    small = loop(model, student, batch(tiny("vit")).cuda(), LABELS.cuda())
    assert places(small) == places(model) == {"cuda:0"}
    assert isinstance(next(small.parameters()), OnGPU)


def test_student_and_teacher_still_share_their_weights_after_a_move(gpu):
    model = tiny("vit")
    student = get_pclora_model(model, PCLoRAConfig(rank=2)).to("cuda")
    for name, layer in pclora.pclora_layers(student).items():
        assert layer.base.weight is model.get_submodule(name).weight


def test_a_teacher_that_shares_nothing_follows_its_student(gpu):
    student = get_pclora_model(tiny("vit"), PCLoRAConfig(rank=2)).to("cuda")
    other = tiny("vit")
    Distiller(student, other).terms(batch(tiny("vit")).cuda(), LABELS.cuda())
    assert places(other) == {"cuda:0"} == places(student)


def of_pclora(model, **more):
    return get_pclora_model(
        model, PCLoRAConfig(rank=4, targets=more.pop("targets", "blocks")), **more
    )


def of_snella(model, **more):
    return get_snella_model(
        model, SNELLAConfig(rank=4, targets=more.pop("targets", "blocks")), **more
    )


BOTH = pytest.mark.parametrize("make", [of_pclora, of_snella])


@BOTH
def test_a_cast_of_the_student_leaves_no_model_in_two_precisions(make):
    model = tiny("vit")
    make(model).bfloat16()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@BOTH
def test_a_move_of_the_student_tears_no_model_apart(gpu, make):
    model = tiny("bert")
    student = make(model).to("cuda")
    assert places(model) == {"cuda:0"}
    student.to("cpu")
    assert places(model) == {"cpu"}


def test_a_copy_of_a_student_moves_alone(gpu):
    model = tiny("vit")
    copy.deepcopy(get_pclora_model(model, PCLoRAConfig(rank=2))).to("cuda")
    assert places(model) == {"cpu"}


def test_calibration_batches_may_be_anywhere(gpu):
    model = tiny("vit").to("cuda")
    config = PCLoRAConfig(rank=2, init="activation_svd")
    one, other = (
        get_pclora_model(model, config, calibration=[inputs], generator=torch.Generator())
        for inputs in (batch(tiny("vit")), batch(tiny("vit")).cuda())
    )
    names = dict(one.named_parameters())
    assert all(torch.equal(p, names[name]) for name, p in other.named_parameters())


@BOTH
def test_an_example_may_be_anywhere(gpu, make):
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).to("cuda")
    student = make(model, targets="0", example=torch.randn(2, 32))
    assert "cuda:0" in places(student)


def test_measured_inputs_are_let_go_of_layer_by_layer(monkeypatch):
    alive, seen = weakref.WeakSet(), []

    class Moments(input_moments.InputMoments):
        def __init__(self, *args):
            super().__init__(*args)
            alive.add(self)

    init = pclora.init_residual
    monkeypatch.setattr(input_moments, "InputMoments", Moments)
    monkeypatch.setattr(
        pclora, "init_residual", lambda *args: (seen.append(len(alive)), init(*args))
    )
    model = tiny("vit")
    config = PCLoRAConfig(rank=2, init="activation_svd")
    get_pclora_model(model, config, calibration=[batch(model)])
    assert seen == sorted(seen, reverse=True) and seen[-1] == 1 < seen[0]


def test_a_default_device_moves_no_draw(gpu):
    wanted = get_pclora_model(tiny("bert"), PCLoRAConfig(rank=2, embeddings="low_rank"),
                              generator=torch.Generator().manual_seed(0))  # fmt: skip
    model = tiny("bert")
    with torch.device("cuda"):
        student = get_pclora_model(model, wanted.pclora_config,
                                   generator=torch.Generator().manual_seed(0))  # fmt: skip
    found = student.state_dict()
    assert all(torch.equal(value.nan_to_num(), found[name].nan_to_num())
               for name, value in wanted.state_dict().items())  # fmt: skip


def test_evaluation_holds_no_features(gpu):
    from pclora_lab.data.loading import load_data
    from pclora_lab.models.adapting import preprocessing_of
    from pclora_lab.models.loading import load_model

    model = load_model("vit_digits").to("cuda")
    batches = preprocessing_of(model).batches(load_data("digits").test)
    student, peaks = get_pclora_model(model, PCLoRAConfig(rank=8)), []
    accuracy(student, batches, limit=16)
    for taps in (False, True):
        distiller = Distiller(student, model) if taps else None
        start = LEDGER.peak = LEDGER.held
        accuracy(student, batches, limit=16)
        peaks.append((LEDGER.peak - start, LEDGER.held - start))
    assert distiller is not None and peaks[1] == pytest.approx(peaks[0], rel=0.5)


def test_the_trainer_moves_the_student_and_its_teacher_goes_along(gpu, tmp_path):
    """The README's, without ``use_cpu``."""
    teacher = tiny("bert")
    student = get_pclora_model(teacher, PCLoRAConfig(rank=2, init="svd"))
    rows = batch(tiny("bert"), 8)
    rows["labels"] = torch.arange(8) % 3
    arguments = TrainingArguments(
        str(tmp_path), max_steps=3, report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, per_device_train_batch_size=4,
    )  # fmt: skip
    Trainer(
        student,
        arguments,
        train_dataset=Dataset.from_dict({name: value.tolist() for name, value in rows.items()}),
        compute_loss_func=DistillationLoss(student, teacher),
        callbacks=[PCLoRACallback(student)],
    ).train()
    assert places(student) == places(teacher) == {"cuda:0"}
    assert places(compress(student)) == {"cuda:0"}

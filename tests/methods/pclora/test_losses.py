"""Loss terms against hand and numpy computations; the teacher teaches and stays as it is."""

import gc

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.utils.checkpoint import checkpoint

from pclora_lab.methods.distillation.losses import feature_loss, logit_loss
from pclora_lab.methods.distillation.taps import FeatureTaps
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import DistillationTerms, Distiller, total_loss
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.nn.surgery import find_targets

LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])


def make_pair(vit: nn.Module, progress: float = 0.3, **options) -> tuple[nn.Module, Distiller]:
    student = get_pclora_model(vit, PCLoRAConfig(rank=4, **options))
    set_progress(student, progress)
    return student, Distiller(student, vit)


def adapter_gradients(student: nn.Module) -> list[torch.Tensor]:
    layers = (student.get_submodule(name) for name in student.pclora_targets)
    return [layer.B.grad for layer in layers]


def test_feature_loss_is_the_mean_over_taps_of_the_mean_square():
    student = {"small": torch.tensor([[1.0, 3.0]]), "large": torch.full((2, 3, 4), 0.5)}
    teacher = {"small": torch.tensor([[0.0, 0.0]]), "large": torch.full((2, 3, 4), -0.5)}
    assert feature_loss(student, teacher).item() == pytest.approx(((1 + 9) / 2 + 1) / 2)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_logit_loss_equals_numpy(temperature):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 5, generator=generator) * 3 for _ in range(2))

    def softmax(logits):
        exp = np.exp(logits.double().numpy() / temperature)
        return exp / exp.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    want = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert logit_loss(student, teacher, temperature).item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("alpha", "logit_weight", "want"),
    [(1.0, 0, 2.0), (0.0, 0, 3.0), (0.2, 0, 2.8), (0.2, 0.5, 4.8)],
)
def test_alpha_weighs_the_task_against_what_is_distilled(alpha, logit_weight, want):
    terms = {"task": torch.tensor(2.0), "feature": torch.tensor(3.0)}
    if logit_weight:
        terms["logit"] = torch.tensor(5.0)
    config = PCLoRAConfig(alpha=alpha, logit_weight=logit_weight)
    assert total_loss(terms, config).item() == pytest.approx(want)


@pytest.mark.parametrize(
    ("options", "names"),
    [({}, {"task", "feature"}), ({"logit_weight": 0.5}, {"task", "feature", "logit"})],
)
def test_terms_are_named_and_equal_their_definitions(vit, images, options, names):
    student, distiller = make_pair(vit, **options)
    terms = distiller.terms(images, LABELS)
    assert set(terms) == names
    log_p = torch.log_softmax(student(images), -1)
    task = -log_p[torch.arange(8), LABELS].mean()
    torch.testing.assert_close(terms["task"], task)
    if "logit" in names:
        torch.testing.assert_close(terms["logit"], logit_loss(student(images), vit(images), 2.0))


@pytest.mark.parametrize(
    ("taps", "names"),
    [("blocks", ["blocks.0", "blocks.1"]), ("linears", None)],
)
def test_taps_decide_which_outputs_are_compared(vit, images, taps, names):
    names = names or list(find_targets(vit))
    student, distiller = make_pair(vit, taps=taps)
    term = distiller.terms(images, LABELS)["feature"]
    assert list(distiller.features.names) == names
    with FeatureTaps(student, names) as ours, FeatureTaps(vit, names) as theirs:
        student(images), vit(images)
        gaps = [(ours.outputs[n] - theirs.outputs[n]).square().mean() for n in names]
    torch.testing.assert_close(term, sum(gaps) / len(gaps))
    assert term > 0


@pytest.mark.parametrize("taps", ["linears", "blocks"])
@pytest.mark.parametrize("name", ["feature", "logit"])
def test_distillation_has_a_gradient_in_every_adapter(vit, images, name, taps):
    student, distiller = make_pair(vit, taps=taps, logit_weight=1.0)
    distiller.terms(images, LABELS)[name].backward()
    assert all(grad.abs().sum() > 0 for grad in adapter_gradients(student))


def test_the_features_agree_while_the_student_is_the_model(vit, images):
    _, distiller = make_pair(vit, progress=0.0)
    assert distiller.terms(images, LABELS)["feature"].item() == 0.0


def test_training_leaves_the_teachers_tensors_and_modes_unchanged(vit, images):
    before = {name: t.clone() for name, t in vit.state_dict().items()}
    student, distiller = make_pair(vit.train(), progress=0.0, logit_weight=1.0)
    vit.blocks[0].eval()
    modes = [module.training for module in vit.modules()]
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1)
    for step in range(5):
        set_progress(student, step / 5)
        total_loss(distiller.terms(images, LABELS), student.pclora_config).backward()
        optimizer.step()
    assert all(torch.equal(t, before[name]) for name, t in vit.state_dict().items())
    assert all(p.grad is None for p in vit.parameters())
    assert [module.training for module in vit.modules()] == modes


def test_a_teachers_batch_statistics_do_not_move():
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 5)).train()
    x = torch.randn(8, 8) + 3
    student = get_pclora_model(net, PCLoRAConfig(rank=2, targets="^0$"), example=x)
    before = net[1].running_mean.clone()
    Distiller(student, net).terms(x, LABELS)
    assert torch.equal(net[1].running_mean, before) and net[1].training
    assert not torch.equal(student[1].running_mean, before), "the student's own do move"


def test_other_classes_in_teacher_and_student_are_refused_for_the_logit_term(vit, images):
    student, distiller = make_pair(vit, logit_weight=1.0)
    student.head = nn.Linear(32, 7)
    with pytest.raises(ValueError, match="teacher has 5 classes and the student 7.*logit_weight=0"):
        distiller.terms(images, LABELS)


def test_copies_made_meanwhile_do_not_write_into_the_taps(vit, images):
    student, distiller = make_pair(vit, taps="blocks", progress=1.0)
    with distiller.features.recording():
        distiller.teacher_logits(images), student(images)
        get_pclora_model(vit, PCLoRAConfig(rank=2))(images + 1)
        compress(student)(images + 1)
    ours, theirs = distiller.features.take()
    assert list(ours) == list(theirs) == ["blocks.0", "blocks.1"]


def test_nothing_is_held_once_it_was_read_or_where_nothing_is_trained(vit, images):
    student, distiller = make_pair(vit)
    distiller.terms(images, LABELS)
    student(images), vit(images)
    with torch.no_grad():
        student(images)
        assert distiller.terms(images, LABELS)["feature"] > 0, "asked for, it is computed"
    assert [taps.outputs for taps in distiller.features._taps] == [{}, {}]


def test_hooks_do_not_pile_up_and_go_with_their_distiller(vit, images):
    student, first = make_pair(vit)
    second = Distiller(student, vit)
    layer = student.get_submodule("blocks.0.mlp.fc1")

    def count():
        return len(layer._forward_hooks), len(vit.get_submodule("blocks.0.mlp.fc1")._forward_hooks)

    assert count() == (1, 1)
    terms = [d.terms(images, LABELS)["feature"] for d in (first, second, first)]
    assert terms[0] == terms[1] == terms[2] > 0 and count() == (1, 1)
    del first, second, terms
    gc.collect()
    assert count() == (0, 0)


class Twice(nn.Module):
    """One layer, run as often as it is told."""

    def __init__(self, runs=2):
        super().__init__()
        self.runs, self.layer = runs, nn.Linear(5, 5)

    def forward(self, x):
        for _ in range(self.runs):
            x = self.layer(x).relu()
        return x


def test_every_call_of_a_layer_is_imitated():
    teacher, x, ours, theirs = Twice(3), torch.randn(8, 5), [], []
    config = PCLoRAConfig(rank=2, targets="^layer$")
    student = get_pclora_model(teacher, config, example=x[:1])
    set_progress(student, 0.3)
    for model, seen in ((student, ours), (teacher, theirs)):
        model.layer.register_forward_hook(lambda module, args, y, seen=seen: seen.append(y))
    term = Distiller(student, teacher).terms(x, LABELS)["feature"]
    gaps = [(a - b).square().mean() for a, b in zip(ours, theirs, strict=True)]
    assert len(gaps) == 3
    torch.testing.assert_close(term, sum(gaps) / 3)


def test_a_layer_that_runs_more_often_in_one_of_the_two_is_refused():
    teacher, x = Twice(2), torch.randn(8, 5)
    config = PCLoRAConfig(rank=2, targets="^layer$")
    student = get_pclora_model(teacher, config, example=x[:1])
    student.runs = 3
    with pytest.raises(ValueError, match=r"layer \(3\) ran in the student only"):
        Distiller(student, teacher).terms(x, LABELS)


def test_albert_s_shared_block_counts_as_often_as_it_runs():
    config = transformers.AlbertConfig(
        vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=16, num_labels=5,
    )  # fmt: skip
    teacher = transformers.AlbertForSequenceClassification(config).eval()
    inputs = {"input_ids": torch.arange(48).view(8, 6)}
    student = get_pclora_model(teacher, PCLoRAConfig(rank=2, targets="ffn_output"), example=inputs)
    distiller = Distiller(student, teacher)
    with distiller.features.recording():
        distiller.teacher_logits(inputs), student(**inputs)
    assert len(distiller.features.take()[0]) == 3


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_teaches_or_is_refused(vit, images, reentrant):
    student, distiller = make_pair(vit)
    run = student.blocks.forward
    student.blocks.forward = lambda x: checkpoint(run, x, use_reentrant=reentrant)
    images.requires_grad_()
    if reentrant:
        with pytest.raises(ValueError, match="blocks.0.attn.qkv runs without gradients.*False"):
            distiller.terms(images, LABELS)
        assert [taps.outputs for taps in distiller.features._taps] == [{}, {}]
    else:
        distiller.terms(images, LABELS)["feature"].backward()
        assert all(grad.abs().sum() > 0 for grad in adapter_gradients(student))


def test_closing_removes_every_hook(vit, images):
    student, distiller = make_pair(vit)
    distiller.terms(images, LABELS)
    distiller.close()
    assert not any(m._forward_hooks for model in (student, vit) for m in model.modules())


class Words(nn.Module):
    """Takes words, perhaps with a mask or a picture, which it does not look at."""

    def __init__(self):
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask=None, pixel_values=None):
        return self.head(self.body(self.words(input_ids)).mean(1))


@pytest.fixture
def words():
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    teacher = Words()
    config = PCLoRAConfig(rank=1, targets="body", init="zeros")
    student = get_pclora_model(teacher, config, example={"input_ids": ids})
    set_progress(student, 0.5)
    return student, teacher, ids


def test_padding_of_a_text_is_not_imitated(words):
    student, teacher, ids = words
    mask = (ids > 0).long()
    gap = (student.body(student.words(ids)) - teacher.body(teacher.words(ids))).square()
    distiller, labels = Distiller(student, teacher), torch.tensor([0, 1])

    def feature(**inputs):
        return distiller.terms({"input_ids": ids, **inputs}, labels)["feature"]

    torch.testing.assert_close(feature(attention_mask=mask), gap[mask.bool()].mean())
    torch.testing.assert_close(feature(), gap.mean())
    assert torch.equal(feature(), feature(attention_mask=torch.ones_like(mask)))
    # A picture's tokens are none of the text's, whose mask says nothing about them.
    picture = feature(attention_mask=mask, pixel_values=torch.zeros(2, 3, 4, 4))
    torch.testing.assert_close(picture, gap.mean())


def test_the_config_is_the_students_and_the_task_is_classes_unless_others_are_given(vit, images):
    student, distiller = make_pair(vit, logit_weight=0.5)
    assert distiller.config is student.pclora_config
    other = PCLoRAConfig(rank=4, taps="blocks")
    theirs = Distiller(student, vit, other, task_loss=lambda logits, labels: logits.sum() * 0 + 7)
    terms = theirs.terms(images, LABELS)
    assert set(terms) == {"task", "feature"} and terms["task"] == 7
    assert list(theirs.features.names) == ["blocks.0", "blocks.1"]


def test_the_terms_of_a_run_come_with_their_sum(vit, images):
    student, distiller = make_pair(vit, logit_weight=0.5, alpha=0.3)
    wanted = distiller.terms(images, LABELS)
    made = DistillationTerms(student, vit)
    found = made(images, LABELS, 0.9)
    assert set(found) == {"loss", "task", "feature", "logit"}
    torch.testing.assert_close(found["loss"], total_loss(wanted, student.pclora_config))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    made.close()
    assert not any(m._forward_hooks for model in (student, vit) for m in model.modules())


def test_the_logit_term_has_the_configs_temperature_and_classes_matter_to_it_alone(vit, images):
    student, distiller = make_pair(vit, logit_weight=0.5, temperature=5.0)
    found = distiller.terms(images, LABELS)["logit"]
    torch.testing.assert_close(found, logit_loss(student(images), vit(images), 5.0))
    student, distiller = make_pair(vit)
    student.head = nn.Linear(32, 7)
    assert set(distiller.terms(images, LABELS)) == {"task", "feature"}

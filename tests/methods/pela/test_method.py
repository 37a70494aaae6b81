"""PELA's two stages: what is factorized and trains, what each stage learns, and what is planned."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from small_net import SmallNet, small_batch
from torch import nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.pela.losses import feature_distillation, weight_perturbation
from pclora_lab.methods.pela.method import PELA
from pclora_lab.methods.pela.model import factorize_model, pela_record
from pclora_lab.methods.pela.ranks import exclusions
from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.nn.low_rank import LowRankLinear

X, LABELS = small_batch(), torch.tensor([0, 2, 1, 1])
CONTEXT = MethodContext(example=X)


def pela(**options) -> PELA:
    return PELA(PELAConfig(**options))


def ranks(student: nn.Module) -> dict[str, int]:
    return {n: m.rank for n, m in student.named_modules() if isinstance(m, LowRankLinear)}


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel], ids=["plain", "wrapped"])
def test_everything_trains_also_of_a_frozen_model(wrap):
    net = SmallNet().requires_grad_(False)
    student = pela().apply(wrap(net), CONTEXT)
    assert ranks(student) == {"blocks.0.fc1": 2, "blocks.1.fc1": 2}
    assert all(p.requires_grad for p in student.parameters())
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"ratio": 1.5}, {"0.fc1": 3, "1.fc1": 3}),
        ({"rank": 4}, {"0.fc1": 4, "1.fc1": 4}),
        ({"rank": 4, "exclude": "0.fc1"}, {"1.fc1": 4}),
        ({"rank": 4, "exclude": " 0.fc1 ,, nothing,"}, {"1.fc1": 4}),
        ({"rank": 4, "targets": "1.fc"}, {"1.fc1": 4}),
    ],
)
def test_ratio_rank_exclusions_and_targets_decide_the_ranks(options, wanted):
    student = pela(**options).apply(SmallNet(), CONTEXT)
    assert ranks(student) == {f"blocks.{name}": rank for name, rank in wanted.items()}
    assert pela_record(student)["ratio"] == (None if "rank" in options else options["ratio"])


def test_what_stays_dense_of_itself_can_be_asked_for():
    net = SmallNet()
    parts = OrderedDict(downsample=nn.Linear(12, 12), out=nn.Linear(12, 8))
    net.blocks[0].fc2 = nn.Sequential(parts)
    auto = pela(rank=2).apply(net, CONTEXT)
    asked = pela(rank=2, exclude="").apply(net, CONTEXT)
    assert set(ranks(asked)) - set(ranks(auto)) == {"blocks.0.fc2.downsample"}
    assert pela_record(auto)["exclude"] == list(exclusions(net))
    assert pela_record(asked)["exclude"] == []


@pytest.mark.parametrize("unit", ["params", "macs"])
@pytest.mark.parametrize("allocation", ["uniform", "energy"])
def test_a_budget_is_used_up_and_not_exceeded_whatever_rank_or_ratio_say(vit, unit, allocation):
    options = {"budget": 0.5, "budget_unit": unit, "rank_allocation": allocation}
    students = [pela(**options, **more).apply(vit) for more in ({}, {"rank": 2, "ratio": 9})]
    assert ranks(students[0]) == ranks(students[1])
    layers = [m for m in students[0].modules() if isinstance(m, LowRankLinear)]
    dense = {layer.name: layer for layer in count_model(vit).layers}
    assert len(layers) == len(dense) == 8
    kept = sum(size(m) for m in layers) / sum(layer.params for layer in dense.values())
    assert 0.4 < kept <= 0.5 or unit == "macs"
    assert pela_record(students[0])["ratio"] is None


def test_stage_2_takes_the_factorized_model_up_and_stage_1_refuses_it():
    small = pela(rank=3).apply(SmallNet(), CONTEXT).requires_grad_(False)
    student = pela(repair=0).apply(nn.DataParallel(small), CONTEXT)
    assert student is not small and pela_record(student) == pela_record(small)
    assert all(p.requires_grad for p in student.parameters())
    assert not {p.data_ptr() for p in student.parameters()} & {
        p.data_ptr() for p in small.parameters()
    }
    assert torch.equal(student(X), small(X))
    with pytest.raises(ValueError, match="repair is 0.25, but the model is factorized already"):
        pela(repair=0.25).apply(small, CONTEXT)


def test_only_stage_1_needs_a_teacher():
    assert pela(repair=0.1).starts_from == "teacher" and pela(repair=0).starts_from == "pretrained"


def test_the_first_stage_ends_where_it_is_said():
    method, net = pela(repair=0.25), SmallNet()
    told = [method.set_progress(net, p)["repair"] for p in (0, 0.24, 0.25, 0.9, 1)]
    assert told == [1, 1, 0, 0, 0]
    assert {*method.set_progress(net, 0)} <= {metric.key for metric in method.metrics}


def stages(teacher: nn.Module, **options):
    method = pela(rank=3, repair=0.5, **options)
    student = method.apply(teacher, CONTEXT)
    return student, method.loss_terms(student, teacher)


@pytest.mark.parametrize(
    "weights", [(1.0, 1.0), (3.0, 0.5), (0.0, 2.0)], ids=["paper", "other", "no_features"]
)
def test_stage_1_is_task_and_weighted_features_and_perturbation(weights):
    teacher = SmallNet()
    student, terms = stages(
        teacher, distil_weight=weights[0], perturbation_weight=weights[1], epsilon=0.2
    )
    blocks = {"student": {}, "teacher": {}}
    for kind, model in (("student", student), ("teacher", teacher)):
        for i, block in enumerate(model.blocks):
            block.register_forward_hook(
                lambda m, a, out, kind=kind, i=i: blocks[kind].setdefault(i, out)
            )
    found = terms(X, LABELS, 0.49)
    task = F.cross_entropy(student(X), LABELS)
    feature = feature_distillation(blocks["student"], blocks["teacher"])
    moved = weight_perturbation(student, teacher, 0.2)
    assert set(found) == {"loss", "task", "feature", "perturbation"}
    torch.testing.assert_close(found["task"], task)
    torch.testing.assert_close(found["feature"], feature)
    torch.testing.assert_close(found["perturbation"], moved)
    torch.testing.assert_close(found["loss"], task + weights[0] * feature + weights[1] * moved)


def test_without_a_weight_the_perturbation_is_not_computed():
    found = stages(SmallNet(), perturbation_weight=0)[1](X, LABELS, 0.0)
    assert set(found) == {"loss", "task", "feature"}
    torch.testing.assert_close(found["loss"], found["task"] + found["feature"])


def test_stage_2_is_the_task_alone_and_asks_no_teacher():
    teacher = SmallNet()
    student, terms = stages(teacher)
    assert any(block._forward_hooks for block in (*student.blocks, *teacher.blocks))
    teacher.forward = None
    found = terms(X, LABELS, 0.5)
    assert set(found) == {"loss", "task"}
    torch.testing.assert_close(found["loss"], F.cross_entropy(student(X), LABELS))
    assert not any(block._forward_hooks for block in (*student.blocks, *teacher.blocks))


def test_the_teacher_answers_in_eval_mode_and_learns_nothing():
    modes = []
    teacher = SmallNet().train()
    _, terms = stages(teacher)
    teacher.register_forward_hook(lambda m, a, out: modes.append((m.training, out.requires_grad)))
    terms(X, LABELS, 0.0)["loss"].backward()
    assert modes == [(False, False)] and teacher.training
    assert all(p.grad is None for p in teacher.parameters())
    terms.close()
    assert not any(block._forward_hooks for block in teacher.blocks)


def test_the_finished_model_is_a_copy_in_eval_mode_that_says_how_it_was_made():
    student = pela(rank=3).apply(SmallNet(), CONTEXT).train()
    for given in (student, nn.DataParallel(student)):
        small = pela().finalize(given)
        assert pela_record(small) == pela_record(student) and student.training
        assert not any(module.training for module in small.modules())
        ours = {p.data_ptr() for p in student.parameters()}
        assert not ours & {p.data_ptr() for p in small.parameters()}
        torch.testing.assert_close(small(X), student.eval()(X))
        student.train()


@pytest.mark.parametrize(
    "options",
    [{}, {"ratio": 4.0}, {"rank": 3}, {"budget": 0.4}, {"exclude": "mlp"}, {"targets": "fc1"}],
    ids=str,
)
def test_the_plan_is_what_comes_out_also_once_it_has(make_vit, options):
    vit = make_vit(qkv_bias=False)
    method = pela(**options)
    plan = method.plan(method.count(vit), vit)
    student = method.apply(vit)
    assert plan.ranks == ranks(student)
    for when, net in (("before", vit), ("after", student)):
        layers = [net.get_submodule(name) for name in plan.ranks]
        assert getattr(plan.whole_model, f"params_{when}") == size(net)
        assert getattr(plan.replaced, f"params_{when}") == sum(map(size, layers))
        macs = count_macs(net, torch.zeros(1, 3, 16, 16))
        assert getattr(plan.whole_model, f"macs_{when}") == macs
    second = pela(repair=0, **options)
    again = second.plan(second.count(student), student)
    assert again.whole_model == plan.whole_model and again.ranks == plan.ranks


def test_the_layers_of_a_factorized_model_are_counted_as_the_dense_ones(vit):
    method = pela(targets="fc1")
    assert method.count(factorize_model(vit, targets="fc1")) == method.count(vit)
    assert [layer.name for layer in method.count(vit).layers] == [
        "blocks.0.mlp.fc1",
        "blocks.1.mlp.fc1",
    ]

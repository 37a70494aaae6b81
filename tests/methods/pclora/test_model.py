"""The three calls: one copy of the base, λ in every layer, and a model without a base."""

from contextlib import suppress

import pytest
import torch
from small_net import TARGETS, NoGradients, SmallNet, small_batch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.layers import PCLoRALinear
from pclora_lab.methods.pclora.model import (
    get_pclora_model,
    pclora_config,
    pclora_layers,
    pclora_targets,
    set_base_weight_factor,
    set_progress,
    student_config,
)
from pclora_lab.methods.pclora.removal import base_removed, base_share, compress, drop_base
from pclora_lab.methods.svd import SVDKDConfig
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.sizes import plan

INITS = ["zeros", "svd", "activation_svd"]


@pytest.fixture
def make_student(vit, images, train_adapters):
    """Builds a student of ``vit`` whose adapters have left their start."""

    def make(**options) -> nn.Module:
        config = PCLoRAConfig(**{"rank": 4, **options})
        return train_adapters(get_pclora_model(vit, config, calibration=[images]))

    return make


def storages(*models: nn.Module) -> dict[int, int]:
    """Bytes of every distinct storage by its address."""
    tensors = (t for model in models for t in (*model.parameters(), *model.buffers()))
    found = (t.untyped_storage() for t in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in found}


@pytest.mark.parametrize("bits", ["float32", "bfloat16"])
def test_the_student_equals_the_model_bit_for_bit_at_lambda_one(vit, images, bits):
    dtype = getattr(torch, bits)
    vit, images = vit.to(dtype), images.to(dtype)
    student = get_pclora_model(vit, PCLoRAConfig(rank=4))
    assert set_progress(student, 0.0) == 1.0
    assert torch.equal(student(images), vit(images))


def test_teacher_and_student_hold_the_base_once(vit):
    student = get_pclora_model(vit, PCLoRAConfig(rank=4))
    together = sum(storages(vit, student).values())
    base = [p for m in pclora_layers(student).values() for p in m.base.parameters()]
    own = sum(p.numel() for p in student.parameters()) - sum(p.numel() for p in base)
    lambdas = 2 * len(pclora_layers(student))  # now, and of the last training step
    assert together == sum(storages(vit).values()) + 4 * (own + lambdas)
    assert {p.data_ptr() for p in base} <= set(storages(vit))


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({}, ["head."]),
        ({"train_norms": True}, ["head.", "norm"]),
        ({"targets": "blocks|head"}, []),
    ],
    ids=["default", "norms", "head_replaced"],
)
def test_adapters_head_and_if_asked_norms_train_and_nothing_else(vit, options, others):
    student = get_pclora_model(vit, PCLoRAConfig(rank=2, **options))
    for name, parameter in student.named_parameters():
        is_adapter = name.rpartition(".")[2] in {"A", "B", "C"}
        wanted = is_adapter or any(other in name for other in others)
        assert parameter.requires_grad == wanted, name
    assert not any(vit.get_submodule(n).weight.requires_grad for n in student.pclora_targets)


def test_a_seeded_generator_draws_the_same_student(vit):
    first, same, other = (
        get_pclora_model(vit, PCLoRAConfig(rank=4), generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    key = "blocks.0.attn.qkv.A"
    assert torch.equal(first.get_parameter(key), same.get_parameter(key))
    assert not torch.equal(first.get_parameter(key), other.get_parameter(key))


def test_a_student_is_no_model_to_fade_again(make_student):
    with pytest.raises(ValueError, match="PCLoRALinear|student|already"):
        get_pclora_model(make_student(), PCLoRAConfig(rank=2))


@pytest.mark.parametrize(
    ("progress", "lam"), [(0, 1), (0.1, 0.85), (0.2, 0.7), (0.4, 0.35), (0.6, 0), (1, 0)]
)
def test_a_drawn_schedule_sets_lambda_in_every_layer(make_student, progress, lam):
    student = make_student(schedule=[(0, 1), (0.2, 0.7), (0.6, 0)])
    assert set_progress(student, progress) == pytest.approx(lam)
    lams = [layer.lam.item() for layer in pclora_layers(student).values()]
    assert lams == pytest.approx([lam] * 8)


@pytest.mark.parametrize("init", INITS)
def test_the_compressed_model_equals_the_student_at_lambda_zero(make_student, vit, images, init):
    student = make_student(init=init, scale=0.5)
    set_progress(student, 1.0)
    small = compress(student)
    assert (small(images) - student(images)).abs().max() <= 1e-6
    assert (small(images) - vit(images)).abs().max() > 1e-2, "or the comparison says nothing"


def test_the_compressed_model_holds_no_base_and_as_much_as_planned(make_student, vit):
    student = make_student(init="svd").train()
    set_progress(student, 1.0)
    small = compress(student)
    base = {vit.get_submodule(name).weight.data_ptr() for name in student.pclora_targets}
    assert base <= set(storages(student)), "the student is as it was"
    assert storages(small).keys().isdisjoint(storages(student, vit))
    assert not any(isinstance(m, PCLoRALinear) for m in small.modules())
    assert sum(isinstance(m, LowRankLinear) for m in small.modules()) == 8
    assert sum(p.numel() for p in small.parameters()) == plan(vit, 4).whole_model.params_after
    assert not small.training


@pytest.mark.parametrize("act", [compress, drop_base])
def test_leaving_while_lambda_is_above_zero_says_how_much_is_missing(make_student, images, act):
    student = make_student()
    set_progress(student, 0.3)
    before = student(images)
    with pytest.raises(ValueError, match=r"λ is 0\.293 in 8 of 8 layers.*29\.3%.*set_progress"):
        act(student)
    assert torch.equal(student(images), before)


def test_dropping_the_base_frees_it_and_compresses_to_the_same(make_student, vit, images):
    student = make_student()
    set_progress(student, 0.6)
    kept = compress(student)
    drop_base(student)
    base = {vit.get_submodule(name).weight.data_ptr() for name in student.pclora_targets}
    assert base.isdisjoint(storages(student))
    assert torch.equal(compress(student)(images), kept(images))


@pytest.mark.parametrize("fails", [False, True])
def test_base_removed_shows_lambda_zero_and_puts_it_back(make_student, images, fails):
    student = make_student(schedule="linear")
    set_progress(student, 0.3)
    outside = student(images)
    with suppress(KeyError), base_removed(student):
        inside = student(images)
        if fails:
            raise KeyError
    assert torch.equal(student(images), outside)
    set_base_weight_factor(student, 0.0)
    # With a base, its factor 0 and the adapter are one matrix: another order of the same sum.
    torch.testing.assert_close(student(images), inside, rtol=1e-5, atol=1e-6)
    assert (inside - outside).abs().max() > 1e-3


@pytest.mark.parametrize("init", INITS)
def test_a_pass_without_the_base_costs_what_the_small_model_costs(make_student, images, init):
    student = make_student(init=init)
    names, outside = list(student.state_dict()), student(images)
    set_base_weight_factor(student, 0.0)
    multiplied = student(images)
    with FlopCounterMode(display=False) as without, base_removed(student):
        inside = student(images)
    with FlopCounterMode(display=False) as small:
        compress(student, allow_unfaded=True)(images)
    assert without.get_total_flops() == small.get_total_flops()
    torch.testing.assert_close(inside, multiplied, rtol=1e-5, atol=1e-6)
    set_base_weight_factor(student, 1.0)
    assert torch.equal(student(images), outside) and list(student.state_dict()) == names


def test_base_share_is_what_the_norms_say():
    net = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 3))
    x = torch.randn(5, 16)
    student = get_pclora_model(net, PCLoRAConfig(rank=2, targets="^0$"), example=x)
    assert base_share(student, x) == pytest.approx(1.0)
    nn.init.normal_(student[0].B)
    set_base_weight_factor(student, 0.5)
    base = 0.5 * net[0](x).norm().item()
    adapter = (x @ student[0].A.T @ student[0].B.T).norm().item()
    assert base_share(student, x) == pytest.approx(base / (base + adapter), rel=1e-5)


@pytest.mark.parametrize("init", INITS)
def test_base_share_falls_to_zero(make_student, images, init):
    student = make_student(init=init)
    shares = []
    for progress in (0.0, 0.3, 0.6):
        set_progress(student, progress)
        shares.append(base_share(student, images))
    assert 1 > shares[0] > shares[1] > shares[2] == 0
    assert base_share(drop_base(student), images) == 0


def test_parameters_tied_outside_the_targets_stay_tied():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    net[2].weight = net[1].weight
    config = PCLoRAConfig(rank=2, targets="^0$")
    student = get_pclora_model(net, config, example=torch.zeros(1, 8))
    set_progress(student, 1.0)
    for model in (student, compress(student)):
        assert model[1].weight is model[2].weight


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_outside_0_and_1_are_refused(make_student, value):
    student = make_student()
    for act in (set_progress, set_base_weight_factor):
        with pytest.raises(ValueError, match=str(value)):
            act(student, value)


def test_a_model_without_fading_layers_is_refused(vit):
    with pytest.raises(ValueError, match="pass what get_pclora_model returned"):
        compress(vit)


X = small_batch()


def small_student(net: nn.Module | None = None, **options) -> nn.Module:
    given = {n: options.pop(n) for n in ("rank", "generator", "counts") if n in options}
    config = PCLoRAConfig(**{"rank": 2, "init": "zeros", **options})
    return get_pclora_model(net or SmallNet(), config, example=X, **given)


def test_a_rank_that_is_given_overrides_the_configs():
    ranks = {name: 1 + i for i, name in enumerate(TARGETS)}
    for rank, wanted in ((3, [3] * 4), ("50%", [2] * 4), (ranks, [1, 2, 3, 4])):
        layers = pclora_layers(small_student(rank=rank))
        assert list(layers) == TARGETS
        assert [layer.rank for layer in layers.values()] == wanted
    with pytest.raises(ValueError, match="rank 5 is not below the break-even rank"):
        small_student(rank=5)


def test_what_is_known_about_the_model_is_not_counted_again(monkeypatch):
    counts = count_model(SmallNet(), example=X)

    def again(*_, **__):
        raise AssertionError("it was counted already")

    monkeypatch.setattr("pclora_lab.methods.pclora.model.count_model", again)
    assert list(pclora_layers(small_student(counts=counts))) == TARGETS
    with pytest.raises(AssertionError, match="counted already"):
        small_student()


def test_a_student_knows_its_config_and_its_layers_and_another_model_does_not():
    config = PCLoRAConfig(rank=2, targets="fc1")
    student = get_pclora_model(SmallNet(), config, example=X)
    assert pclora_config(student) == config and pclora_targets(student) == tuple(TARGETS[::2])
    assert get_pclora_model(SmallNet(), rank=1, example=X).pclora_config == PCLoRAConfig()
    assert pclora_targets(SmallNet()) == ()
    for ask in (pclora_config, pclora_layers):
        with pytest.raises(ValueError, match="SmallNet has no PCLoRALinear: pass what get_pclora"):
            ask(SmallNet())


def test_every_layer_keeps_the_mode_of_the_one_that_it_replaces():
    net = SmallNet().eval()
    net.blocks[1].fc1.train()
    layers = pclora_layers(small_student(net))
    assert [layer.training for layer in layers.values()] == [False, False, True, False]


def test_norms_train_if_asked_and_the_class_token_never():
    for train_norms in (False, True):
        student = small_student(train_norms=train_norms)
        trained = {n for n, p in student.named_parameters() if p.requires_grad}
        factors = {f"{name}.{part}" for name in TARGETS for part in "ABC"}
        norms = {"norm.weight", "norm.bias"} if train_norms else set()
        assert trained == factors | {"head.weight", "head.bias"} | norms


def test_a_wrapped_model_is_the_model_inside_and_scale_reaches_the_layers():
    net = SmallNet()
    student = small_student(nn.DataParallel(net), scale=0.25)
    assert type(student) is SmallNet
    for name, layer in pclora_layers(student).items():
        assert layer.base.weight is net.get_submodule(name).weight and layer.scale == 0.25


def test_a_student_that_would_not_run_leaves_the_model_as_it_was():
    net = NoGradients()
    with pytest.raises(ValueError, match="no output of NoGradients has a gradient"):
        small_student(net)
    assert all(p.requires_grad for p in net.parameters())


def test_a_start_that_looks_at_inputs_asks_for_them():
    with pytest.raises(ValueError, match="calibration"):
        small_student(init="activation_svd")


def test_the_config_of_a_method_that_builds_on_it_has_the_same_options():
    theirs = SVDKDConfig(rank=3, targets="fc1", alpha=0.7, taps="blocks", logit_weight=2.0)
    ours = student_config(theirs)
    assert isinstance(ours, PCLoRAConfig)
    shared = set(theirs.to_dict()) & set(ours.to_dict()) - {"name"}
    assert {"rank", "targets", "alpha", "taps", "logit_weight", "temperature"} <= shared
    assert all(getattr(ours, name) == getattr(theirs, name) for name in shared)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_lambda_is_set_by_hand_up_to_both_ends(lam):
    student = small_student()
    set_base_weight_factor(student, lam)
    assert {float(layer.lam) for layer in pclora_layers(student).values()} == {lam}
    with pytest.raises(ValueError, match=r"λ is 1.01: it must be in \[0, 1\]"):
        set_base_weight_factor(student, 1.01)


def test_lambda_ends_where_the_config_says_and_is_exact_in_half_precision():
    student = small_student(SmallNet(), schedule="linear", fade_end=0.9).bfloat16()
    assert set_progress(student, 0.3) == pytest.approx(2 / 3, abs=1e-12)
    assert set_progress(student, 0.89) > 0 == set_progress(student, 0.9)

"""Truncation alone and before distillation: what is kept, what trains, and what decides it."""

import pytest
import torch
from torch import nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.factorization import activation_svd_factors, svd_factors
from pclora_lab.methods.input_moments import measure_inputs
from pclora_lab.methods.pclora.losses import DistillationTerms
from pclora_lab.methods.svd import (
    SVD,
    SVDKD,
    ActivationSVD,
    ActivationSVDConfig,
    SVDConfig,
    SVDKDConfig,
)
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.surgery import find_targets

RANK = 4


def students(vit: nn.Module, images: torch.Tensor, **options) -> dict[str, nn.Module]:
    context = MethodContext(calibration=[images])
    methods = {
        "svd": SVD(SVDConfig(rank=RANK, **options)),
        "activation_svd": ActivationSVD(ActivationSVDConfig(rank=RANK, **options)),
        "kd_svd": SVDKD(SVDKDConfig(rank=RANK, init="svd", **options)),
        "kd": SVDKD(SVDKDConfig(rank=RANK, **options)),
    }
    return {name: method.apply(vit, context) for name, method in methods.items()}


def test_each_cuts_every_weight_as_it_says(vit, images):
    moments = measure_inputs(vit, find_targets(vit), [images])
    made = students(vit, images)
    for name, layer in find_targets(vit).items():
        W = layer.weight.detach()
        A, B = svd_factors(W, RANK)
        plain = B @ A, layer.bias.double()
        A, B = activation_svd_factors(W, moments[name].covariance, RANK)
        seen = B @ A, layer.bias.double() + (W.double() - B @ A) @ moments[name].mean
        for kind, (weight, bias) in (
            ("svd", plain), ("kd_svd", plain), ("activation_svd", seen), ("kd", seen),
        ):  # fmt: skip
            low = made[kind].get_submodule(name)
            torch.testing.assert_close((low.B @ low.A).double(), weight, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(low.C.double(), bias, atol=1e-5, rtol=1e-4)


def test_alone_it_is_finished_and_before_distillation_its_factors_train(vit, images):
    made = students(vit, images)
    targets = find_targets(vit)
    for kind in ("svd", "activation_svd"):
        lows = {n for n, m in made[kind].named_modules() if type(m) is LowRankLinear}
        assert lows == set(targets) and not made[kind].training
    for kind in ("kd_svd", "kd"):
        trained = {n for n, p in made[kind].named_parameters() if p.requires_grad}
        factors = {f"{name}.{part}" for name in targets for part in "ABC"}
        assert trained == factors | {"head.weight", "head.bias"}
        layers = [made[kind].get_submodule(name) for name in targets]
        assert all(layer.base is None and layer.start_A is None for layer in layers)
        assert {float(layer.lam) for layer in layers} == {0.0}


def test_a_layer_can_be_left_out_and_another_rank_taken(vit, images):
    for student in students(vit, images, targets="fc1").values():
        assert type(student.blocks[0].mlp.fc2) is nn.Linear
        assert student.blocks[0].mlp.fc1.A.shape[0] == RANK
    small = SVD(SVDConfig(budget=0.3)).apply(vit)
    room = 0.3 * sum(layer.params for layer in count_model(vit).layers)
    layers = [m for m in small.modules() if isinstance(m, LowRankLinear)]
    assert sum(p.numel() for layer in layers for p in layer.parameters()) <= room


def test_nothing_is_drawn_and_no_generator_moves(vit, images):
    state = torch.get_rng_state()
    one = students(vit, images)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    other = students(vit, images)
    for kind in one:
        there = other[kind].state_dict()
        assert all(
            torch.equal(x.nan_to_num(), there[n].nan_to_num())
            for n, x in one[kind].state_dict().items()
        )


def test_what_is_known_about_the_model_is_not_counted_again(vit, monkeypatch):
    counts = count_model(vit)
    context = MethodContext(counts=counts)

    def again(*_, **__):
        raise AssertionError("it was counted already")

    monkeypatch.setattr("pclora_lab.methods.pclora.model.count_model", again)
    SVD(SVDConfig(rank=2)).apply(vit, context)


def test_a_finished_model_is_a_copy_in_eval_mode(vit, images):
    made = students(vit, images)
    for method, kind in ((SVD(SVDConfig()), "svd"), (SVDKD(SVDKDConfig()), "kd")):
        student = made[kind].train()
        small = method.finalize(student)
        assert not any(m.training for m in small.modules())
        own = {p.data_ptr() for p in student.parameters() if p.requires_grad}
        assert not own & {p.data_ptr() for p in small.parameters()}
        torch.testing.assert_close(small(images), student.eval()(images))
        assert not any(hasattr(m, "base") for m in small.modules())


def test_the_options_of_the_distillation_decide_its_terms(vit, images):
    labels = torch.arange(len(images)) % 5

    def terms_of(**options):
        method = SVDKD(SVDKDConfig(rank=RANK, init="svd", **options))
        student = method.apply(vit)
        terms = method.loss_terms(student, vit)
        assert isinstance(terms, DistillationTerms)
        try:
            return {n: float(v.detach()) for n, v in terms(images, labels, 0.0).items()}
        finally:
            terms.close()

    base = terms_of(alpha=0.3)
    assert base["loss"] == pytest.approx(0.3 * base["task"] + 0.7 * base["feature"], rel=1e-5), (
        "without a logit term"
    )
    assert terms_of(alpha=1.0)["loss"] == pytest.approx(base["task"], rel=1e-5)
    logit = terms_of(alpha=0.3, logit_weight=1.0)
    assert set(logit) - set(base) == {"logit"} and logit["loss"] > base["loss"]
    assert terms_of(logit_weight=1.0, temperature=9.0)["logit"] != logit["logit"]


def test_which_svd_is_a_choice_of_two():
    assert SVDKDConfig().init == "activation_svd"
    with pytest.raises(ValueError, match="unknown start 'zeros': use one of svd, activation_svd"):
        SVDKDConfig(init="zeros")


def test_truncation_alone_trains_nothing_and_only_the_distillation_can_be_replayed():
    assert not SVD.trains and not ActivationSVD.trains and SVDKD.trains
    assert SVDKD.supports_replay and not SVD.supports_replay
    assert [m.init for m in (SVD, ActivationSVD)] == ["svd", "activation_svd"]

"""PELA's low-rank step: against the published sizes and an independent computation."""

import copy
import math

import numpy as np
import pytest
import timm
import torch
from timm.models import Beit
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pclora_lab.methods.factorization import factorize
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.methods.pela import model as model_file
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.pela.model import factorize_model
from pclora_lab.methods.pela.ranks import pela_rank, pela_ranks
from pclora_lab.methods.registry import make_method
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.models.serialization import load_compressed, save_compressed
from pclora_lab.nn.low_rank import LowRankLinear

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
SMALL = (12, 8, 12, 12)  # their ranks in the small model at ratio 2
shapes = pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24)], ids=str)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_singular_values(values: torch.Tensor, out: int) -> torch.Tensor:
    """A weight ``(out, len(values))`` in float64 whose singular values are the given ones."""
    U = torch.linalg.qr(drawn(out, len(values)).double())[0]
    V = torch.linalg.qr(drawn(len(values), len(values), seed=1).double())[0]
    return U * values @ V.T


def truncated(weight: torch.Tensor, rank: int) -> np.ndarray:
    U, S, Vh = np.linalg.svd(weight.double().numpy(), full_matrices=False)
    return U[:, :rank] * S[:rank] @ Vh[:rank]


def product(factors: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
    A, B = (factor.double().numpy() for factor in factors)
    return B @ A


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, pretrained=False)


def params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def linear_and_conv_macs(model: nn.Module) -> int:
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 224, 224, device="meta"))
    counted = flops.get_flop_counts()["Global"].items()
    return (
        sum(n for op, n in counted if str(op).split(".")[1] in {"addmm", "mm", "convolution"}) // 2
    )


@pytest.mark.parametrize(
    ("name", "ratio", "before", "after"),
    [
        ("deit_base_patch16_224", 2.0, 86_567_656, 44_081_896),
        ("deit_small_patch16_224", 2.0, 22_050_664, 11_406_184),
        ("deit_tiny_patch16_224", 2.0, 5_717_416, 3_044_776),
        ("swin_base_patch4_window7_224", 1.5, 87_768_224, 62_164_128),
    ],
)
def test_sizes_are_those_of_the_papers_code(name, ratio, before, after):
    model = on_meta(name)
    small = factorize_model(model, ratio=ratio)
    assert (params(model), params(small)) == (before, after)


def test_ranks_and_macs_of_deit_base_are_those_of_the_papers_code():
    model = on_meta("deit_base_patch16_224")
    ranks = pela_ranks(model, 2.0)
    assert [ranks[f"blocks.3.{layer}"] for layer in LAYERS] == [288, 192, 307, 307]
    assert len(ranks) == 48
    assert linear_and_conv_macs(model) / 1e9 == pytest.approx(16.85, abs=0.005)
    assert linear_and_conv_macs(factorize_model(model)) / 1e9 == pytest.approx(8.48, abs=0.005)


@pytest.mark.parametrize("ratio", [1, 0.5, 0, -2, math.nan, math.inf, "2", None])
def test_a_ratio_that_saves_nothing_is_refused(vit, ratio):
    with pytest.raises(ValueError, match="ratio is .*above 1"):
        pela_rank(8, 8, ratio)
    with pytest.raises(ValueError, match="ratio is .*above 1"):
        factorize_model(vit, ratio=ratio)


def test_a_layer_too_thin_for_the_ratio_is_refused_by_name(vit):
    with pytest.raises(ValueError, match=r"ratio 4 leaves no rank for the layer \(4→4\)"):
        pela_rank(4, 4, 4)
    message = r"ratio 20 .*blocks.0.attn.proj \(32→32\), blocks.1.attn.proj .*exclude="
    with pytest.raises(ValueError, match=message):
        factorize_model(vit, ratio=20)
    small = factorize_model(vit, ratio=20, exclude=("attn.proj",))
    assert type(small.blocks[0].attn.proj) is nn.Linear


@shapes
@pytest.mark.parametrize("rank", [1, 7, 24])
def test_factors_are_the_truncated_svd_with_its_values_shared_evenly(shape, rank):
    weight = drawn(*shape)
    A, B = factorize(weight, rank)
    assert A.shape == (rank, shape[1]) and B.shape == (shape[0], rank)
    expected = truncated(weight, rank)
    gap = np.linalg.norm(product((A, B)) - expected) / np.linalg.norm(expected)
    assert gap < 1e-6
    singular = np.diag(np.linalg.svd(weight.double().numpy(), compute_uv=False)[:rank])
    np.testing.assert_allclose((A @ A.T).numpy(), singular, atol=2e-5)
    np.testing.assert_allclose((B.T @ B).numpy(), singular, atol=2e-5)


@pytest.mark.parametrize(
    "values",
    [
        torch.logspace(0, -8, 48),
        torch.cat((torch.full((4,), 300.0), torch.linspace(2, 1, 44))),
        torch.cat((torch.ones(10), torch.zeros(38))),
        torch.zeros(48),
    ],
    ids=["steep", "a_few_far_larger", "rank_deficient", "zero"],
)
def test_difficult_spectra_stay_exact(values):
    weight = with_singular_values(values.double(), 80).float()
    factors = factorize(weight, 16)
    gap = np.linalg.norm(product(factors) - truncated(weight, 16))
    assert gap <= 1e-6 * values.norm()
    assert all(factor.isfinite().all() for factor in factors)


@shapes
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)],
    ids=str,
)
def test_every_precision_is_kept_and_used(shape, dtype, tolerance):
    weight = drawn(*shape).to(dtype)
    factors = factorize(weight, 6)
    assert all(factor.dtype == dtype and factor.is_contiguous() for factor in factors)
    expected = truncated(weight, 6)
    assert np.abs(product(factors) - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("rank", [0, -1, 25])
def test_a_rank_that_does_not_exist_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank {rank} .*\(24, 40\): use 1 to 24"):
        factorize(drawn(24, 40), rank)


def test_torchs_number_of_threads_is_as_before_even_after_an_error(vit):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        factorize_model(vit)
        assert torch.get_num_threads() == 2
        vit.blocks[1].mlp.fc1.weight.data.fill_(math.nan)
        with pytest.raises(ValueError, match="not finite"):
            factorize_model(vit)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(vit, bad):
    vit.blocks[1].mlp.fc1.weight.data[3, 4] = bad
    with pytest.raises(ValueError, match=r"blocks.1.mlp.fc1: the weight is not finite"):
        factorize_model(vit)


def test_the_model_becomes_its_truncation_and_is_not_touched(vit, images):
    before = copy.deepcopy(vit.state_dict())
    small = factorize_model(vit)
    assert small.pela == {
        "ratio": 2.0,
        "ranks": {f"blocks.{b}.{n}": r for b in (0, 1) for n, r in zip(LAYERS, SMALL, strict=True)},
        "exclude": ["norm", "head", "patch_embed", "downsample"],
    }
    reference = copy.deepcopy(vit)
    for name, rank in small.pela["ranks"].items():
        weight = reference.get_submodule(name).weight.data
        weight.copy_(torch.as_tensor(truncated(weight, rank)))
    torch.testing.assert_close(small(images), reference(images), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(small(images), vit(images), atol=1e-2)
    assert vit.state_dict().keys() == before.keys()
    assert all(torch.equal(vit.state_dict()[name], value) for name, value in before.items())


def test_nothing_is_shared_and_no_random_number_is_drawn(vit):
    state = torch.get_rng_state()
    small = factorize_model(vit)
    assert torch.equal(torch.get_rng_state(), state)
    theirs = {p.data_ptr() for p in vit.parameters()}
    assert not theirs & {p.data_ptr() for p in small.parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_precision_training_mode_and_frozen_parts_are_kept(vit, dtype):
    vit.to(dtype).train()
    vit.blocks[0].mlp.fc1.weight.requires_grad_(False)
    vit.blocks[0].mlp.fc2.bias.requires_grad_(False)
    vit.blocks[1].mlp.eval()
    small = factorize_model(vit)
    assert {p.dtype for p in small.parameters()} == {dtype}
    fc1, fc2 = small.blocks[0].mlp.fc1, small.blocks[0].mlp.fc2
    assert [p.requires_grad for p in (fc1.A, fc1.B, fc1.C)] == [False, False, True]
    assert [p.requires_grad for p in (fc2.A, fc2.B, fc2.C)] == [True, True, False]
    assert fc1.training and not small.blocks[1].mlp.fc1.training


def test_a_layer_without_bias_stays_without(make_vit):
    model = make_vit(qkv_bias=False)
    small = factorize_model(model)
    assert small.blocks[0].attn.qkv.C is None
    assert torch.equal(small.blocks[0].attn.proj.C, model.blocks[0].attn.proj.bias)


def test_what_the_paper_leaves_dense_stays_dense(make_vit):
    small = factorize_model(make_vit(class_token=True, num_classes=40), targets="")
    assert type(small.head) is nn.Linear
    net = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 9), nn.Linear(9, 10))
    assert pela_ranks(net, targets="") == {"0": 10, "2": 2}
    assert pela_ranks(net, targets="", min_out=0, exclude=("0",)) == {"1": 3, "2": 2}
    swin = pela_ranks(on_meta("swin_tiny_patch4_window7_224"), 1.5)
    assert {name.split(".", 4)[-1] for name in swin} == {"attn.qkv", "mlp.fc1", "mlp.fc2"}


@pytest.mark.parametrize(
    ("options", "rank"), [({"rank": 5}, 5), ({"rank": "25%"}, 4)], ids=["number", "share"]
)
def test_a_rank_may_stand_in_for_the_ratio(vit, options, rank):
    small = factorize_model(vit, **options)
    assert small.blocks[0].attn.proj.rank == rank and small.pela["ratio"] is None


def test_ranks_may_be_given_by_layer(vit):
    ranks = {name: 2 + i for i, name in enumerate(pela_ranks(vit))}
    small = factorize_model(vit, ranks=ranks)
    assert {name: small.get_submodule(name).rank for name in ranks} == ranks == small.pela["ranks"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 16}, r"rank 16 is not below the break-even rank 16 of blocks.0.attn.proj"),
        ({"ranks": {"blocks.0.attn.qkv": 2}}, "no rank is given for blocks.0.attn.proj"),
        ({"ranks": {"head": 2}}, "ranks names head, which stay dense"),
        ({"rank": 2, "ranks": {}}, "rank and ranks are both given"),
        ({"exclude": "attn"}, r"exclude is the string 'attn': pass a tuple, \('attn',\)"),
        ({"exclude": ("blocks",)}, "leave no layer to factorize"),
        ({"min_out": 1000}, "min_out=1000 leave no layer to factorize"),
    ],
)
def test_options_that_do_not_fit_are_refused(vit, options, message):
    with pytest.raises(ValueError, match=message):
        factorize_model(vit, **options)


@pytest.mark.parametrize("options", [{}, {"ratio": 3.0}, {"rank": 3}, {"exclude": ("attn",)}])
def test_factorizing_again_gives_the_same_model(vit, images, options):
    small = factorize_model(vit, **options)
    small.blocks[0].mlp.fc1.A.data.mul_(1.5)
    again = factorize_model(small, **options)
    assert again is not small and again.pela == small.pela
    assert torch.equal(again(images), small(images))
    again.blocks[0].mlp.fc1.A.data.zero_()
    assert small.blocks[0].mlp.fc1.A.any()


@pytest.mark.parametrize(
    "options",
    [{"ratio": 3.0}, {"rank": 3}, {"exclude": ("attn",)}, {"targets": "mlp"}, {"min_out": 33}],
    ids=str,
)
def test_factorizing_again_differently_is_refused(vit, options):
    small = factorize_model(vit)
    with pytest.raises(ValueError, match="already factorized at ratio 2, .* pass the dense"):
        factorize_model(small, **options)


def test_what_another_method_made_is_refused(vit):
    student = get_pclora_model(vit, PCLoRAConfig(rank=4))
    with pytest.raises(ValueError, match="another method: pass the dense model"):
        factorize_model(student)
    set_progress(student, 1.0)
    with pytest.raises(ValueError, match="another method: pass the dense model"):
        factorize_model(compress(student))


def test_layers_that_are_read_directly_are_refused_by_name():
    beit = Beit(img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=3)
    image = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match="never calls blocks.0.attn.qkv in a forward pass"):
        factorize_model(beit, example=image)
    small = factorize_model(beit, exclude=("qkv", "head"), example=image)
    assert isinstance(small.blocks[0].attn.proj, LowRankLinear)


def test_bypassed_layers_are_named_before_thin_ones():
    swin = on_meta("swinv2_tiny_window8_256")  # has layers of width 2, and reads qkv directly
    with pytest.raises(ValueError, match="never calls layers.0.blocks.0.attn.qkv"):
        factorize_model(swin)


def test_multihead_attention_is_refused_by_name():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attention = nn.MultiheadAttention(32, 2, batch_first=True)
            self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

        def forward(self, x):
            return self.down(self.up(self.self_attention(x, x, x)[0]))

    model, example = nn.Sequential(Block(), Block()), torch.zeros(1, 5, 32)
    message = r"0.self_attention, 1.self_attention: nn.MultiheadAttention .*'self_attention'\)"
    with pytest.raises(ValueError, match=message):
        factorize_model(model, example=example)
    small = factorize_model(model, exclude=("self_attention",), example=example)
    assert list(small.pela["ranks"]) == ["0.up", "0.down", "1.up", "1.down"]


def test_tied_layers_are_refused(vit):
    vit.blocks[1].mlp.fc1.weight = vit.blocks[0].mlp.fc1.weight
    with pytest.raises(ValueError, match="tied or shared"):
        factorize_model(vit)


def test_the_embedded_model_keeps_working_when_only_its_architecture_is_known():
    small = factorize_model(describe_model("vit_digits"), ratio=3.0)
    assert all(p.is_meta for p in small.parameters()) and small.pela["ratio"] == 3.0


def test_ratio_ranks_and_exclusions_travel_with_the_saved_model(tmp_path):
    model = load_model("vit_digits")
    small = factorize_model(model, ratio=3.0, exclude=("attn.proj",))
    loaded = load_compressed(save_compressed(small, tmp_path / "small"))
    assert loaded.pela == small.pela and loaded.pela["ratio"] == 3.0
    assert loaded.pela["exclude"] == ["attn.proj"]
    again = factorize_model(loaded, ratio=3.0, exclude=("attn.proj",))  # idempotent after a load
    images = torch.randn(2, *model.pretrained_cfg["input_size"])
    with torch.no_grad():
        assert torch.equal(again.eval()(images), small.eval()(images))


@pytest.mark.parametrize("unit", ["params", "macs"])
def test_ranks_by_energy_keep_as_much_as_the_one_rank_for_all_would(unit):
    model = load_model("vit_digits")
    kept = {}
    for allocation in ("uniform", "energy"):
        config = PELAConfig(rank=8, rank_allocation=allocation, budget_unit=unit, repair=0)
        student = make_method(config).apply(model)
        layers = [m for m in student.modules() if isinstance(m, LowRankLinear)]
        kept[allocation] = sum(m.rank * (m.in_features + m.out_features) for m in layers)
        assert (len({m.rank for m in layers}) > 1) == (allocation == "energy")
    assert 0.9 * kept["uniform"] < kept["energy"] <= kept["uniform"]


@pytest.mark.parametrize(
    ("device", "threads", "workers"), [("cpu", 2, 2), ("cpu", 12, 8), ("meta", 12, 1)]
)
def test_one_layer_per_core_up_to_eight_and_one_after_the_other_elsewhere(
    monkeypatch, device, threads, workers
):
    asked = []

    class Pool(model_file.ThreadPoolExecutor):
        """Notes how it is made."""

        def __init__(self, workers, initializer, initargs):
            asked.append((workers, initializer, initargs))
            super().__init__(workers)

    monkeypatch.setattr(model_file, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: asked.append(number))
    net = nn.Sequential(nn.Linear(16, 12)).to(device)
    factorize_model(net, rank=2, targets="0", example=torch.zeros(1, 16))
    assert asked == [(workers, torch.set_num_threads, (1,)), threads]

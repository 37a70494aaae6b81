"""Counts against published and measured numbers; a plan touches and allocates nothing."""

import re
import time

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from light import imported_without
from records import assert_fixed
from timm.models import SwinTransformer
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import LayerCount, ModelCounts, count_macs, count_model
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.nn.sizes import plan

widths = st.integers(1, 200)


@pytest.fixture(scope="module")
def vit_b():
    """The trace of ViT-B with 10 classes; no weights exist."""
    return count_model(describe_model("vit_base_patch16_224", num_classes=10))


def swin() -> nn.Module:
    model = SwinTransformer(
        img_size=32,
        patch_size=2,
        window_size=4,
        embed_dim=16,
        depths=(1, 2),
        num_heads=(2, 2),
        num_classes=5,
    )
    model.pretrained_cfg = {"input_size": (3, 32, 32)}
    return model.eval()


def measured_macs(model: nn.Module, side: int) -> int:
    # torch 2.11's counter does not know the CPU's fused attention; the plain one it always counts.
    plain, counter = sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False)
    with plain, counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() // 2


def compressed(model: nn.Module, rank: int | str) -> nn.Module:
    student = get_pclora_model(model, PCLoRAConfig(rank=rank))
    set_progress(student, 1.0)
    return compress(student)


def test_vit_b_counts_are_the_published_ones(vit_b):
    at_32 = plan(vit_b, 32)
    assert at_32.whole_model.params_before == 85_806_346
    assert at_32.whole_model.params_after == 5_590_282
    assert at_32.replaced.params_before == 84_934_656 + 82_944
    assert at_32.replaced.params_after == 32 * 147_456 + 82_944
    assert at_32.dense.params_before == at_32.dense.params_after == 85_806_346 - 85_017_600
    assert at_32.whole_model.params_removed == pytest.approx(0.9349, abs=5e-5)
    assert at_32.whole_model.macs_removed == pytest.approx(0.8998, abs=5e-5)
    assert at_32.whole_model.bytes_before == 4 * 85_806_346
    assert len(at_32.ranks) == 48 and at_32.break_even_rank == 384


def test_the_parts_add_up_to_the_whole(vit_b):
    sizes = plan(vit_b, "10%").to_dict()
    for key in ("params_before", "params_after", "macs_after", "bytes_before", "bytes_after"):
        assert sizes["dense"][key] + sizes["replaced"][key] == sizes["whole_model"][key]


@pytest.mark.parametrize(
    ("rank", "qkv", "proj", "fc1"),
    [(7, 7, 7, 7), ("25%", 144, 96, 153), ("100%", 575, 383, 614), ("0.01%", 1, 1, 1)],
)
def test_a_share_is_taken_of_each_layers_break_even_rank(vit_b, rank, qkv, proj, fc1):
    ranks = resolve_ranks(vit_b.layers, rank)
    names = ("attn.qkv", "attn.proj", "mlp.fc1")
    assert [ranks[f"blocks.0.{name}"] for name in names] == [qkv, proj, fc1]


def test_a_rank_may_be_given_by_layer(vit):
    counts = count_model(vit)
    ranks = {layer.name: 1 + i for i, layer in enumerate(counts.layers)}
    sizes = plan(counts, ranks)
    added = sum(
        (1 + i) * (layer.in_features + layer.out_features) + layer.out_features
        for i, layer in enumerate(counts.layers)
    )
    assert sizes.ranks == ranks and sizes.replaced.params_after == added
    student = get_pclora_model(vit, rank=ranks)
    assert {name: student.get_submodule(name).rank for name in ranks} == ranks


def test_a_share_may_be_given_by_layer(vit_b):
    by_layer = {layer.name: "25%" for layer in vit_b.layers}
    assert resolve_ranks(vit_b.layers, by_layer) == resolve_ranks(vit_b.layers, "25%")


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (384, r"rank 384 is not below the break-even rank 384 of blocks.0.attn.proj \(768→768\)"),
        (384, "rank of at most 383"),
        ({"blocks.0.attn.qkv": 4}, "no rank is given for blocks.0.attn.proj"),
        (0, "rank 0"),
    ],
)
def test_a_rank_that_does_not_fit_is_refused(vit_b, rank, message):
    with pytest.raises(ValueError, match=message):
        plan(vit_b, rank)


def test_the_cure_in_the_message_works(vit_b):
    assert plan(vit_b, vit_b.largest_rank).replaced.params_removed > 0
    with pytest.raises(ValueError, match="break-even"):
        plan(vit_b, vit_b.largest_rank + 1)


def test_a_layer_too_thin_for_any_rank_gets_a_cure_that_exists():
    net = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 8))
    with pytest.raises(ValueError, match="targets") as error:
        plan(net, 1, targets="", example=torch.zeros(1, 1))
    assert not re.search("at most 0", str(error.value))


@given(width=widths, out=widths, bias=st.booleans())
def test_a_layer_shrinks_at_its_largest_rank_and_not_above(width, out, bias):
    layer = LayerCount("fc", width, out, bias, 1, 4)
    assume(layer.largest_rank >= 1)
    assert layer.low_rank_params(layer.largest_rank) < layer.params
    one_more = layer.low_rank_params(layer.largest_rank + 1)
    assert one_more >= layer.params
    assert layer.largest_rank <= layer.break_even_rank


@pytest.mark.parametrize(
    ("build", "side"),
    [
        (lambda make_vit: make_vit(), 16),
        (lambda make_vit: make_vit(qkv_bias=False), 16),
        (lambda make_vit: swin(), 32),
    ],
    ids=["vit", "no_qkv_bias", "swin"],
)
def test_a_plan_equals_what_is_measured_on_the_real_model(make_vit, build, side):
    model = build(make_vit)
    sizes = plan(model, "30%").whole_model
    assert sizes.macs_before == measured_macs(model, side)
    small = compressed(model, "30%")
    assert sizes.macs_after == measured_macs(small, side)
    assert sizes.params_after == sum(p.numel() for p in small.parameters())
    tensors = [*small.parameters(), *small.buffers()]
    assert sizes.bytes_after == sum(t.numel() * t.element_size() for t in tensors)


def test_half_precision_halves_the_bytes(vit):
    full, half = plan(vit, 4), plan(vit.bfloat16(), 4)
    assert 2 * half.whole_model.bytes_after == full.whole_model.bytes_after
    assert half.whole_model.macs_after == full.whole_model.macs_after


def test_a_plan_neither_allocates_nor_changes(vit):
    class MetricTracker(TorchDispatchMode):
        """Keeps the device of every tensor that any operation returns."""

        devices = set()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            self.devices |= {t.device.type for t in tree_leaves(out) if isinstance(t, torch.Tensor)}
            return out

    before = {name: (id(t), t.clone()) for name, t in vit.state_dict(keep_vars=True).items()}
    with MetricTracker() as watch:
        plan(vit.train(), 4)
    assert watch.devices == {"meta"}
    after = vit.state_dict(keep_vars=True)
    assert all(id(t) == before[n][0] and t.equal(before[n][1]) for n, t in after.items())
    assert all(m.training and not m._forward_hooks for m in vit.modules())
    assert all(p.requires_grad for p in vit.parameters())


def test_a_plan_from_a_trace_is_fast_enough_for_a_slider(vit_b):
    def seconds(rank):
        began = time.perf_counter()
        plan(vit_b, rank)
        return time.perf_counter() - began

    assert min(seconds(rank) for rank in range(1, 20)) <= 0.05


class Reader(nn.Module):
    """Looks words up in a table and says which of two kinds the text is."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8, dtype=dtype)
        self.blocks = nn.Sequential(nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8, bias=False)))
        self.head = nn.Linear(8, 2)
        self.register_buffer("seen", torch.zeros(3, dtype=torch.long))

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.blocks(self.table(ids).float())
        return self.head(hidden if self.training else hidden.mean(1))


WORDS = torch.zeros(1, 5, dtype=torch.long)


@pytest.mark.parametrize("embeddings", ["dense", "low_rank"])
def test_every_layer_is_described_as_it_is(embeddings):
    model = Reader(torch.bfloat16).train()
    counts = count_model(model, example=WORDS, embeddings=embeddings)
    layers = (
        LayerCount("blocks.0.0", 8, 12, True, 5, 4),
        LayerCount("blocks.0.1", 12, 8, False, 5, 4),
    )
    table = LayerCount("table", 50, 8, False, 5, 2, always_bias=False, embedding=True)
    assert counts.layers == (layers if embeddings == "dense" else (*layers, table))
    assert counts.params == 400 + 108 + 96 + 18
    assert counts.bytes == 2 * 400 + 4 * (108 + 96 + 18) + 8 * 3, "buffers are bytes as well"
    assert counts.macs == 5 * 96 + 5 * 96 + 16 == count_macs(model, WORDS)
    assert all(m.training and not m._forward_hooks for m in model.modules())


def test_a_table_of_words_costs_what_its_second_factor_multiplies():
    table = LayerCount("table", 50, 8, False, 5, 4, always_bias=False, embedding=True)
    assert (table.params, table.macs) == (400, 0)
    assert table.low_rank_params(3) == 3 * 58 and table.low_rank_macs(3) == 5 * 3 * 8
    assert table.largest_rank == 6 and table.break_even_rank == 7


@pytest.mark.parametrize(
    ("bias", "always", "params", "C"),
    [(True, True, 65, 5), (True, False, 65, 5), (False, True, 60, 5), (False, False, 60, 0)],
)
def test_a_layer_costs_what_its_weights_and_its_products_do(bias, always, params, C):
    layer = LayerCount("fc", 12, 5, bias, 4, 2, always_bias=always)
    assert (layer.params, layer.macs) == (params, 4 * 60)
    assert (layer.low_rank_params(0), layer.low_rank_params(2)) == (C, 2 * 17 + C)
    assert layer.low_rank_macs(2) == 4 * 2 * 17


def test_a_model_shrinks_as_far_as_its_thinnest_layer_lets_it():
    thin, wide = LayerCount("a", 10, 30, True, 1, 4), LayerCount("b", 48, 48, True, 1, 4)
    for layers in ((thin, wide), (wide, thin)):
        counts = ModelCounts(layers, params=1, macs=1, bytes=1)
        assert (counts.break_even_rank, counts.largest_rank) == (8, 7)
    assert LayerCount("c", 1, 8, True, 1, 4).largest_rank == 0


def test_who_imports_the_counting_pays_for_no_compiler():
    assert imported_without("pclora_lab.nn.counting", "torch.utils.flop_counter").count_macs


def test_what_was_counted_can_not_be_changed():
    layer = LayerCount("fc", 2, 2, True, 1, 4)
    assert_fixed(layer, ModelCounts((layer,), params=1, macs=1, bytes=1))


def test_counting_prints_nothing(capsys):
    count_model(Reader(), example=WORDS)
    count_macs(Reader(), WORDS)
    assert capsys.readouterr() == ("", "")

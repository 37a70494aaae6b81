"""The fading layer as one product, against the formula written out."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pclora_lab.methods.pclora.merged import merged_linear, merging_pays

TOKENS, IN, OUT, RANK = 40, 7, 5, 3


def parts(dtype: torch.dtype, *, residual: bool) -> dict[str, Tensor | None]:
    """x, W, λ, A, B, c and a start, all drawn."""
    draw = torch.Generator().manual_seed(0)
    shapes = {
        "x": (2, TOKENS // 2, IN), "W": (OUT, IN), "A": (RANK, IN), "B": (OUT, RANK), "c": (OUT,),
        "A0": (RANK, IN), "B0": (OUT, RANK),
    }  # fmt: skip
    drawn = {n: torch.randn(s, generator=draw, dtype=torch.float64) for n, s in shapes.items()}
    if not residual:
        drawn["A0"] = drawn["B0"] = None
    made = {n: v if v is None else v.to(dtype) for n, v in drawn.items()}
    return {**made, "lam": torch.tensor(0.3, dtype=dtype)}


def merged(p: dict) -> Tensor:
    start = None if p["A0"] is None else (p["A0"], p["B0"])
    return merged_linear(p["x"], p["W"], p["lam"], p["A"], p["B"], p["c"], start)


def apart(p: dict) -> Tensor:
    """λ(Wx − B₀A₀x) + BAx + c, product by product."""
    base = F.linear(p["x"], p["W"])
    if p["A0"] is not None:
        base = base - F.linear(F.linear(p["x"], p["A0"]), p["B0"])
    return p["lam"] * base + F.linear(F.linear(p["x"], p["A"]), p["B"], p["c"])


def outcome(layer, p: dict) -> list[Tensor]:
    """The output and the gradients of all that may have one."""
    leaves = [p[name].requires_grad_() for name in ("x", "A", "B", "c")]
    y = layer(p)
    return [y, *torch.autograd.grad(y, leaves, torch.sin(torch.arange(y.numel())).view_as(y).to(y))]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_output_and_gradients_are_those_of_the_formula(dtype, near, residual):
    ours = outcome(merged, parts(dtype, residual=residual))
    plain = outcome(apart, parts(dtype, residual=residual))
    for one, other in zip(ours, plain, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= near * other.abs().max()


@pytest.mark.parametrize("residual", [False, True])
def test_the_gradient_itself_has_one(residual):
    p = parts(torch.float64, residual=residual)
    inputs = tuple(p[name].requires_grad_() for name in ("x", "A", "B", "c"))
    rest = {"W": p["W"], "lam": p["lam"], "A0": p["A0"], "B0": p["B0"]}
    assert torch.autograd.gradgradcheck(
        lambda x, A, B, c: merged({**rest, "x": x, "A": A, "B": B, "c": c}), inputs
    )


def test_of_the_size_of_the_batch_only_the_input_is_kept():
    p, kept = parts(torch.float32, residual=True), []
    for name in ("x", "A", "B", "c"):
        p[name].requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        merged(p)
    assert sum(TOKENS in (t.shape.numel() // t.shape[-1],) for t in kept if t.ndim) == 1
    own = {p[n].data_ptr() for n in ("x", "A", "B", "W", "lam", "A0", "B0")}
    assert {t.data_ptr() for t in kept} <= own, "M is made again, not kept"


LEAVES = ("x", "A", "B", "c")
SOME = [names for n in range(1, 5) for names in itertools.combinations(LEAVES, n)]


@pytest.mark.parametrize("wanted", SOME, ids="".join)
@pytest.mark.parametrize("residual", [False, True])
def test_exactly_what_asks_for_a_gradient_gets_its_own(residual, wanted):
    found = []
    for layer in (merged, apart):
        p = parts(torch.float64, residual=residual)
        for name in wanted:
            p[name].requires_grad_()
        layer(p).sin().sum().backward()
        found.append({name: None if v is None else v.grad for name, v in p.items()})
    ours, plain = found
    assert {name for name, grad in ours.items() if grad is not None} == set(wanted)
    for name in wanted:
        torch.testing.assert_close(ours[name], plain[name])


@pytest.mark.parametrize("shape", [(IN,), (9, IN), (2, 3, IN), (2, 2, 2, IN)])
def test_any_leading_dimensions_stay(shape):
    p = parts(torch.float64, residual=True)
    p["x"] = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(merged(p), apart(p))


def test_small_adapters_of_half_precision_are_merged_in_float32():
    p = parts(torch.bfloat16, residual=True)
    p["W"], p["lam"] = torch.ones_like(p["W"]), torch.ones_like(p["lam"])
    p["A"], p["A0"] = torch.ones_like(p["A"]), torch.ones_like(p["A"])
    # A thousandth each, nothing beside 1 in bfloat16; three ranks in and two and a half out again.
    p["B"], p["B0"] = torch.full_like(p["B"], 1e-3), torch.full_like(p["B"], -1e-3)
    x = torch.full((1, IN), 1.0)
    p["x"], p["c"] = x.bfloat16(), torch.zeros(OUT, dtype=torch.bfloat16)
    start = (p["A0"].float(), p["B0"].float())
    with torch.no_grad():
        exact = merged_linear(x, *(p[n].float() for n in ("W", "lam", "A", "B", "c")), start)
        assert (merged(p) - exact).abs().max() <= torch.finfo(torch.bfloat16).eps * exact.max()
    assert (exact - IN).min() > 0.03 * 1


def test_what_takes_no_gradient_costs_none():
    p = parts(torch.float32, residual=False)
    p["A"].requires_grad_()
    merged(p).sum().backward()
    assert p["A"].grad is not None and p["x"].grad is p["B"].grad is None


def test_under_autocast_it_computes_in_its_precision_and_merges_in_float32():
    p = parts(torch.float32, residual=True)
    p["B"] = p["B"] * 1e-3  # in bfloat16, nothing beside W
    p["B0"] = p["B0"] * 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        ours = outcome(merged, p)
    plain = outcome(apart, {n: v if v is None else v.detach() for n, v in p.items()})
    assert ours[0].dtype == torch.bfloat16 and all(g.dtype == torch.float32 for g in ours[1:])
    for one, other in zip(ours, plain, strict=True):
        assert (one - other).abs().max() <= 0.03 * other.abs().max()


def test_merging_pays_from_the_break_even_rank_on():
    assert [merging_pays(n, 12, 4) for n in (2, 3)] == [False, True]

"""``x (W₀ + Sᵀ)ᵀ + b`` in one product, against the same written out for autograd."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pclora_lab.methods.snella.kernels import SCALARS, merge_factors
from pclora_lab.methods.snella.sparse_product import Recipe, SparseProduct, sparse_matrix
from pclora_lab.methods.snella.sparsifiers import SPARSIFIERS, sparsify

IN, OUT, HALF, ROWS, SPARSITY = 6, 5, 2, 4, 0.6
KERNELS = pytest.mark.parametrize("kernel", ["piecewise_linear", "mixed", "rbf"])


def parts(kernel: str, dtype=torch.float64) -> dict[str, Tensor]:
    """x, W, b, the factors, and the scalars of a kernel that trains them."""
    shapes = {"x": (ROWS, IN), "W": (OUT, IN), "b": (OUT,), "A": (2, IN, HALF), "B": (2, OUT, HALF)}
    draw = torch.Generator().manual_seed(0)
    made = {n: torch.randn(s, generator=draw, dtype=torch.float64) for n, s in shapes.items()}
    if kernel == "mixed":
        values = {"alpha": 0.7, "gamma": 1.3, "beta": 0.2}
        made |= {n: torch.tensor(v, dtype=torch.float64) for n, v in values.items()}
    return {name: value.to(dtype) for name, value in made.items()}


def trained(p: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(value for name, value in p.items() if name not in ("x", "W", "b"))


def ours(p, recipe, sparsity=SPARSITY) -> Tensor:
    return SparseProduct.apply(p["x"], recipe, sparsity, p["W"], p["b"], *trained(p))


def matrix(p, recipe, sparsity=SPARSITY) -> Tensor:
    """Sᵀ by the two functions that a person would call."""
    scalars = {n: p[n] for n in ("alpha", "gamma", "beta") if n in p}
    return sparsify(merge_factors(p["A"], p["B"], recipe.kernel, **scalars), sparsity,
                    recipe.sparsifier).T  # fmt: skip


def plain(p, recipe, sparsity=SPARSITY) -> Tensor:
    S = matrix(p, recipe, sparsity)
    return F.linear(p["x"], S if p["W"] is None else p["W"] + S, p["b"])


def gradients(function, p, recipe, wanted, sparsity=SPARSITY) -> dict[str, Tensor | None]:
    leaves = {n: None if v is None else v.clone() for n, v in p.items()}
    for name in wanted:
        leaves[name].requires_grad_()
    y = function(leaves, recipe, sparsity)
    (y * torch.arange(y.numel()).view_as(y).sin()).sum().backward()
    return {n: None if v is None else v.grad for n, v in leaves.items()}


@KERNELS
@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("missing", ["", "b", "W", "Wb"])
def test_output_and_gradients_are_those_of_the_formula(kernel, sparsifier, missing):
    recipe, p = Recipe(kernel, sparsifier), parts(kernel)
    p |= dict.fromkeys(missing)
    torch.testing.assert_close(ours(p, recipe), plain(p, recipe))
    wanted = [name for name in p if name not in ("W", "b")]
    got, want = (gradients(f, p, recipe, wanted) for f in (ours, plain))
    for name in wanted:
        torch.testing.assert_close(got[name], want[name])
        assert got[name].abs().sum() > 0


@pytest.mark.parametrize("kernel", ["piecewise_linear", "mixed"])
def test_exactly_what_asks_for_a_gradient_gets_its_own(kernel):
    recipe, p = Recipe(kernel, "squared"), parts(kernel)
    names = ["x", "A", "B", *(["gamma"] if kernel == "mixed" else [])]
    for count in range(1, len(names) + 1):
        for wanted in itertools.combinations(names, count):
            got, want = (gradients(f, p, recipe, wanted) for f in (ours, plain))
            assert {n for n, g in got.items() if g is not None} == set(wanted)
            for name in wanted:
                torch.testing.assert_close(got[name], want[name])


@KERNELS
@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
def test_the_matrix_alone_is_the_one_that_is_used(kernel, sparsifier, sparsity):
    recipe, p = Recipe(kernel, sparsifier), parts(kernel)
    S = sparse_matrix(recipe, sparsity, trained(p))
    assert S.shape == (OUT, IN)
    torch.testing.assert_close(S, matrix(p, recipe, sparsity))
    held = torch.tensor(sparsity, dtype=torch.float64)
    assert torch.equal(sparse_matrix(recipe, held, trained(p)), S), "as where it is compiled"
    torch.testing.assert_close(ours(p, recipe, held), ours(p, recipe, sparsity))


def test_a_kernel_whose_scalars_are_not_trained_takes_its_own():
    p = parts("rbf")
    assert SCALARS["rbf"] == {"gamma": 1.0}
    S = sparse_matrix(Recipe("rbf", "mask"), 0.0, trained(p))
    A, B = p["A"], p["B"]
    distances = torch.cdist(B, A).square()
    c1, c2 = 0.1, -0.1
    want = c1 * torch.exp(-distances[0]) + c2 * torch.exp(-distances[1])
    torch.testing.assert_close(S, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_only_where_it_is_multiplied(dtype):
    recipe, p = Recipe("piecewise_linear", "squared"), parts("piecewise_linear", dtype)
    S = sparse_matrix(recipe, SPARSITY, trained(p))
    assert S.dtype == torch.float32
    torch.testing.assert_close(S, matrix({n: v.float() for n, v in p.items()}, recipe))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sparse_matrix(recipe, SPARSITY, trained(p)), S)
    y = ours(p, recipe)
    assert y.dtype == dtype
    wanted = ("x", "A", "B")
    got = gradients(ours, p, recipe, wanted)
    exact = gradients(plain, {n: v.double() for n, v in p.items()}, recipe, wanted)
    for name in wanted:
        assert got[name].dtype == dtype
        near = 0.05 * exact[name].abs().max().item()
        torch.testing.assert_close(got[name].double(), exact[name], atol=near, rtol=0.05)


def test_the_threshold_is_kept_and_not_a_matrix():
    kept, p = [], parts("piecewise_linear")
    p["A"].requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ours(p, Recipe("piecewise_linear", "squared"))
    own = {p[n].data_ptr() for n in ("x", "W", "A", "B")}
    (threshold,) = (t for t in kept if t.data_ptr() not in own)
    assert threshold.ndim == 0
    magnitudes = sparse_matrix(Recipe("piecewise_linear", "mask"), 0.0, trained(p)).abs()
    assert int((magnitudes > threshold).sum()) == IN * OUT - 1 - int(SPARSITY * (IN * OUT - 1))


def test_a_second_derivative_is_refused_and_not_wrong():
    p = parts("piecewise_linear")
    A = p["A"].requires_grad_()
    y = ours(p, Recipe("piecewise_linear", "squared")).sin().sum()
    (of_A,) = torch.autograd.grad(y, A, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_A.square().sum().backward()

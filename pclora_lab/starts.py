"""Where A, B and C start: at zero as in the paper, or at what a low rank can already do.

A residual start puts the best rank-r approximation of W into the adapter and takes it out of the
base, so the student still equals the model at λ = 1, and what fades is only the rest.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pclora_lab.batches import Inputs, real_tokens
from pclora_lab.fading_embedding import PCLoRAEmbedding
from pclora_lab.layers import PCLoRALinear
from pclora_lab.surgery import call_model, evaluating, forward_hooks

__all__ = [
    "InputMoments",
    "activation_svd_factors",
    "cholesky_factor",
    "measure_inputs",
    "svd_factors",
]


class InputMoments:
    """Running mean and covariance of the vectors that enter a layer.

    Example:
        >>> moments = InputMoments(2)
        >>> moments.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        >>> moments.mean.tolist(), moments.covariance.tolist()
        ([2.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
    """

    def __init__(self, features: int, device: torch.device | str | None = None) -> None:
        self.count = 0
        # What the sums are taken around: without it, float32 loses a small variance far from 0.
        self.origin = torch.zeros(features, device=device)
        place = _where_float64_is(torch.device(device) if device is not None else None)
        self.total = torch.zeros(features, dtype=torch.float64, device=place)
        self.products = torch.zeros(features, features, dtype=torch.float64, device=place)

    def update(self, x: Tensor) -> None:
        """Add inputs of shape ``(..., features)``."""
        x = x.reshape(-1, x.shape[-1]).float()
        if self.count == 0:
            self.origin = x.mean(0)
        x = x - self.origin
        self.count += x.shape[0]
        self.total += double(x.sum(0))
        self.products += double(x.T @ x)

    @property
    def mean(self) -> Tensor:
        """E[x], ``(features,)``, float64."""
        return double(self.origin) + self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """E[xxᵀ] − E[x]E[x]ᵀ, ``(features, features)``, float64."""
        offset = self.total / self.count
        return self.products / self.count - torch.outer(offset, offset)


def _where_float64_is(device: torch.device | None) -> torch.device | None:
    # Apple's GPUs have no float64.
    return torch.device("cpu") if device is not None and device.type == "mps" else device


def double(values: Tensor) -> Tensor:
    """In float64, on the tensor's device where it can be."""
    return values.detach().to(_where_float64_is(values.device)).double()


def measure_inputs(
    model: nn.Module, layers: Mapping[str, nn.Linear], batches: Iterable[Inputs]
) -> dict[str, InputMoments]:
    """Mean and covariance of every layer's input over some batches, in eval mode.

    Args:
        model: the dense model; its mode is restored.
        layers: the layers to watch, by name.
        batches: model inputs; a few hundred examples are enough. Padding is not counted.

    Raises:
        ValueError: there was no batch.
    """
    moments = {
        name: InputMoments(layer.in_features, layer.weight.device) for name, layer in layers.items()
    }
    real = None

    def update(name: str, x: Tensor, _: object) -> None:
        moments[name].update(x if real is None or x.shape[:2] != real.shape else x[real])

    # A view of GPT-2's Conv1D is never called itself.
    modules = dict(model.named_modules())
    called = {name: modules.get(name, layer) for name, layer in layers.items()}
    with evaluating(model), forward_hooks(called, update):
        for batch in batches:
            real = real_tokens(batch)
            call_model(model, batch)
    empty = [name for name, m in moments.items() if m.count == 0]
    if empty:
        raise ValueError(
            f"no input reached {', '.join(empty)}: the activation_svd start measures real "
            "batches; pass calibration= with at least one"
        )
    broken = [name for name, m in moments.items() if not m.products.isfinite().all()]
    if broken:
        raise ValueError(
            f"the inputs of {', '.join(broken)} are not finite on the calibration batches: check "
            'them for NaN, or use init="svd", which needs none'
        )
    return moments


def svd_factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best rank-r approximation ``B A`` of a weight, √S on both sides.

    ``W = U S Vᵀ``, ``B = U_r √S_r``, ``A = √S_r V_rᵀ``.

    Args:
        weight: ``(out_features, in_features)``.
        rank: r.

    Returns:
        A ``(rank, in_features)`` and B ``(out_features, rank)``, float64.

    Example:
        >>> A, B = svd_factors(torch.diag(torch.tensor([3.0, 2.0, 0.0])), rank=2)
        >>> (B @ A).round(decimals=6).diagonal().tolist()
        [3.0, 2.0, 0.0]
    """
    U, S, Vh = torch.linalg.svd(double(weight), full_matrices=False)
    root = S[:rank].sqrt()
    return root[:, None] * Vh[:rank], U[:, :rank] * root


def cholesky_factor(covariance: Tensor, damping: float = 1e-4) -> Tensor:
    """The lower triangular L with ``L Lᵀ = Σ + damping · mean(diag Σ) · I``.

    Args:
        covariance: Σ of a layer's input, ``(in_features, in_features)``.
        damping: added to the diagonal of Σ, as a fraction of its mean, so that L exists.

    Returns:
        L ``(in_features, in_features)``, float64.

    Example:
        >>> cholesky_factor(torch.diag(torch.tensor([4.0, 9.0])), damping=0).diagonal().tolist()
        [2.0, 3.0]
    """
    covariance = double(covariance)
    ridge = damping * covariance.diagonal().mean().clamp_min(1e-12)
    eye = torch.eye(covariance.shape[0], dtype=torch.float64, device=covariance.device)
    return torch.linalg.cholesky(covariance + ridge * eye)


def activation_svd_factors(
    weight: Tensor, covariance: Tensor, rank: int, damping: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """The rank-r ``B A`` that comes closest to W on the inputs the layer really sees.

    With ``Σ = L Lᵀ`` and ``W L = U S Vᵀ``: ``B = U_r √S_r``, ``A = √S_r V_rᵀ L⁻¹``. This minimises
    ``E‖(W − BA)(x − μ)‖²``.

    Args:
        weight: ``(out_features, in_features)``.
        covariance: Σ of the layer's input, ``(in_features, in_features)``.
        rank: r.
        damping: added to the diagonal of Σ, as a fraction of its mean, so that L exists.

    Returns:
        A ``(rank, in_features)`` and B ``(out_features, rank)``, float64.
    """
    L = cholesky_factor(covariance, damping)
    A, B = svd_factors(double(weight) @ L, rank)
    return torch.linalg.solve_triangular(L, A, upper=False, left=False), B


def start_residual(layer: PCLoRALinear | PCLoRAEmbedding, moments: InputMoments | None) -> None:
    """Give a layer its residual start: ``svd`` without input moments, ``activation_svd`` with.

    C starts at b; with measured inputs at ``b + (W − BA) μ``, which also keeps the mean of what
    the low rank misses.
    """
    if isinstance(layer, PCLoRAEmbedding):
        rows, columns = _table_factors(layer.base.weight, layer.rank)
        return layer.start_from(*(value.to(layer.A.dtype) for value in (rows, columns)))
    weight, bias = layer.base.weight, layer.base.bias
    C = torch.zeros_like(layer.C) if bias is None else bias.detach()
    if moments is None:
        A, B = svd_factors(weight, layer.rank)
    else:
        A, B = activation_svd_factors(weight, moments.covariance, layer.rank)
        C = double(C) + (double(weight) - B @ A) @ moments.mean
    # Rounded before they move, because copy_ on mps can't take a float64 source.
    layer.start_from(*(value.to(weight.dtype) for value in (A, B, C)))


def _table_factors(table: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``E ≈ A Bᵀ`` of a table ``(words, features)``, √S on both sides.

    From the small Gram matrix EᵀE, since E has tens of thousands of rows.
    """
    exact = double(table)
    values, V = torch.linalg.eigh(exact.T @ exact)
    root = values[-rank:].clamp_min(1e-24).sqrt().sqrt()
    V = V[:, -rank:]
    return exact @ V / root, V * root

"""Low-rank approximations of a weight: by singular values, or by the inputs that really come."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs, call_model, eval_mode, forward_hooks, token_mask
from pclora_lab.nn.surgery import find_targets

__all__ = [
    "InputMoments",
    "activation_svd_factors",
    "cholesky_factor",
    "factorize",
    "measure_inputs",
    "svd_factors",
    "weight_spectra",
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
    with eval_mode(model), forward_hooks(called, update):
        for batch in batches:
            real = token_mask(batch)
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

    With ``Σ = L Lᵀ`` and ``W L = U S Vᵀ``: ``B = U_r √S_r``, ``A = √S_r V_rᵀ L⁻¹``. This minimizes
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


def _table_factors(table: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``E ≈ A Bᵀ`` of a table ``(words, features)``, √S on both sides.

    From the small Gram matrix EᵀE, since E has tens of thousands of rows.
    """
    exact = double(table)
    values, V = torch.linalg.eigh(exact.T @ exact)
    root = values[-rank:].clamp_min(1e-24).sqrt().sqrt()
    V = V[:, -rank:]
    return exact @ V / root, V * root


def weight_spectra(
    model: nn.Module,
    targets: str = "blocks",
    moments: Mapping[str, InputMoments] | None = None,
) -> dict[str, Tensor]:
    """Singular values of every target's W, or of ``W L`` with ``L Lᵀ`` the inputs' covariance.

    The latter weigh a direction by how much of the layer's real input lies in it, as the
    ``activation_svd`` start does.

    Args:
        model: the dense model; it is only read.
        targets: see :func:`pclora_lab.nn.surgery.find_targets`.
        moments: by layer name, from :func:`pclora_lab.methods.factorization.measure_inputs`.

    Returns:
        ``(min(in_features, out_features),)`` each, largest first, float64.

    Raises:
        ValueError: no target, or moments that lack one.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[0.0, 3.0], [1.0, 0.0]]))
        >>> weight_spectra(net, targets="0")["0"].tolist()
        [3.0, 1.0]
    """
    layers = find_targets(model, targets)
    missing = [name for name in layers if moments is not None and name not in moments]
    if missing:
        raise ValueError(f"moments lack {', '.join(missing)}: measure all targets, or pass none")
    spectra = {}
    for name, layer in layers.items():
        weight = double(layer.weight)
        if moments is not None:
            weight = weight @ cholesky_factor(moments[name].covariance)
        spectra[name] = _singular_values(weight)
    return spectra


def _singular_values(weight: Tensor) -> Tensor:
    # A third of the time of an SVD. What the square can't resolve, below 1e-8 of the largest, has
    # no energy to speak of.
    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
    return torch.linalg.eigvalsh(tall.T @ tall).clamp_min(0).sqrt().flip(0)


def factorize(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best rank-r approximation ``W ≈ second · first``, √S in both factors.

    ``W = U S Vᵀ``, ``first = √S_r V_rᵀ``, ``second = U_r √S_r``.

    Args:
        weight: ``(out_features, in_features)``, of any floating dtype.
        rank: r, at most ``min(in_features, out_features)``.

    Returns:
        first ``(rank, in_features)`` and second ``(out_features, rank)``, on the weight's device
        and in its dtype.

    Raises:
        ValueError: a rank that the weight does not have, or values that are not finite.

    Source:
        PELA, arXiv:2310.10700, low-rank step.

    Example:
        >>> first, second = factorize(torch.diag(torch.tensor([9.0, 4.0, 0.0])), rank=2)
        >>> (second @ first).diagonal().round(decimals=4).tolist(), first.abs().max().item()
        ([9.0, 4.0, 0.0], 3.0)
    """
    if not 1 <= rank <= min(weight.shape):
        raise ValueError(
            f"rank {rank} does not exist in a weight of shape {tuple(weight.shape)}: use 1 to "
            f"{min(weight.shape)}"
        )
    W = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    is_tall = W.shape[0] >= W.shape[1]
    tall = W if is_tall else W.T
    V = _right_singular_vectors(tall, rank)
    US = tall @ V
    root = US.norm(dim=0).sqrt()
    # A singular value of 0 leaves a column of zeros, where dividing by 0 would give NaN.
    left, right = US / root.clamp_min(torch.finfo(V.dtype).tiny), V * root
    first, second = (right.T, left) if is_tall else (left.T, right)
    return first.to(weight.dtype).contiguous(), second.to(weight.dtype).contiguous()


def _right_singular_vectors(tall: Tensor, rank: int) -> Tensor:
    # V diagonalizes the Gram matrix. In float64 that takes less than half the time of a thin SVD
    # in float32 and is more exact: squaring costs half the digits, but float64 has twice as many,
    # while float32 mixes up neighboring directions where a few values are far larger (1e-4).
    exact = double(tall)
    gram = exact.T @ exact
    # Any value that is not finite shows on the diagonal.
    if not gram.is_meta and not gram.diagonal().isfinite().all():
        raise ValueError("the weight is not finite everywhere: no low rank approximates it")
    V = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)
    # Rounded before it moves: Apple's GPUs have no float64.
    return V.to(tall.dtype).to(tall.device)

"""Low-rank approximations of a weight: by singular values, or by the inputs that really come."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pclora_lab.methods.input_moments import InputMoments, double
from pclora_lab.nn.surgery import find_targets
from pclora_lab.wording import listed

__all__ = [
    "activation_svd_factors",
    "affine_factors",
    "cholesky_factor",
    "factorize",
    "singular_values",
    "svd_factors",
    "truncation_error",
    "weight_spectra",
]


def svd_factors(weight: Tensor, rank: int, *, driver: str = "lapack") -> tuple[Tensor, Tensor]:
    """The best rank-r approximation ``W ≈ B A`` of a weight, √S on both sides.

    ``W = U S Vᵀ``, ``B = U_r √S_r``, ``A = √S_r V_rᵀ``. Every low-rank approximation of this
    package is made here.

    Args:
        weight: ``(out_features, in_features)``.
        rank: r.
        driver: ``lapack`` takes an SVD in float64. ``gram`` takes the eigenvectors of the smaller
            of WᵀW and WWᵀ, in less than half the time, and multiplies them with W in the
            weight's own precision.

    Returns:
        A ``(rank, in_features)`` and B ``(out_features, rank)``: float64 with ``lapack``, the
        weight's dtype (at least float32) with ``gram``.

    Raises:
        ValueError: values that are not finite, with ``gram``.

    Example:
        >>> A, B = svd_factors(torch.diag(torch.tensor([3.0, 2.0, 0.0])), rank=2)
        >>> (B @ A).round(decimals=6).diagonal().tolist()
        [3.0, 2.0, 0.0]
    """
    if driver == "gram":
        return _gram_factors(weight, rank)
    U, S, Vh = torch.linalg.svd(double(weight), full_matrices=False)
    root = S[:rank].sqrt()
    return root[:, None] * Vh[:rank], U[:, :rank] * root


def _gram_factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    W = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    is_tall = W.shape[0] >= W.shape[1]
    tall = W if is_tall else W.T
    V = _right_singular_vectors(tall, rank)
    US = tall @ V
    root = US.norm(dim=0).sqrt()
    # A singular value of 0 leaves a column of zeros, where dividing by 0 would give NaN.
    left, right = US / root.clamp_min(torch.finfo(V.dtype).tiny), V * root
    return (right.T, left) if is_tall else (left.T, right)


def _right_singular_vectors(tall: Tensor, rank: int) -> Tensor:
    # V diagonalizes the Gram matrix. In float64 that takes less than half the time of a thin SVD
    # in float32 and is more exact: squaring costs half the digits, but float64 has twice as many,
    # while float32 mixes up neighboring directions where a few values are far larger (1e-4).
    gram = _gram(tall)
    # Any value that is not finite shows on the diagonal.
    if not gram.is_meta and not gram.diagonal().isfinite().all():
        raise ValueError("the weight is not finite everywhere: no low rank approximates it")
    V = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)
    # Rounded before it moves: Apple's GPUs have no float64.
    return V.to(tall.dtype).to(tall.device)


def _gram(tall: Tensor) -> Tensor:
    exact = double(tall)
    return exact.T @ exact


def singular_values(weight: Tensor) -> Tensor:
    """All of them, largest first, float64, in a third of the time of an SVD.

    What the square can't resolve, below 1e-8 of the largest, has no energy to speak of.

    Example:
        >>> singular_values(torch.tensor([[0.0, 3.0], [1.0, 0.0]])).tolist()
        [3.0, 1.0]
    """
    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
    return torch.linalg.eigvalsh(_gram(tall)).clamp_min(0).sqrt().flip(0)


def truncation_error(values: Tensor, rank: int) -> float:
    """Relative error of the best rank-r approximation: ``√(Σ_{i>r} σᵢ² / Σᵢ σᵢ²)``.

    No matrix of rank r comes closer, in the Frobenius norm. It is also the relative error of the
    outputs, for inputs with mean 0 and covariance I and a layer without a bias.

    Args:
        values: all singular values σ, ``(min(in_features, out_features),)``, in any order.
        rank: r, from 0; what is above the number of values leaves no error.

    Returns:
        0 to 1; 0 for a matrix of zeros.

    Raises:
        ValueError: a negative rank.

    Source:
        Eckart and Young, Psychometrika 1, 1936.

    Example:
        >>> truncation_error(torch.tensor([4.0, 3.0]), rank=1)
        0.6
    """
    if rank < 0:
        raise ValueError(f"rank {rank} is negative: a matrix has a rank from 0 on")
    energy = double(values).square().sort(descending=True).values
    total = energy.sum().item()
    return math.sqrt(energy[rank:].sum().item() / total) if total else 0.0


def factorize(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A weight's two factors ``W ≈ B A``, ready to stand in a model: PELA's low-rank step.

    Args:
        weight: ``(out_features, in_features)``, of any floating dtype.
        rank: r, at most ``min(in_features, out_features)``.

    Returns:
        A ``(rank, in_features)`` and B ``(out_features, rank)``, on the weight's device and in its
        dtype; see :func:`svd_factors`.

    Raises:
        ValueError: a rank that the weight does not have, or values that are not finite.

    Source:
        PELA, arXiv:2310.10700.

    Example:
        >>> A, B = factorize(torch.diag(torch.tensor([9.0, 4.0, 0.0])), rank=2)
        >>> (B @ A).diagonal().round(decimals=4).tolist(), A.abs().max().item()
        ([9.0, 4.0, 0.0], 3.0)
    """
    if not 1 <= rank <= min(weight.shape):
        raise ValueError(
            f"rank {rank} does not exist in a weight of shape {tuple(weight.shape)}: use 1 to "
            f"{min(weight.shape)}"
        )
    A, B = svd_factors(weight, rank, driver="gram")
    return A.to(weight.dtype).contiguous(), B.to(weight.dtype).contiguous()


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


def affine_factors(
    weight: Tensor, bias: Tensor | None, moments: InputMoments, rank: int, damping: float = 1e-4
) -> tuple[Tensor, Tensor, Tensor]:
    """The rank-r layer ``B(A x) + C`` that comes closest to ``W x + b`` on the inputs it sees.

    It minimizes ``E‖W x + b − B A x − C‖²``. For any A and B the best C makes the mean error 0,
    ``C = b + (W − BA) μ``; what is left, ``E‖(W − BA)(x − μ)‖²``, is minimized by
    :func:`activation_svd_factors`.

    Args:
        weight: W, ``(out_features, in_features)``.
        bias: b, ``(out_features,)``; None is 0.
        moments: mean μ and covariance of the layer's input.
        rank: r.
        damping: as in :func:`activation_svd_factors`.

    Returns:
        A ``(rank, in_features)``, B ``(out_features, rank)`` and C ``(out_features,)``, float64.

    Example:
        >>> moments = InputMoments(2)
        >>> moments.update(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
        >>> A, B, C = affine_factors(torch.eye(2), None, moments, rank=1, damping=1e-9)
        >>> (B @ A).round(decimals=6).abs().tolist(), C.round(decimals=6).tolist()
        ([[1.0, 0.0], [0.0, 0.0]], [0.0, 5.0])
    """
    A, B = activation_svd_factors(weight, moments.covariance, rank, damping)
    missed = (double(weight) - B @ A) @ moments.mean
    return A, B, missed if bias is None else double(bias) + missed


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
        moments: by layer name, from :func:`pclora_lab.methods.measure_inputs`.

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
        raise ValueError(f"moments lack {listed(missing)}: measure all targets, or pass none")
    spectra = {}
    for name, layer in layers.items():
        weight = double(layer.weight)
        if moments is not None:
            weight = weight @ cholesky_factor(moments[name].covariance)
        spectra[name] = singular_values(weight)
    return spectra

"""What keeps a merged matrix sparse: its entries compete, and those above a quantile stay."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pclora_lab.methods.snella.choices import SPARSIFIERS, check_choice

__all__ = ["SPARSIFIERS", "kept_entries", "sparsify"]


def sparsify(M: Tensor, sparsity: float, sparsifier: str = "squared") -> Tensor:
    r"""Keep the entries of a matrix whose magnitude is above the ``sparsity`` quantile t of all.

    ===========  ======================  ====================================================
    ``squared``  ``M·|M|`` if |M| > t    SNELL's code; |M| takes no gradient, so this is half
                                         the gradient of M·|M|
    ``soft``     ``M·max(|M| − t, 0)``   the paper's eq. 5; |M| takes gradient, t does not,
                                         since a quantile rests on one or two entries
    ``mask``     ``M`` if |M| > t        a plain mask, for comparison
    ===========  ======================  ====================================================

    Args:
        M: any shape, n entries.
        sparsity: s in [0, 1]. 0 keeps everything, 1 nothing; in between :func:`kept_entries`
            stay, fewer only where magnitudes tie.
        sparsifier: one of :data:`SPARSIFIERS`.

    Returns:
        S, the shape of M.

    Raises:
        ValueError: sparsity outside [0, 1] or unknown rule.

    Example:
        >>> sparsify(torch.tensor([1.0, -2.0, 3.0, -4.0]), 0.5).tolist()
        [0.0, -0.0, 9.0, -16.0]
    """
    check_choice("sparsifier", sparsifier, SPARSIFIERS)
    threshold = find_threshold(M, check_sparsity(sparsity), sparsifier)
    if sparsifier == "soft":
        return M * F.relu(M.abs() - threshold)
    return M * rule_factors(M.detach().abs(), threshold, sparsifier)[0]


def find_threshold(M: Tensor, sparsity: float, sparsifier: str) -> Tensor:
    """What |M| has to exceed, 0-dim: the quantile of ``soft``, else its lower neighbor in |M|.

    Both select the same entries, but rounding can lift an interpolated value onto the entry
    above it.
    """
    return threshold_of(M.detach().abs(), sparsity, sparsifier)


def threshold_of(magnitude: Tensor, sparsity: float, sparsifier: str) -> Tensor:
    """:func:`find_threshold` of |M|, which stays as it is."""
    if sparsity == 0:
        return magnitude.new_full((), 0.0 if sparsifier == "soft" else -1.0)
    low, share = _position(sparsity, magnitude.numel())
    high = low + (sparsifier == "soft" and share > 0)
    find = by_partition if magnitude.is_cpu else by_topk
    below, above = find(magnitude.flatten(), low, high)
    threshold = below if low == high else torch.lerp(below, above, share)
    return threshold.to(magnitude.dtype)


def by_partition(flat: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Entries at two positions of the sorted values, the second at most one above; on the CPU."""
    # A tenth of the time of torch.kthvalue, as long as it is asked for one position.
    values = flat.to(torch.promote_types(flat.dtype, torch.float32), copy=True)
    values.numpy().partition(low)
    # A value of its own, not a view: it is kept for the backward pass, the others are not.
    below = values[low].clone()
    return below, below if low == high else values[high:].min()


def by_topk(flat: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """The same on a GPU, whose kthvalue leaves all but one thread block idle."""
    below = _nth(flat, low)
    return below, below if low == high else _nth(flat, high)


def _nth(flat: Tensor, position: int) -> Tensor:
    # From the nearer end: the others are never copied.
    above = flat.numel() - position
    if above <= position + 1:
        return flat.topk(above, sorted=False).values.amin()
    return flat.topk(position + 1, largest=False, sorted=False).values.amax()


@torch.library.custom_op("pclora_lab::snella_threshold", mutates_args=())
def compiled_threshold(magnitude: Tensor, sparsity: Tensor, sparsifier: str) -> Tensor:
    """:func:`threshold_of` for torch.compile, which makes a new graph for every other number.

    The sparsity is a float64 on the CPU: reading it waits for nothing. Fused kernels round another
    way, so that an entry at the threshold may change sides.
    """
    return threshold_of(magnitude, sparsity.item(), sparsifier)


compiled_threshold.register_fake(lambda magnitude, *_: magnitude.new_empty(()))


def rule_factors(magnitude: Tensor, threshold: Tensor, sparsifier: str) -> tuple[Tensor, Tensor]:
    """f and f′ of |M|, with ``S = M·f`` and ``∂S/∂M = f′``; one tensor where they are equal.

    Overwrites |M|.
    """
    if sparsifier == "soft":
        f = F.relu(magnitude - threshold)
        return f, magnitude.mul_(f.sign()).add_(f)
    if sparsifier == "mask":
        keep = magnitude.gt_(threshold)
        return keep, keep
    # The mask in M's own dtype: bool is slow on the CPU.
    f = magnitude.mul_(torch.gt(magnitude, threshold, out=torch.empty_like(magnitude)))
    return f, f


def kept_entries(sparsity: float, entries: int) -> int:
    """How many of n entries a sparsity keeps: ``n − 1 − ⌊s(n − 1)⌋``, and all n at s = 0.

    Example:
        >>> kept_entries(0.9, 768 * 3072), kept_entries(0.0, 100)
        (235930, 100)
    """
    return entries if sparsity == 0 else entries - 1 - _position(sparsity, entries)[0]


def _position(sparsity: float, entries: int) -> tuple[int, float]:
    position = sparsity * (entries - 1)
    return math.floor(position), position - math.floor(position)


def check_sparsity(sparsity: float) -> float:
    """The sparsity as a float, if it lies in [0, 1]."""
    if not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparsity {sparsity} is not in [0, 1]: it is the share of entries set to 0; 0.9 keeps "
            "a tenth of them"
        )
    return float(sparsity)

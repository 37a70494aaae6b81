"""A frozen linear layer with a trained sparse matrix beside it, made from two thin factors."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pclora_lab.methods.snella.choices import KERNELS, SPARSIFIERS, check_choice
from pclora_lab.methods.snella.kernels import SCALARS
from pclora_lab.methods.snella.sparse_product import Recipe, SparseProduct, sparse_matrix
from pclora_lab.methods.snella.sparsifiers import check_sparsity, kept_entries
from pclora_lab.nn.layers.precision import in_autocast
from pclora_lab.nn.layers.product_weight import product_weight
from pclora_lab.nn.layers.sharing import owner_follows
from pclora_lab.nn.surgery import frozen_view

__all__ = ["KernelSparseLinear"]


class KernelSparseLinear(nn.Module):
    r"""A frozen linear layer plus a sparse branch that is trained and can be merged into it.

    .. math:: y = x W_0^T + b + x S, \qquad S = \mathrm{sparsify}(\mathrm{merge}(A, B))

    Training keeps x and the factors; the full matrices are made again in the backward pass, and
    one product serves both parts. With dropout the branch has its own input and product.

    Args:
        base: the pre-trained layer. Its ``weight`` and ``bias`` are shared, not copied, and
            frozen.
        rank: r, even; half of it goes into each half of the factors.
        kernel: see :func:`~pclora_lab.methods.snella.kernels.merge_factors`. ``mixed`` also learns
            α, γ and β, from 1, 1 and 0.
        sparsity: share of S that is 0; change it with :meth:`set_sparsity` or
            :meth:`set_num_tunable`.
        sparsifier: see :func:`~pclora_lab.methods.snella.kernels.sparsify`.
        dropout: on the input of the branch, while training.
        generator: draws A uniform ±1/√(in·r/2) and B ±1/√(out·r/2). Neither is zero, so a new
            layer is only close to its base.

    Shape:
        ``(batch, tokens, in_features)`` → ``(batch, tokens, out_features)``; any leading
        dimensions. A: ``(2, in_features, rank/2)``, B: ``(2, out_features, rank/2)``.

    Raises:
        ValueError: rank not even and positive, sparsity outside [0, 1], unknown kernel or rule.

    Source:
        SNELL, arXiv:2411.01800; SNELLA, arXiv:2510.24037 (``mixed``).

    Example:
        >>> layer = KernelSparseLinear(nn.Linear(768, 3072), rank=32, sparsity=0.9)
        >>> layer(torch.zeros(2, 5, 768)).shape, layer.num_tunable
        (torch.Size([2, 5, 3072]), 235930)
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        *,
        kernel: str = "piecewise_linear",
        sparsity: float = 0.9,
        sparsifier: str = "squared",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("kernel", kernel, KERNELS)
        check_choice("sparsifier", sparsifier, SPARSIFIERS)
        if not isinstance(rank, int) or rank <= 0 or rank % 2:
            raise ValueError(
                f"rank {rank} cannot be split into two equal halves, one for each distance: use "
                "an even integer such as 32"
            )
        self.rank, self.kernel, self.sparsifier = rank, kernel, sparsifier
        self.in_features, self.out_features = base.in_features, base.out_features
        self.base = frozen_view(base)
        self.dropout = nn.Dropout(dropout)
        self.A = self._draw(self.in_features, generator)
        self.B = self._draw(self.out_features, generator)
        if kernel == "mixed":
            for name, value in SCALARS["mixed"].items():
                self.register_parameter(name, nn.Parameter(base.weight.new_full((), value)))
        self.register_buffer("sparsity", None)
        self.set_sparsity(sparsity)

    def _draw(self, features: int, generator: torch.Generator | None) -> nn.Parameter:
        # Drawn on the CPU so that one seed means the same factors on every device.
        half = self.rank // 2
        bound = 1 / math.sqrt(features * half)
        drawn = torch.empty(2, features, half, device="cpu", dtype=torch.float32)
        drawn.uniform_(-bound, bound, generator=generator)
        return nn.Parameter(drawn.to(self.base.weight))

    def set_sparsity(self, sparsity: float) -> None:
        """Set the share of S that is 0.

        Raises:
            ValueError: outside [0, 1].
        """
        # The forward pass reads the number; the buffer carries it in the state dict, and into a
        # compiled graph. It stays float64 on the CPU, whatever the layer is cast to: not every
        # device has float64.
        self._sparsity = check_sparsity(sparsity)
        self.sparsity = torch.tensor(self._sparsity, dtype=torch.float64, device="cpu")

    @property
    def num_tunable(self) -> int:
        """How many entries of S are kept."""
        return kept_entries(self._sparsity, self.in_features * self.out_features)

    def set_num_tunable(self, count: int) -> None:
        """Set the sparsity at which exactly ``count`` entries are kept, ``s = 1 − count/n``.

        Raises:
            ValueError: not an integer between 0 and ``in_features · out_features``.
        """
        entries = self.in_features * self.out_features
        if not isinstance(count, int) or not 0 <= count <= entries:
            raise ValueError(
                f"cannot tune {count} weights of {self.in_features}→{self.out_features}: use an "
                f"integer from 0 to {entries}"
            )
        self.set_sparsity(1 - count / entries)

    def _apply(self, fn: Any, recurse: bool = True) -> "KernelSparseLinear":
        held, self._buffers["sparsity"] = self._buffers["sparsity"], None
        try:
            with owner_follows(self):
                return super()._apply(fn, recurse)
        finally:
            self._buffers["sparsity"] = held

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        try:
            self.set_sparsity(state_dict.get(f"{prefix}sparsity", self.sparsity).item())
        except (ValueError, RuntimeError) as error:
            self.set_sparsity(self._sparsity)
            args[-1].append(f"{prefix}sparsity: {error}")

    def forward(self, input: Tensor) -> Tensor:
        """``x W₀ᵀ + b + x S``."""
        x = in_autocast(input)
        if not self.training or self.dropout.p == 0:
            return self._multiply(x, self.base.weight, self.base.bias)
        return self.base(x) + self._multiply(self.dropout(x), None, None)

    def _multiply(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        arguments = rows, self._recipe, self._its_sparsity, weight, bias, *self._trained
        if torch.compiler.is_compiling():
            # The compiler sees that both passes make the same matrix, and would keep it.
            made = checkpoint(SparseProduct.apply, *arguments, use_reentrant=False)
        else:
            made = SparseProduct.apply(*arguments)
        # No view, as with F.linear: a model may change it in place.
        return torch.ops.aten._unsafe_view(made, [*x.shape[:-1], made.shape[-1]])

    @property
    def _its_sparsity(self) -> float | Tensor:
        # Every other number would be another graph; a tensor is not.
        return self.sparsity if torch.compiler.is_compiling() else self._sparsity

    @property
    def _recipe(self) -> Recipe:
        return Recipe(self.kernel, self.sparsifier)

    @property
    def _trained(self) -> tuple[Tensor, ...]:
        scalars = (self.alpha, self.gamma, self.beta) if self.kernel == "mixed" else ()
        return (self.A, self.B, *scalars)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """Sᵀ, ``(out_features, in_features)``, what training adds to W₀; at least float32."""
        return sparse_matrix(self._recipe, self._its_sparsity, self._trained)

    @property
    def weight(self) -> Tensor:
        """``W₀ + Sᵀ``, ``(out_features, in_features)``, to read; made where it is used.

        Raises:
            RuntimeError: later, where gradients are to go through it.
        """
        return product_weight(self._sum, (self.out_features, self.in_features), self.base.weight)

    def _sum(self) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a model that computes with the weight of a layer instead of calling it can't "
                "train SNELLA's factors: read it under torch.no_grad()"
            )
        return self.delta().add_(self.base.weight).to(self.base.weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        """``b``, which is frozen."""
        return self.base.bias

    @torch.no_grad()
    def to_linear(self) -> nn.Linear:
        """A plain layer with weight W₀ + Sᵀ and a copy of b."""
        weight, bias = self.base.weight, self.base.bias
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(self.delta().add_(weight).to(weight.dtype))
        layer.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        return layer

    def extra_repr(self) -> str:
        """Widths, rank, kernel, rule and sparsity."""
        widths = f"{self.in_features}, {self.out_features}, rank={self.rank}"
        return (
            f"{widths}, kernel={self.kernel}, rule={self.sparsifier}, sparsity={self._sparsity:g}"
        )

"""Two thin matrices in place of one: a linear layer and a word embedding."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.nn.layers.product_weight import product_weight
from pclora_lab.nn.layers.types import is_untouched

__all__ = ["LowRankEmbedding", "LowRankLinear", "present_names"]


class LowRankLinear(nn.Module):
    r"""Two thin linear layers in place of one: ``y = B(A x) + C``.

    ``down`` multiplies by A and ``up`` by B and adds C. They are ordinary ``nn.Linear``, so what
    quantizes or adapts linear layers finds them.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        rank: r, the width in between; ``rank · (in + out) + out`` parameters.
        bias: False leaves C out; ``C`` is None then.
        device: where the parameters are made.
        dtype: their precision.

    Attributes:
        A: ``down.weight``, ``(rank, in_features)``.
        B: ``up.weight``, ``(out_features, rank)``.
        C: ``up.bias``, ``(out_features,)`` or None.

    Shape:
        ``(batch, tokens, in_features)`` → ``(batch, tokens, out_features)``; any leading
        dimensions.

    Example:
        >>> layer = LowRankLinear(768, 3072, rank=32)
        >>> sum(p.numel() for p in layer.parameters())
        125952
        >>> [name for name, _ in layer.named_parameters()]
        ['down.weight', 'up.weight', 'up.bias']
        >>> layer.weight.shape, torch.equal(layer.weight, layer.B @ layer.A)
        (torch.Size([3072, 768]), True)
    """

    # Where each factor is; files that were written before have it under its letter.
    places: ClassVar = {"A": "down.weight", "B": "up.weight", "C": "up.bias"}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        A = torch.empty(rank, in_features, device=device, dtype=dtype)
        B = torch.zeros(out_features, rank, device=device, dtype=dtype)
        C = torch.zeros(out_features, device=device, dtype=dtype) if bias else None
        self.down, self.up = _linear(A, None), _linear(B, C)
        nn.init.uniform_(self.A, -1 / math.sqrt(in_features), 1 / math.sqrt(in_features))

    def forward(self, input: Tensor) -> Tensor:
        """``B(A x) + C``, or ``B(A x)`` without a bias."""
        down: Any = self._modules["down"]
        up: Any = self._modules["up"]
        if is_untouched(down) and is_untouched(up):
            # At small sizes, calling two modules takes half as long again as the two products.
            A, own = down._parameters["weight"], up._parameters
            return F.linear(F.linear(input, A), own["weight"], own["bias"])
        return self.up(self.down(input))

    @property
    def A(self) -> Tensor:
        """``(rank, in_features)``."""
        return self.down.weight

    @property
    def B(self) -> Tensor:
        """``(out_features, rank)``."""
        return self.up.weight

    @property
    def C(self) -> Tensor | None:
        """``(out_features,)``, or None without a bias."""
        return self.up.bias

    @property
    def weight(self) -> Tensor:
        """``B A``, ``(out_features, in_features)``, to read; multiplied where it is used."""
        A, B = self.A, self.B
        return product_weight(lambda: B @ A, (self.out_features, self.in_features), A)

    @property
    def bias(self) -> Tensor | None:
        """``C``, under the name that it has in a linear layer."""
        return self.C

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.places:
            return super().__setattr__(name, value)
        part, _, attribute = self.places[name].partition(".")
        return setattr(self.get_submodule(part), attribute, value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for before, now in self.places.items():
            if f"{prefix}{before}" in state_dict:
                state_dict[f"{prefix}{now}"] = state_dict.pop(f"{prefix}{before}")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Widths and rank, as ``print(model)`` shows them."""
        return f"{self.in_features}, {self.out_features}, rank={self.rank}"


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    # Made without storage: the usual start would draw from the caller's random numbers.
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight)
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias))
    return layer


def present_names(model: nn.Module) -> dict[str, str]:
    """Names of parameters as they were when a low-rank layer had no children, and as they are.

    Example:
        >>> present_names(nn.Sequential(LowRankLinear(4, 2, rank=1)))["0.C"]
        '0.up.bias'
    """
    layers = ((n, m) for n, m in model.named_modules() if isinstance(m, LowRankLinear))
    return {
        f"{name}.{before}": f"{name}.{now}"
        for name, layer in layers
        for before, now in layer.places.items()
    }


class LowRankEmbedding(nn.Module):
    r"""A table of words through a narrow one: ``y = B A[i]``.

    Args:
        num_embeddings: words.
        embedding_dim: width of the output.
        rank: r; ``rank · (words + width)`` parameters.
        device: where the parameters are made.
        dtype: their precision.

    Shape:
        word numbers ``(batch, tokens)`` → ``(batch, tokens, embedding_dim)``. A:
        ``(num_embeddings, rank)``, B: ``(embedding_dim, rank)``.

    Example:
        >>> table = LowRankEmbedding(1000, 64, rank=8)
        >>> table(torch.tensor([[1, 2, 3]])).shape, sum(p.numel() for p in table.parameters())
        (torch.Size([1, 3, 64]), 8512)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        rank: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.rank = num_embeddings, embedding_dim, rank
        self.A = nn.Parameter(torch.empty(num_embeddings, rank, device=device, dtype=dtype))
        self.B = nn.Parameter(torch.zeros(embedding_dim, rank, device=device, dtype=dtype))
        nn.init.normal_(self.A, std=1 / math.sqrt(rank))

    @property
    def weight(self) -> Tensor:
        """``A Bᵀ``, ``(num_embeddings, embedding_dim)``, to read; multiplied where it is used."""
        A, B = self.A, self.B
        return product_weight(lambda: A @ B.T, (self.num_embeddings, self.embedding_dim), A)

    def forward(self, input: Tensor) -> Tensor:
        """``B A[i]``."""
        return F.linear(F.embedding(input, self.A), self.B)

    def extra_repr(self) -> str:
        """Words, width and rank."""
        return f"{self.num_embeddings}, {self.embedding_dim}, rank={self.rank}"

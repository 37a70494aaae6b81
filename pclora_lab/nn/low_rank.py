"""Two thin matrices in place of one: a linear layer and a word embedding."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LowRankEmbedding", "LowRankLinear"]


class LowRankLinear(nn.Module):
    r"""Two thin matrices in place of one: ``y = B(A x) + C``.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        rank: r, the width in between; ``rank · (in + out) + out`` parameters.
        bias: False leaves C out; ``C`` is None then.
        device: where the parameters are made.
        dtype: their precision.

    Shape:
        ``(batch, tokens, in_features)`` → ``(batch, tokens, out_features)``; any leading
        dimensions. A: ``(rank, in_features)``, B: ``(out_features, rank)``,
        C: ``(out_features,)``.

    Example:
        >>> layer = LowRankLinear(768, 3072, rank=32)
        >>> sum(p.numel() for p in layer.parameters())
        125952
    """

    C: nn.Parameter | None

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
        self.A = nn.Parameter(torch.empty(rank, in_features, device=device, dtype=dtype))
        self.B = nn.Parameter(torch.zeros(out_features, rank, device=device, dtype=dtype))
        C = nn.Parameter(torch.zeros(out_features, device=device, dtype=dtype)) if bias else None
        self.register_parameter("C", C)
        nn.init.uniform_(self.A, -1 / math.sqrt(in_features), 1 / math.sqrt(in_features))

    def forward(self, x: Tensor) -> Tensor:
        """``B(A x) + C``, or ``B(A x)`` without a bias."""
        return F.linear(F.linear(x, self.A), self.B, self.C)

    def extra_repr(self) -> str:
        """Widths and rank, as ``print(model)`` shows them."""
        bias = "" if self.C is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}, rank={self.rank}{bias}"


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

    def forward(self, ids: Tensor) -> Tensor:
        """``B A[i]``."""
        return F.linear(F.embedding(ids, self.A), self.B)

    def extra_repr(self) -> str:
        """Words, width and rank."""
        return f"{self.num_embeddings}, {self.embedding_dim}, rank={self.rank}"

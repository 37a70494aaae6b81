"""Word embeddings that fade: the table that is most of BERT once the rest is gone."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LowRankEmbedding", "PCLoRAEmbedding"]


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


class PCLoRAEmbedding(nn.Module):
    r"""A word embedding whose table is faded out by λ while a low-rank one learns.

    .. math:: y_i = λ (E_i - B_0 A_{0,i}) + B A_i

    It is :class:`pclora_lab.PCLoRALinear` on one-hot words: W is the transposed table, and there is
    no bias. A residual start (A₀, B₀) is taken out of the table as there; without one they are 0.

    Args:
        base: the pre-trained table; its weight is shared, not copied, and frozen.
        rank: r.
        generator: draws A; B starts at zero.

    Source:
        PC-LoRA, arXiv:2406.09117, keeps embeddings dense; this layer is this project's extension.

    Example:
        >>> base = nn.Embedding(10, 4)
        >>> layer = PCLoRAEmbedding(base, rank=2)
        >>> ids = torch.tensor([[3, 1]])
        >>> torch.equal(layer(ids), base(ids))
        True
    """

    def __init__(
        self, base: nn.Embedding, rank: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = base.weight.shape
        self.rank = rank
        self.base: nn.Embedding | None = _share(base)
        weight = base.weight
        # Drawn on the CPU so that one seed means the same A on every device.
        drawn = torch.randn(self.num_embeddings, rank, generator=generator) / math.sqrt(rank)
        self.A = nn.Parameter(drawn.to(weight.device, weight.dtype))
        self.B = nn.Parameter(weight.new_zeros(self.embedding_dim, rank))
        self.register_buffer("lam", torch.ones((), device=weight.device))
        self.register_buffer("start_A", None)
        self.register_buffer("start_B", None)

    @torch.no_grad()
    def start_from(self, A: Tensor, B: Tensor) -> None:
        """Begin at a given adapter and let the table give that part up (residual start).

        Args:
            A: ``(num_embeddings, rank)``.
            B: ``(embedding_dim, rank)``.
        """
        for name, value in (("A", A), ("B", B)):
            parameter = getattr(self, name)
            parameter.copy_(value)
            setattr(self, f"start_{name}", parameter.detach().clone())

    def adapter_output(self, ids: Tensor) -> Tensor:
        """``B A[i]``, the part that stays."""
        return F.linear(F.embedding(ids, self.A), self.B)

    def base_output(self, ids: Tensor) -> Tensor:
        """``λ E[i]``, less the part that the adapter started with."""
        full = self.base(ids)
        if self.start_A is not None:
            full = full - F.linear(F.embedding(ids, self.start_A), self.start_B)
        return self.lam * full

    def forward(self, ids: Tensor) -> Tensor:
        """The faded table plus the adapter; the adapter alone once the table was dropped."""
        adapter = self.adapter_output(ids)
        return adapter if self.base is None else self.base_output(ids) + adapter

    def drop_base(self) -> None:
        """Let go of the table and the start."""
        self.base = self.start_A = self.start_B = None

    @torch.no_grad()
    def to_low_rank(self) -> LowRankEmbedding:
        """The adapter as a layer of its own."""
        device, dtype = self.A.device, self.A.dtype
        sizes = (self.num_embeddings, self.embedding_dim, self.rank)
        layer = LowRankEmbedding(*sizes, device=device, dtype=dtype)
        layer.A.copy_(self.A)
        layer.B.copy_(self.B)
        return layer

    def extra_repr(self) -> str:
        """Words, width, rank and whether the table is still there."""
        state = "base dropped" if self.base is None else "base held"
        return f"{self.num_embeddings}, {self.embedding_dim}, rank={self.rank}, {state}"


def _share(base: nn.Embedding) -> nn.Embedding:
    # A shell of its own: hooks on the teacher's layer must not fire in the student.
    shell = nn.Embedding(1, 1, padding_idx=None, device="meta")
    shell.num_embeddings, shell.embedding_dim = base.weight.shape
    shell.weight = base.weight
    return shell.requires_grad_(False)

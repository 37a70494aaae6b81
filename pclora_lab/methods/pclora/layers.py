"""The layers whose base fades out: a linear layer and a word embedding."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.methods.pclora.fading import FadingModule
from pclora_lab.methods.pclora.merged import merged_linear, merging_pays
from pclora_lab.nn.layers.product_weight import product_weight
from pclora_lab.nn.layers.types import is_untouched
from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.surgery import frozen_view

__all__ = ["PCLoRAEmbedding", "PCLoRALinear"]


class PCLoRALinear(FadingModule):
    r"""A linear layer whose frozen base is faded out by λ while its adapter learns.

    .. math:: y = λ (W x + b) + s \cdot B (A x) + C

    With a residual start (see :mod:`pclora_lab.methods.factorization`) the adapter begins at
    :math:`A_0, B_0, C_0` instead of at zero, and the base gives that part up:

    .. math:: y = λ (W x + b - s B_0 A_0 x - C_0) + s \cdot B (A x) + C

    The residual is kept as two thin frozen factors and never written into W, so W stays the
    very tensor that the teacher uses.

    Args:
        base: the pre-trained layer. Its ``weight`` and ``bias`` are shared, not copied, and
            frozen.
        rank: r of the adapter.
        scale: s, LoRA's alpha/r; folded into B at compression. The paper does not state one.
        generator: draws A (uniform ±1/√in); B and C start at zero.

    Shape:
        ``(batch, tokens, in_features)`` → ``(batch, tokens, out_features)``.

    Source:
        PC-LoRA, arXiv:2406.09117. λ multiplies the bias too, so C takes over b.

    Example:
        >>> base = nn.Linear(8, 4)
        >>> layer = PCLoRALinear(base, rank=2)
        >>> x = torch.randn(3, 8)
        >>> torch.equal(layer(x), base(x))
        True
        >>> layer.base.weight is base.weight
        True
    """

    start_A: Tensor | None
    start_B: Tensor | None
    start_C: Tensor | None
    base_parts = ("base", "start_A", "start_B", "start_C")

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        *,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        weight = base.weight
        self.in_features, self.out_features = base.in_features, base.out_features
        self.rank, self.scale = rank, scale
        self.base: nn.Linear | None = frozen_view(base)
        self.A = nn.Parameter(weight.new_empty(rank, self.in_features))
        self.B = nn.Parameter(weight.new_zeros(self.out_features, rank))
        self.C = nn.Parameter(weight.new_zeros(self.out_features))
        self._register_lambda(weight.device)
        for name in ("start_A", "start_B", "start_C"):
            self.register_buffer(name, None)
        self._draw_A(generator)

    @torch.no_grad()
    def _draw_A(self, generator: torch.Generator | None) -> None:
        # Drawn on the CPU so that one seed means the same A on every device.
        bound = 1 / math.sqrt(self.in_features)
        drawn = torch.empty(self.A.shape, device="cpu").uniform_(-bound, bound, generator=generator)
        self.A.copy_(drawn)

    @torch.no_grad()
    def start_from(self, A: Tensor, B: Tensor, C: Tensor) -> None:
        """Begin at a given adapter and let the base give that part up (residual start).

        Args:
            A: ``(rank, in_features)``.
            B: ``(out_features, rank)``, before the scale: ``B @ A`` approximates W.
            C: ``(out_features,)``.
        """
        for name, value in (("A", A), ("B", B / self.scale), ("C", C)):
            parameter = getattr(self, name)
            parameter.copy_(value)
            setattr(self, f"start_{name}", parameter.detach().clone())

    def adapter_output(self, x: Tensor) -> Tensor:
        """``s·B(A x) + C``, the part that stays."""
        return F.linear(F.linear(x, self.A), self._scaled(self.B), self.C)

    def base_output(self, x: Tensor) -> Tensor:
        """``λ(W x + b)``, less the part that the adapter started with; 0 without a base."""
        if self.base is None:
            return self.C.new_zeros(*x.shape[:-1], self.out_features)
        full = self.base(x)
        if self.start_A is not None and self.start_B is not None:
            started = F.linear(F.linear(x, self.start_A), self._scaled(self.start_B), self.start_C)
            full = full - started
        return self.lam * full

    def _scaled(self, B: Tensor) -> Tensor:
        return B if self.scale == 1 else self.scale * B

    def forward(self, input: Tensor) -> Tensor:
        """The faded base plus the adapter; the adapter alone once the base was dropped."""
        if self.base is None:
            return self._note_lambda(self.adapter_output(input))
        if self._is_merged(input):
            return self._note_lambda(self._merged(input))
        return self._note_lambda(self.lam * self.base(input) + self._adapter_less_start(input))

    def _is_merged(self, x: Tensor) -> bool:
        base = cast(nn.Linear, self.base)
        if not is_untouched(base) or type(base.weight) is not nn.Parameter:
            return False
        # The merged product gives them no gradient, which somebody has asked for.
        if base.weight.requires_grad or self.lam.requires_grad:
            return False
        return merging_pays(math.prod(x.shape[:-1]), self.in_features, self.out_features)

    def _merged(self, x: Tensor) -> Tensor:
        base, start = cast(nn.Linear, self.base), None
        if self.start_A is not None and self.start_B is not None:
            start = self.start_A, self._scaled(self.start_B)
        factors = self.A, self._scaled(self.B), cast(Tensor, self.bias)
        return merged_linear(x, base.weight, self.lam, *factors, start)

    def _adapter_less_start(self, x: Tensor) -> Tensor:
        if self.start_A is None or self.start_B is None or self.start_C is None:
            return self.adapter_output(x)
        # Both low-rank paths as one of rank 2r: a third fewer passes over the activations.
        A = torch.cat((self.A, self.start_A))
        B = torch.cat((self.B, -self.lam * self.start_B), dim=1)
        return F.linear(F.linear(x, A), self._scaled(B), self.C - self.lam * self.start_C)

    @property
    def weight(self) -> Tensor:
        """``λ(W − s·B₀A₀) + s·BA``, ``(out_features, in_features)``, to read; made where used."""
        return product_weight(self._product, (self.out_features, self.in_features), self.A)

    def _product(self) -> Tensor:
        weight = self._scaled(self.B) @ self.A
        if self.base is None:
            return weight
        held = self.base.weight
        if self.start_A is not None and self.start_B is not None:
            held = held - self._scaled(self.start_B) @ self.start_A
        return self.lam * held + weight

    @property
    def bias(self) -> Tensor:
        """``λ(b − C₀) + C``, ``(out_features,)``, to read."""
        if self.base is None:
            return self.C
        parts = (self.base.bias, None if self.start_C is None else -self.start_C)
        return self.C + sum(self.lam * part for part in parts if part is not None)

    @torch.no_grad()
    def to_low_rank(self) -> LowRankLinear:
        """The adapter as a layer of its own, the scale folded into B."""
        layer = LowRankLinear(
            self.in_features,
            self.out_features,
            self.rank,
            device=self.A.device,
            dtype=self.A.dtype,
        )
        layer.A.copy_(self.A)
        layer.B.copy_(self._scaled(self.B))
        layer.get_parameter("C").copy_(self.C)
        return layer

    def extra_repr(self) -> str:
        """Widths, rank and whether the base is still there."""
        state = "base dropped" if self.base is None else "base held"
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, {state}"


class PCLoRAEmbedding(FadingModule):
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

    start_A: Tensor | None
    start_B: Tensor | None
    base_parts = ("base", "start_A", "start_B")

    def __init__(
        self, base: nn.Embedding, rank: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = base.weight.shape
        self.rank = rank
        self.base: nn.Embedding | None = _frozen_table(base)
        weight = base.weight
        # Drawn on the CPU so that one seed means the same A on every device.
        drawn = torch.randn(self.num_embeddings, rank, generator=generator, device="cpu")
        drawn = drawn / math.sqrt(rank)
        self.A = nn.Parameter(drawn.to(weight.device, weight.dtype))
        self.B = nn.Parameter(weight.new_zeros(self.embedding_dim, rank))
        self._register_lambda(weight.device)
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
        """``λ E[i]``, less the part that the adapter started with; 0 without a table."""
        if self.base is None:
            return self.B.new_zeros(*ids.shape, self.embedding_dim)
        full = self.base(ids)
        if self.start_A is not None and self.start_B is not None:
            full = full - F.linear(F.embedding(ids, self.start_A), self.start_B)
        return self.lam * full

    def forward(self, input: Tensor) -> Tensor:
        """The faded table plus the adapter; the adapter alone once the table was dropped."""
        adapter = self.adapter_output(input)
        base = None if self.base is None else self.base_output(input)
        return self._note_lambda(adapter if base is None else base + adapter)

    @property
    def weight(self) -> Tensor:
        """``λ(E − A₀B₀ᵀ) + A Bᵀ``, to read; made where it is used."""
        return product_weight(self._product, (self.num_embeddings, self.embedding_dim), self.A)

    def _product(self) -> Tensor:
        weight = self.A @ self.B.T
        if self.base is None:
            return weight
        held = self.base.weight
        if self.start_A is not None and self.start_B is not None:
            held = held - self.start_A @ self.start_B.T
        return self.lam * held + weight

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


def _frozen_table(base: nn.Embedding) -> nn.Embedding:
    # A shell of its own: hooks on the teacher's layer must not fire in the student.
    shell = nn.Embedding.from_pretrained(base.weight)
    shell.weight = base.weight
    return shell.requires_grad_(False)

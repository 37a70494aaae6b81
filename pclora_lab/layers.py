"""The two layers: a linear layer whose base fades out, and what is left of it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LowRankLinear", "PCLoRALinear"]


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


class PCLoRALinear(nn.Module):
    r"""A linear layer whose frozen base is faded out by λ while its adapter learns.

    .. math:: y = λ (W x + b) + s \cdot B (A x) + C

    With a residual start (see :mod:`pclora_lab.starts`) the adapter begins at
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
        self.base: nn.Linear | None = _share(base)
        self.A = nn.Parameter(weight.new_empty(rank, self.in_features))
        self.B = nn.Parameter(weight.new_zeros(self.out_features, rank))
        self.C = nn.Parameter(weight.new_zeros(self.out_features))
        self.register_buffer("lam", torch.ones((), device=weight.device))
        self.register_buffer("start_A", None)
        self.register_buffer("start_B", None)
        self.register_buffer("start_C", None)
        self._draw_A(generator)

    @torch.no_grad()
    def _draw_A(self, generator: torch.Generator | None) -> None:
        # Drawn on the CPU so that one seed means the same A on every device.
        bound = 1 / math.sqrt(self.in_features)
        drawn = torch.empty(self.A.shape).uniform_(-bound, bound, generator=generator)
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
        """``λ(W x + b)``, less the part that the adapter started with."""
        full = self.base(x)
        if self.start_A is not None:
            started = F.linear(F.linear(x, self.start_A), self._scaled(self.start_B), self.start_C)
            full = full - started
        return self.lam * full

    def _scaled(self, B: Tensor) -> Tensor:
        return B if self.scale == 1 else self.scale * B

    def forward(self, x: Tensor) -> Tensor:
        """The faded base plus the adapter; the adapter alone once the base was dropped."""
        if self.base is None:
            return self.adapter_output(x)
        if self.start_A is None:
            return self.lam * self.base(x) + self.adapter_output(x)
        return self.lam * self.base(x) + self._adapter_less_start(x)

    def _adapter_less_start(self, x: Tensor) -> Tensor:
        # Both low-rank paths as one of rank 2r: a third fewer passes over the activations.
        A = torch.cat((self.A, self.start_A))
        B = torch.cat((self.B, -self.lam * self.start_B), dim=1)
        return F.linear(F.linear(x, A), self._scaled(B), self.C - self.lam * self.start_C)

    def drop_base(self) -> None:
        """Let go of W, b and the start: they no longer count once λ is 0."""
        self.base = self.start_A = self.start_B = self.start_C = None

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
        layer.C.copy_(self.C)
        return layer

    def extra_repr(self) -> str:
        """Widths, rank and whether the base is still there."""
        state = "base dropped" if self.base is None else "base held"
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, {state}"


def _share(base: nn.Linear) -> nn.Linear:
    # A shell of its own: hooks on the teacher's layer must not fire in the student.
    shell = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
    shell.weight = base.weight
    shell.register_parameter("bias", base.bias)
    return shell.requires_grad_(False)

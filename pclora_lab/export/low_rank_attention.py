r"""Attention inside the rank: what a low-rank query-key-value layer saves beyond its own weights.

With one thin ``t = A x`` for query, key and value, a head's scores need its wide q and k no more:

.. math:: q_h · k_h = (B_q t + c_q) · (B_k t + c_k) = t̃ᵀ G_h t̃, \quad t̃ = (t, 1)

and what the projection makes of a head's values is ``M_h t̃``. G_h, ``(r+1) × (r+1)``, and M_h are
multiplied out once. The function is the same; its products have r + 1 columns instead of the
head's 64, and nothing is split or moved between heads. It pays where r is below a head's width.
"""

from typing import TypeGuard

import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor, nn

from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.surgery import deepcopy_sharing, replace_modules

__all__ = ["LowRankAttention", "to_low_rank_attention"]


class LowRankAttention(nn.Module):
    """timm's ``Attention`` with low-rank layers, computed inside the rank; for inference.

    Args:
        attention: its ``qkv`` and ``proj`` are :class:`pclora_lab.LowRankLinear`.

    Shape:
        ``(batch, tokens, width)`` → ``(batch, tokens, width)``.

    Raises:
        ValueError: a layer of the attention is not low-rank.
    """

    A: Tensor
    B: Tensor
    C: Tensor | None
    G: Tensor
    M: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        qkv, proj = _low_rank(attention.qkv), _low_rank(attention.proj)
        heads, width = attention.num_heads, attention.head_dim
        B = qkv.B.detach().double().view(3, heads, width, qkv.rank)
        C = B.new_zeros(qkv.out_features) if qkv.C is None else qkv.C.detach()
        q, k, v = torch.cat((B, C.double().view(3, heads, width, 1)), dim=-1)
        out = proj.A.detach().double().view(proj.rank, heads, width)
        self.register_buffer("A", qkv.A.detach())
        self.register_buffer("G", (attention.scale * q.mT @ k).to(qkv.A.dtype))
        self.register_buffer("M", (v.mT @ out.permute(1, 2, 0)).to(qkv.A.dtype))
        self.register_buffer("B", proj.B.detach())
        self.register_buffer("C", None if proj.C is None else proj.C.detach())

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """The same as the attention it came from; masks are not known here.

        Raises:
            ValueError: a mask is given.
        """
        if attn_mask is not None or is_causal:
            raise ValueError("AbsorbedAttention knows no mask: keep timm's Attention")
        t = F.pad(F.linear(x, self.A), (0, 1), value=1.0).unsqueeze(1)
        weights = ((t @ self.G) @ t.mT).softmax(dim=-1)
        return F.linear((weights @ (t @ self.M)).sum(dim=1), self.B, self.C)


def _low_rank(layer: nn.Module) -> LowRankLinear:
    if not isinstance(layer, LowRankLinear):
        raise ValueError(
            f"{type(layer).__name__} is no LowRankLinear: compress the attention first"
        )
    return layer


def _can_be_absorbed(module: nn.Module) -> TypeGuard[Attention]:
    if type(module) is not Attention:
        return False
    layers = [m for m in (module.qkv, module.proj) if isinstance(m, LowRankLinear)]
    if len(layers) < 2:
        return False
    between = (getattr(module, name, None) for name in ("q_norm", "k_norm", "norm", "gate"))
    plain = all(part is None or isinstance(part, nn.Identity) for part in between)
    return plain and all(layer.rank < module.head_dim for layer in layers)


def to_low_rank_attention(model: nn.Module) -> nn.Module:
    """A copy whose low-rank attention is computed inside the rank, where that is less work.

    Only timm's plain attention with a fused query-key-value layer has one A for all three.

    Args:
        model: a finished model; it is not changed. Without such attention it is returned as it is.
    """
    if not any(map(_can_be_absorbed, model.modules())):
        return model
    small = deepcopy_sharing(model, ())
    absorbed = {n: LowRankAttention(m) for n, m in small.named_modules() if _can_be_absorbed(m)}
    return replace_modules(small, absorbed).eval()

"""Where the last block of a vision transformer looks, as a map over the patches of an image."""

from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import call_model, eval_mode, forward_hooks

if TYPE_CHECKING:  # it takes longer to import than torch
    from transformers import PreTrainedModel

__all__ = ["attention_maps"]


def attention_maps(model: nn.Module, images: Tensor) -> Tensor:
    """How much the last block attends to each patch, averaged over heads, summing to 1.

    ``softmax(q kᵀ / √d)``: the class token's row if the model has one, else the mean over patches.

    Args:
        model: timm's ViT or DeiT, dense, faded or compressed; or transformers' ViT.
        images: ``(batch, channels, height, width)``, as the model takes them.

    Returns:
        ``(batch, rows, columns)``, one value per patch.

    Raises:
        ValueError: the model has no such attention; says what there is instead.

    Example:
        >>> from pclora_lab import load_model
        >>> attention_maps(load_model("vit_digits"), torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 4, 4])
    """
    if _is_transformers(model):
        weights, grid = _of_transformers(model, images)
    else:
        weights, grid = _of_timm(model, images)
    prefix = weights.shape[-1] - grid[0] * grid[1]
    if prefix < 0 or len(weights) != len(images):  # attention inside windows
        raise _none(model)
    rows = weights[:, :, 0] if prefix else weights.mean(2)
    maps = rows[..., prefix:].mean(1)
    return (maps / maps.sum(-1, keepdim=True)).reshape(-1, *grid)


def _is_transformers(model: nn.Module) -> "TypeGuard[PreTrainedModel]":
    return hasattr(model, "set_attn_implementation")


def _of_timm(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Attention of the last block ``(batch, heads, tokens, tokens)``, and the grid of patches."""
    blocks = getattr(model, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if blocks is not None and len(blocks) else None
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    heads = getattr(attention, "num_heads", None)
    if not isinstance(attention, nn.Module) or heads is None or grid is None:
        raise _none(model)
    if not hasattr(attention, "qkv"):
        raise _none(model)
    seen: list[Tensor] = []
    with eval_mode(model), forward_hooks({"": attention}, lambda _, x, __: seen.append(x)):
        call_model(model, images)
        return _weights(attention, heads, seen[-1]), tuple(grid)


def _weights(attention: nn.Module, heads: int, x: Tensor) -> Tensor:
    batch, tokens, _ = x.shape
    fused = attention.get_submodule("qkv")(x)
    q, k, _ = fused.reshape(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    q_norm, k_norm = (getattr(attention, n, None) or nn.Identity() for n in ("q_norm", "k_norm"))
    q, k = q_norm(q).float(), k_norm(k).float()
    return torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)


def _of_transformers(model: "PreTrainedModel", images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    size, patch = (getattr(model.config, name, None) for name in ("image_size", "patch_size"))
    if not isinstance(size, int) or not isinstance(patch, int):
        raise _none(model)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the fused kernels keep no weights to look at
    try:
        with eval_mode(model):
            found = model(pixel_values=images, output_attentions=True).attentions
    except TypeError as error:
        raise _none(model) from error
    finally:
        model.set_attn_implementation(before)
    if not found or found[-1] is None:
        raise _none(model)
    return found[-1].float(), (size // patch, size // patch)


def _none(model: nn.Module) -> ValueError:
    return ValueError(
        f"{type(model).__name__} has no attention over a grid of patches to show; a ViT or DeiT has"
    )

"""A head that answers for every pixel: a linear layer per patch, then bilinear upsampling."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.nn.heads import draw_head
from pclora_lab.nn.metadata import pretrained_cfg_of, recipe_of, set_metadata

__all__ = ["PATCHES", "PatchHead", "attach_patch_head", "has_patch_head"]

# What a recipe says of a model with such a head.
PATCHES = "patches"


class PatchHead(nn.Module):
    """``upsample(W·LayerNorm(tokens) + b)``, the last norm being the model's own.

    The naive head of SETR (arXiv:2012.15840, section 3.3) with one layer in place of two. With a
    ``detail`` of d a patch answers for d × d parts of itself, put side by side as in a sub-pixel
    convolution (arXiv:1609.05158, equation 4): finer than one answer, at the cost of none more in
    the layers below.

    Args:
        width: of a token.
        num_classes: of a pixel.
        grid: patches from top to bottom and from left to right.
        size: height and width of the answer in pixels.
        detail: answers of a patch along each of its sides.

    Example:
        >>> PatchHead(8, 3, grid=(2, 2), size=(16, 16))(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        grid: tuple[int, int],
        size: tuple[int, int],
        detail: int = 1,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_classes * detail**2)
        self.grid, self.size, self.detail = grid, size, detail

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(batch, classes, height, width)``.

        Args:
            tokens: ``(batch, prefix + patches, width)``; class and register tokens come first.
        """
        height, width = self.grid
        patches = self.linear(tokens[:, -height * width :])
        # In float32: upsampling in half precision would round the logits once more.
        coarse = patches.float().transpose(1, 2).unflatten(2, (height, width))
        if self.detail > 1:
            coarse = F.pixel_shuffle(coarse, self.detail)
        return F.interpolate(coarse, size=self.size, mode="bilinear", align_corners=False)

    def sizes(self) -> dict[str, Any]:
        """What it is built with, as plain types."""
        classes = self.linear.out_features // self.detail**2
        return {
            "width": self.linear.in_features, "num_classes": classes, "grid": [*self.grid],
            "size": [*self.size], "detail": self.detail,
        }  # fmt: skip

    def extra_repr(self) -> str:
        """The grid, the size and the detail."""
        return f"grid={self.grid}, size={self.size}, detail={self.detail}"


def has_patch_head(model: nn.Module) -> bool:
    """Whether a model answers for pixels."""
    return isinstance(getattr(model, "head", None), PatchHead)


def attach_patch_head(
    model: nn.Module,
    num_classes: int,
    generator: torch.Generator | None = None,
    detail: int | None = None,
) -> nn.Module:
    """Give a vision transformer such a head in place of its classifier, in place.

    Its images are squashed to the model's size from now on and not cropped, because every pixel is
    asked for.

    Args:
        model: timm's, loaded by name.
        num_classes: of a pixel.
        generator: draws the head; torch's global one without it.
        detail: answers of a patch along each of its sides; None keeps that of the head that is
            there, and is 1 for a classifier.

    Raises:
        ValueError: it has no grid of patches whose tokens come out last, or a head of several
            parts.
    """
    grid, size = _grid_and_size(model)
    body: Any = model
    if detail is None:
        detail = body.head.detail if isinstance(body.head, PatchHead) else 1
    head = PatchHead(body.num_features, num_classes, grid, size, detail)
    head.to(next(model.parameters()))
    draw_head(head, generator)
    # Every token passes on to the head, where one or their mean did.
    body.global_pool, body.head, body.num_classes = "", head, num_classes
    config = {**pretrained_cfg_of(model), "crop_pct": 1.0, "crop_mode": "squash"}
    set_metadata(model, pretrained_cfg=config)
    recipe = recipe_of(model)
    plain = {**recipe["preprocessing"], "crop_pct": 1.0, "crop_mode": "squash"}
    changed = {"num_classes": num_classes, "head": PATCHES, "preprocessing": plain}
    changed |= {"head_detail": detail} if detail > 1 else {}
    set_metadata(model, pclora_recipe={**recipe, **changed}, pclora_head_is_new=True)
    return model


def _grid_and_size(model: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
    body: Any = model
    kind = type(model).__name__
    embed = getattr(model, "patch_embed", None)
    grid, patch = getattr(embed, "grid_size", None), getattr(embed, "patch_size", None)
    is_plain = all(hasattr(model, name) for name in ("blocks", "global_pool", "num_prefix_tokens"))
    if not is_plain or grid is None or patch is None or getattr(model, "attn_pool", None):
        raise ValueError(
            f"a {kind} has no single grid of patches from the first block to the last, which a "
            "head per patch needs: take a plain vision transformer, such as "
            "deit_tiny_patch16_224 or vit_small_patch16_224"
        )
    if hasattr(model, "head_dist") or not isinstance(
        body.head, nn.Linear | nn.Identity | PatchHead
    ):
        raise ValueError(
            f"the head of a {kind} is not one linear layer, so that none can be put in its place: "
            "take a plain vision transformer, such as deit_tiny_patch16_224"
        )
    rows, columns = grid
    return (rows, columns), (rows * patch[0], columns * patch[1])

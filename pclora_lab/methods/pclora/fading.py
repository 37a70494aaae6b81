"""What every layer that fades keeps: λ, and the λ at which its weights were last trained."""

from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.nn.layers.sharing import owner_follows

__all__ = ["JUMP", "UNFADED", "FadingModule", "lambda_jumps", "leans_on_base"]

# Weights that were last trained above this λ lean on their base.
UNFADED = 0.1

# A larger change of λ from one step to the next leaves the optimizer with moments of gradients
# that come no more.
JUMP = 0.25


def lambda_jumps(before: object, now: object) -> bool:
    """Whether two steps that follow each other see quite different gradients.

    Example:
        >>> lambda_jumps(1.0, 0.0), lambda_jumps(0.5, 0.4), lambda_jumps(None, 0.0)
        (True, False, False)
    """
    if not (isinstance(before, float | int) and isinstance(now, float | int)):
        return False
    return abs(before - now) > JUMP


def leans_on_base(lam: float) -> bool:
    """Whether weights that were last trained at this λ lean on their base: above 0.1.

    Args:
        lam: as a layer keeps it; half precision holds three digits of it.

    Example:
        >>> leans_on_base(0.62), leans_on_base(0.1)
        (True, False)
    """
    return round(lam, 3) > UNFADED


class FadingModule(nn.Module):
    """A layer with λ, which anybody may move, and what its weights were trained at.

    Attributes:
        base: the frozen layer; None once it was dropped.
        lam: λ now, 0-dim.
        trained_lam: λ of the last forward pass that was trained on, 0-dim; NaN before the first.
            It is saved and loaded with the weights, so λ can't be moved away from under them.
    """

    base: Any
    lam: Tensor
    trained_lam: Tensor
    # What λ multiplies: names of modules and buffers.
    base_parts: tuple[str, ...]
    # A note about the weights, nothing that the layer computes with.
    bookkeeping = ("trained_lam",)

    def _register_lambda(self, device: torch.device) -> None:
        self.register_buffer("lam", torch.ones((), device=device))
        self.register_buffer("trained_lam", torch.full((), torch.nan, device=device))

    def drop_base(self) -> None:
        """Let go of the base and of the adapter's start: they no longer count once λ is 0."""
        for name in self.base_parts:
            setattr(self, name, None)

    def _note_lambda(self, output: Tensor) -> Tensor:
        """Remember λ if this forward pass is one of a training."""
        if torch.is_grad_enabled() and self.training:
            self.trained_lam.copy_(self.lam.detach())
        elif output.requires_grad and not self.training and not torch.compiler.is_compiling():
            # In eval mode only the backward pass tells a training from a look at the outputs.
            output.register_hook(lambda grad: self._note_backward())
        return output

    def _note_backward(self) -> None:
        with torch.no_grad():
            self.trained_lam.copy_(self.lam)

    def _apply(self, fn: Any, recurse: bool = True) -> "FadingModule":
        with owner_follows(self):
            return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights that were saved before the note was kept: λ was that of their last step.
        if f"{prefix}lam" in state_dict and f"{prefix}trained_lam" not in state_dict:
            state_dict[f"{prefix}trained_lam"] = state_dict[f"{prefix}lam"]
        super()._load_from_state_dict(state_dict, prefix, *args)

"""In which precision a run computes, and the scale that float16 needs for its gradients.

``auto`` is resolved before the first step from what does not vary: the device, what its hardware
can do, and the size of the model. Never from a clock, or two runs of one config could differ.
"""

import dataclasses
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pclora_lab.fields import FieldError
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.record import Identity

__all__ = ["AUTOCAST_DTYPES", "LossScaler", "has_bfloat16", "pinned", "require_precision"]

AUTOCAST_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""What autocast computes in, by name; float32 needs none."""

# Below this size, casting costs more than bfloat16 saves on a CPU.
_CPU_AUTOCAST_PARAMS = 1_000_000
# torch halves the scale whenever a gradient overflows. Where even 1 is too much, the gradient
# itself is beyond float16.
_SMALLEST_SCALE = 1.0


def pinned(
    config: RunConfig, model: nn.Module, device: torch.device, begun: Identity | None = None
) -> RunConfig:
    """The config with the precision that ``auto`` stands for; another one stays as it is.

    Args:
        config: of the run.
        model: whose size counts.
        device: that it is trained on.
        begun: of a run that is taken up: it goes on in the precision that it began with.
    """
    if config.precision != "auto":
        return config
    found = None if begun is None else begun.precision
    return dataclasses.replace(config, precision=found or _resolved(model, device))


def _resolved(model: nn.Module, device: torch.device) -> str:
    if device.type == "cuda":
        return "bfloat16" if has_bfloat16(device) else "float16"
    size = sum(p.numel() for p in model.parameters())
    pays = device.type == "cpu" and size >= _CPU_AUTOCAST_PARAMS
    return "bfloat16" if pays and has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes faster in bfloat16.

    CUDA with hardware support, and CPUs with AMX or AVX-512 BF16 (see
    :mod:`pclora_lab.nn.runtime.plain_attention`). On the latter every method's mean accuracy over
    three seeds was within the seeds' own spread in float32: ``tests/benchmarks/precision.py``.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def require_precision(precision: str, device: torch.device) -> None:
    """Refuse what the device can't compute in, or only far slower than in float32.

    Raises:
        FieldError: names the precision, the device and what to take instead.
    """
    if precision == "float16" and device.type == "cpu":
        raise FieldError(
            "precision",
            "precision is 'float16', which a CPU has no arithmetic for: use auto, bfloat16 or "
            "float32",
        )
    if precision == "bfloat16" and device.type == "cuda" and not has_bfloat16(device):
        raise FieldError(
            "precision",
            f"precision is 'bfloat16', which {device} has no arithmetic for: use auto, float16 or "
            "float32",
        )


class LossScaler:
    """Backward passes whose small gradients float16 does not lose; nothing in other precisions.

    The loss is multiplied by a scale before the backward pass, the gradients are divided by it
    afterwards. A step whose gradients overflowed is left out, and the scale halved.

    Args:
        accelerator: device and precision of the run.

    Attributes:
        skipped: steps that were left out since the moments were cleared. AdamW does not count them.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.is_active = getattr(accelerator, "precision", "float32") == "float16"
        kind = accelerator.device.type
        self._scaler = torch.amp.GradScaler(kind, enabled=self.is_active)
        self.skipped = 0

    def backward(
        self,
        loss: Tensor,
        optimizer: torch.optim.Optimizer,
        then: Callable[[torch.optim.Optimizer], None] = lambda optimizer: None,
    ) -> bool:
        """Fill the gradients, as they would be without a scale.

        Args:
            loss: without it.
            optimizer: whose parameters get them.
            then: called with the optimizer once they are there, still scaled.

        Returns:
            Whether a step can be taken with them. Asking for it makes the host wait for a GPU,
            so it is asked in float16 only.
        """
        self._accelerator.backward(self._scaler.scale(loss))
        then(optimizer)
        if not self.is_active:
            return True
        self._scaler.unscale_(optimizer)
        gradients = [p.grad for g in optimizer.param_groups for p in g["params"]]
        norm = torch.nn.utils.get_total_norm([g for g in gradients if g is not None])
        is_usable = bool(norm.isfinite())
        self.skipped += not is_usable
        self._scaler.update()
        return is_usable

    @property
    def is_exhausted(self) -> bool:
        """Whether gradients are beyond float16 even where they are not scaled up."""
        return self.is_active and self._scaler.get_scale() < _SMALLEST_SCALE

    def state_dict(self) -> dict[str, Tensor]:
        """Scale and counts, on the CPU; nothing where none is needed."""
        if not self.is_active:
            return {}
        state = self._scaler.state_dict()
        values = {
            "scale": state["scale"], "growth": state["_growth_tracker"], "skipped": self.skipped,
        }  # fmt: skip
        return {
            name: torch.tensor(value, dtype=torch.float64, device="cpu")
            for name, value in values.items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state_dict`."""
        if not self.is_active or not state:
            return
        known = self._scaler.state_dict()
        known |= {"scale": float(state["scale"]), "_growth_tracker": int(state["growth"])}
        self._scaler.load_state_dict(known)
        self.skipped = int(state["skipped"])

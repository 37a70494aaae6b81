"""What a student can imitate: outputs of layers or blocks (features), and logits."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.fields import option
from pclora_lab.methods.metrics import Metric, Panel

__all__ = [
    "FEATURE",
    "FeatureTaps",
    "LOGIT",
    "TAPS",
    "feature_loss",
    "logit_loss",
    "logit_weight_option",
    "task_share_option",
    "taps_option",
    "temperature_option",
]

TAPS = ("linears", "blocks")

FEATURE = Metric(
    "feature",
    "feature distillation",
    Panel.LOSS,
    "green",
    dash="dash",
    overlay_dash="dash",
    overlay_hint="dashed: feature distillation",
)
LOGIT = Metric("logit", "logit distillation", Panel.LOSS, "purple", dash="dot")


class FeatureTaps:
    """Keeps the outputs of named modules from the latest forward pass.

    Args:
        model: the model to watch.
        names: full module names; an output that is a tuple counts with its first element.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with FeatureTaps(model, ["0"]) as taps:
        ...     _ = model(torch.zeros(1, 2))
        ...     taps.outputs["0"].shape
        torch.Size([1, 3])
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._handles = [
            module.register_forward_hook(self._output_hook(name, module))
            for name, module in ((name, model.get_submodule(name)) for name in names)
        ]

    def _output_hook(self, name: str, watched: nn.Module) -> Any:
        def keep(module: nn.Module, args: tuple, output: Tensor | tuple) -> None:
            if module is not watched:  # a copy of the model took the hook along
                return
            self.outputs[name] = output[0] if isinstance(output, tuple) else output

        return keep

    def close(self) -> None:
        """Remove the hooks and let go of the outputs."""
        for handle in self._handles:
            handle.remove()
        self.outputs = {}

    def __enter__(self) -> "FeatureTaps":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def feature_loss(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], real: Tensor | None = None
) -> Tensor:
    """Mean over taps of the mean squared difference, in float32.

    ``L_feat = (1/T) Σ_t mean((h_t − h*_t)²)`` with every ``h_t`` of shape
    ``(batch, tokens, features)``. Source: PC-LoRA, arXiv:2406.09117 (L_featKD).

    Args:
        student: outputs by tap.
        teacher: outputs by tap.
        real: ``(batch, tokens)``, False where there is padding, which is not compared.

    Example:
        >>> feature_loss({"a": torch.ones(2)}, {"a": torch.zeros(2)}).item()
        1.0
    """
    gaps = [_gap(student[name].float(), teacher[name].float(), real) for name in teacher]
    return torch.stack(gaps).mean()


def _gap(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    if real is None or student.shape[:2] != real.shape:
        return F.mse_loss(student, teacher)
    # A weighted mean, because picking the real tokens out would wait for the GPU.
    weight = real.unsqueeze(-1).to(student.dtype)
    return ((student - teacher) ** 2 * weight).sum() / (weight.sum() * student.shape[-1])


def logit_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """``T² · KL(softmax(teacher/T) ‖ softmax(student/T))``, mean over the batch.

    Args:
        student: logits ``(batch, classes)``.
        teacher: logits ``(batch, classes)``.
        temperature: T.

    Source: Hinton et al., arXiv:1503.02531.

    Example:
        >>> logit_loss(torch.ones(2, 3), torch.ones(2, 3)).item()
        0.0
    """
    log_p = F.log_softmax(student.float() / temperature, dim=-1)
    log_q = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def task_share_option() -> float:
    """A field for α, the share of the task's own loss."""
    return option(0.2, "number", "task share α", "the share of the task loss", low=0, high=1)


def taps_option() -> str:
    """A field for what is imitated: every linear layer's output, or every block's."""
    return option("linears", "choice", "features of", "which outputs are imitated", choices=TAPS)


def logit_weight_option() -> float:
    """A field for the weight of :func:`logit_loss`."""
    return option(0.0, "number", "logit weight", "weight of logit distillation", low=0, hidden=True)


def temperature_option() -> float:
    """A field for the T of :func:`logit_loss`."""
    return option(2.0, "number", "temperature", "T of logit distillation", low=1e-3, hidden=True)

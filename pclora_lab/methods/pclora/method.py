"""PC-LoRA behind the verbs that every method has."""

from contextlib import AbstractContextManager

from torch import nn

from pclora_lab.methods.base import Batch, MethodContext, MetricValues
from pclora_lab.methods.distillation.losses import FEATURE, LOGIT
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.metrics import TASK, Metric, Panel
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.fading import leans_on_base
from pclora_lab.methods.pclora.losses import DistillationTerms
from pclora_lab.methods.pclora.model import (
    get_pclora_model,
    pclora_layers,
    set_base_weight_factor,
    set_progress,
)
from pclora_lab.methods.pclora.removal import (
    base_removed,
    base_shares,
    compress,
    drop_base,
    trained_lambda,
)
from pclora_lab.methods.pclora.schedules import fade_is_over
from pclora_lab.methods.rank_selection import LowRankMethod

__all__ = ["PCLoRA"]

LAMBDA = Metric(
    "lam",
    "λ",
    Panel.PROGRESS,
    "blue",
    panel_title="Base-weight fade",
    overlay_dash="solid",
    overlay_hint="λ",
)
BASE_SHARE = Metric(
    "base_share", "measured share of the base", Panel.PROGRESS, "sky", dash="dash", markers=True
)
ACCURACY_IF_BASE_REMOVED = Metric(
    "accuracy_if_base_removed",
    "if the base were removed",
    Panel.ACCURACY,
    "vermillion",
    markers=True,
    overlay_dash="dash",
    overlay_hint="dashed: if the base were removed",
)


class PCLoRA(LowRankMethod[PCLoRAConfig]):
    """PC-LoRA behind the four verbs; ``model`` and ``losses`` do the work."""

    name = "pclora"
    title = "PC-LoRA"
    summary = "Fade the frozen weights out while low-rank adapters learn to do without them."
    Config = PCLoRAConfig
    fades = True
    # y₀ = B₀A₀x + C₀ is what a residual start takes out of the base; from zeros it is 0.
    layer_parts = LayerParts(
        formula="y = λ(Wx + b − y₀) + B(Ax) + C", base=True, factors=True, offset=True
    )
    supports_replay = True
    status_text = "fading the base"
    plot_caption = (
        "Solid blue is the student as it is; orange is the same student if its base were removed "
        "at that moment. The base is dropped when λ reaches 0: from there the two are one, and a "
        "step takes less time."
    )
    metrics = (LAMBDA, BASE_SHARE, ACCURACY_IF_BASE_REMOVED, TASK, FEATURE, LOGIT)
    lr_grid = (2e-3, 5e-3)
    in_default_comparison = True
    color, marker = "vermillion", "o"

    @classmethod
    def default_config(cls) -> PCLoRAConfig:
        """With the start that was best in ``tests/benchmarks/starts.py``."""
        return PCLoRAConfig(rank=8, init="activation_svd")

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """See :func:`get_pclora_model`."""
        return get_pclora_model(
            model,
            self.config,
            calibration=context.calibration,
            generator=context.generator,
            example=context.example,
            counts=context.counts,
        )

    def set_progress(self, student: nn.Module, progress: float) -> MetricValues:
        """Set λ; the base goes the moment λ is 0 for good."""
        lam = set_progress(student, progress)
        if fade_is_over(progress, self.config.schedule, self.config.fade_end):
            # A schedule that jumps trains on without it.
            drop_base(student, allow_unfaded=True)
        return {"lam": lam}

    def override_lambda(self, student: nn.Module, lam: float) -> MetricValues:
        """Set λ by hand. The base stays, even at 0: a hand may take λ up again."""
        if self.without_base(student) is None:
            return {"lam": 0.0}
        set_base_weight_factor(student, lam)
        return {"lam": lam}

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> DistillationTerms:
        """See :func:`pclora_lab.total_loss`."""
        return DistillationTerms(student, teacher, self.task)

    def notes(self, student: nn.Module) -> list[str]:
        """Says if the last step was trained with a base that is gone now."""
        lam = trained_lambda(student)
        if lam is None or not leans_on_base(lam):
            return []
        return [
            f"the last step was trained at λ = {lam:.2f}: the base was removed all the same, from "
            "one step to the next"
        ]

    def measure(self, student: nn.Module, probe: Batch) -> MetricValues:
        """See :func:`base_shares`: their mean, and by layer."""
        shares = base_shares(student, probe)
        return {"base_share": sum(shares.values()) / len(shares), "layer_base_share": shares}

    def without_base(self, student: nn.Module) -> AbstractContextManager[None] | None:
        """See :func:`base_removed`; None once the base was dropped."""
        held = any(layer.base is not None for layer in pclora_layers(student).values())
        return base_removed(student) if held else None

    def finalize(self, student: nn.Module) -> nn.Module:
        """See :func:`compress`; a run that ended unfaded says so in its notes."""
        return compress(student, allow_unfaded=True)

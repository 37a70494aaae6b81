"""PELA behind the verbs that every method has."""

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from pclora_lab.methods.base import Method, MethodContext, MetricValues
from pclora_lab.methods.distillation.losses import FEATURE
from pclora_lab.methods.factorization import weight_spectra
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.metrics import TASK, Metric, Panel
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.pela.losses import RepairTerms
from pclora_lab.methods.pela.model import PELARecord, as_dense, factorize_model, pela_record
from pclora_lab.methods.pela.ranks import pela_layers, pela_ranks
from pclora_lab.methods.rank_budget import ranks_for_budget
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.sizes import Plan, plan
from pclora_lab.nn.surgery import deepcopy_sharing

__all__ = ["PELA"]

REPAIR = Metric(
    "repair",
    "repair with the teacher (1), alone (0)",
    Panel.PROGRESS,
    "sky",
    dash="dash",
    panel_title="Repair, then fine-tuning",
    overlay_dash="dash",
)
PERTURBATION = Metric("perturbation", "weight perturbation", Panel.LOSS, "purple", dash="dash")


def _with_layers(counts: ModelCounts, names: Iterable[str]) -> ModelCounts:
    """Only these layers; each keeps a bias where it has one."""
    layers = (replace(c, always_bias=False) for c in counts.layers if c.name in names)
    return replace(counts, layers=tuple(layers))


class PELA(Method[PELAConfig]):
    """PELA behind the four verbs."""

    name = "pela"
    title = "PELA"
    summary = "Factorize every weight once, repair with the dense model as teacher, fine-tune."
    Config = PELAConfig
    layer_parts = LayerParts(formula="y = B(Ax) + b", factors=True)
    status_text = "repairing, then fine-tuning"
    plot_caption = (
        "While the dashed line is at 1 the student imitates the dense model's blocks; where it "
        "falls to 0, fine-tuning on the labels alone begins."
    )
    metrics = (REPAIR, TASK, FEATURE, PERTURBATION)
    lr_grid = (5e-4, 1e-3)
    in_default_comparison = True
    color, marker = "green", "D"

    def __init__(self, config: PELAConfig) -> None:
        super().__init__(config)
        # Stage 2 alone needs no teacher.
        self.starts_from = "teacher" if config.repair > 0 else "pretrained"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """See :func:`factorize_model`; everything trains."""
        config, model = self.config, unwrapped(model)
        if self._record(model) is not None:
            return deepcopy_sharing(model, ()).requires_grad_(True)
        ranks = None
        if config.budget is not None or config.rank_allocation != "uniform":
            counts = count_model(model, targets=config.targets, example=context.example)
            ranks = self._ranks(counts, model, config.rank_allocation)
        student = factorize_model(
            model,
            ratio=config.ratio,
            rank=config.rank if ranks is None else None,
            ranks=ranks,
            targets=config.targets,
            exclude=self._exclude(),
            example=context.example,
        )
        return student.requires_grad_(True)

    def _record(self, model: nn.Module) -> PELARecord | None:
        """How the model has been factorized before; refused where stage 1 needs a dense one."""
        record = pela_record(model)
        if record is not None and self.config.repair > 0:
            raise ValueError(
                f"repair is {self.config.repair:g}, but the model is factorized already and there "
                "is no dense one to imitate: set repair=0 for stage 2, or pass the dense model"
            )
        return record

    def count(self, model: nn.Module) -> ModelCounts:
        """Of the dense model, also where it has been factorized."""
        dense = model if pela_record(model) is None else as_dense(model)
        return count_model(dense, targets=self.config.targets)

    def _exclude(self) -> tuple[str, ...] | None:
        parts = tuple(part.strip() for part in self.config.exclude.split(",") if part.strip())
        return None if parts == ("auto",) else parts

    def _ranks(self, counts: ModelCounts, model: nn.Module, rank_allocation: str) -> dict[str, int]:
        """By budget, by rank or by ratio, for the layers that are not excluded."""
        config, exclude = self.config, self._exclude()
        if (record := self._record(model)) is not None:
            return dict(record["ranks"])
        counts = _with_layers(counts, pela_layers(model, exclude=exclude, targets=config.targets))
        ranks = pela_ranks(
            model, config.ratio, rank=config.rank, exclude=exclude, targets=config.targets
        )
        if config.budget is None and rank_allocation == "uniform":
            return ranks
        is_by_energy = rank_allocation == "energy"
        return ranks_for_budget(
            counts,
            self._budget(counts, ranks),
            budget_unit=config.budget_unit,
            rank_allocation=rank_allocation,
            spectra=weight_spectra(model, config.targets) if is_by_energy else None,
        )

    def _budget(self, counts: ModelCounts, ranks: dict[str, int]) -> float:
        """The given one, or the share that the ranks of ``rank`` or ``ratio`` keep."""
        if self.config.budget is not None:
            return self.config.budget
        kept = plan(counts, ranks).replaced
        if self.config.budget_unit == "macs":
            return kept.macs_after / kept.macs_before
        return kept.params_after / kept.params_before

    def set_progress(self, student: nn.Module, progress: float) -> MetricValues:
        """1 in stage 1, 0 in stage 2."""
        return {"repair": float(progress < self.config.repair)}

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> RepairTerms:
        """``task + w_f·features + w_p·perturbation``, then the task alone."""
        return RepairTerms(student, teacher, self.config, self.task)

    def finalize(self, student: nn.Module) -> nn.Module:
        """A copy in eval mode; ``.pela`` says ratio, ranks and exclusions."""
        return deepcopy_sharing(unwrapped(student), ()).eval()

    def plan(self, counts: ModelCounts, model: nn.Module) -> Plan:
        """The sizes at the ranks that ratio, rank or budget give."""
        ranks = self._ranks(counts, model, "uniform")
        counts = _with_layers(counts, ranks)
        return plan(counts, ranks)

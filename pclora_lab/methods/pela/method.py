"""PELA behind the verbs that every method has."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pclora_lab.methods.base import Batch, Method
from pclora_lab.methods.factorization import weight_spectra
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.pela.losses import _Repair
from pclora_lab.methods.pela.model import as_dense, factorize_model, pela_layers, pela_ranks
from pclora_lab.methods.rank_budget import ranks_for_budget
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.sizes import Plan, plan
from pclora_lab.nn.surgery import deepcopy_sharing

__all__ = ["PELA"]


def _with_layers(counts: ModelCounts, names: Iterable[str]) -> ModelCounts:
    """Only these layers; each keeps a bias where it has one."""
    layers = (replace(c, always_bias=False) for c in counts.layers if c.name in names)
    return replace(counts, layers=tuple(layers))


class PELA(Method):
    """PELA behind the four verbs."""

    name = "pela"
    title = "PELA"
    summary = "Factorize every weight once, repair with the dense model as teacher, fine-tune."
    Config = PELAConfig
    status_text = "repairing, then fine-tuning"
    plot_caption = (
        "While the dashed line is at 1 the student imitates the dense model's blocks; where it "
        "falls to 0, fine-tuning on the labels alone begins."
    )
    metrics = ("repair", "task", "feature", "perturbation")
    lr_grid = (5e-4, 1e-3)

    def apply(
        self,
        model: nn.Module,
        *,
        calibration: Iterable[Tensor] = (),
        generator: torch.Generator | None = None,
        example: Batch | None = None,
        counts: ModelCounts | None = None,
    ) -> nn.Module:
        """See :func:`factorize_model`; everything trains."""
        config = self.config
        if self._is_factorized(model):
            return deepcopy_sharing(model, ()).requires_grad_(True)
        options = {"targets": config.targets, "exclude": self._exclude(), "example": example}
        if config.budget is None and config.rank_allocation == "uniform":
            student = factorize_model(model, ratio=config.ratio, rank=config.rank, **options)
        else:
            counts = count_model(model, targets=config.targets, example=example)
            ranks = self._ranks(counts, model, config.rank_allocation)
            student = factorize_model(model, ranks=ranks, **options)
        return student.requires_grad_(True)

    @property
    def starts_from(self) -> str:
        """Stage 2 alone needs no teacher."""
        return "teacher" if self.config.repair > 0 else "pretrained"

    def _is_factorized(self, model: nn.Module) -> bool:
        if not hasattr(model, "pela"):
            return False
        if self.config.repair > 0:
            raise ValueError(
                f"repair is {self.config.repair:g}, but the model is factorized already and there "
                "is no dense one to imitate: set repair=0 for stage 2, or pass the dense model"
            )
        return True

    def count(self, model: nn.Module) -> ModelCounts:
        """Of the dense model, also where it has been factorized."""
        dense = as_dense(model) if hasattr(model, "pela") else model
        return count_model(dense, targets=self.config.targets)

    def _exclude(self) -> tuple[str, ...] | None:
        parts = tuple(part.strip() for part in self.config.exclude.split(",") if part.strip())
        return None if parts == ("auto",) else parts

    def _ranks(self, counts: ModelCounts, model: nn.Module, rank_allocation: str) -> dict[str, int]:
        """By budget, by rank or by ratio, for the layers that are not excluded."""
        config = self.config
        if self._is_factorized(model):
            return dict(model.pela["ranks"])
        kinds = {"exclude": self._exclude(), "targets": config.targets}
        names = pela_layers(model, **kinds)
        counts = _with_layers(counts, names)
        ranks = pela_ranks(model, config.ratio, rank=config.rank, **kinds)
        if config.budget is None and rank_allocation == "uniform":
            return ranks
        kept = plan(counts, ranks).replaced
        share = {"params": kept.params_after / kept.params_before}
        share["macs"] = kept.macs_after / kept.macs_before
        budget = config.budget if config.budget is not None else share[config.budget_unit]
        spectra = None
        if rank_allocation == "energy":
            spectra = weight_spectra(model, config.targets)
        return ranks_for_budget(
            counts,
            budget,
            budget_unit=config.budget_unit,
            rank_allocation=rank_allocation,
            spectra=spectra,
        )

    def set_progress(self, student: nn.Module, progress: float) -> dict[str, float]:
        """1 in stage 1, 0 in stage 2."""
        return {"repair": float(progress < self.config.repair)}

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> _Repair:
        """``task + w_f·features + w_p·perturbation``, then the task alone."""
        return _Repair(student, teacher, self.config)

    def finalize(self, student: nn.Module) -> nn.Module:
        """A copy in eval mode; ``.pela`` says ratio, ranks and exclusions."""
        return deepcopy_sharing(student, ()).eval()

    def plan(self, counts: ModelCounts, model: nn.Module) -> Plan:
        """The sizes at the ranks that ratio, rank or budget give."""
        ranks = self._ranks(counts, model, "uniform")
        counts = _with_layers(counts, ranks)
        return plan(counts, ranks)

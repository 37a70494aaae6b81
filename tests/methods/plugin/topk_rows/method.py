"""Rows of every weight are set to zero on the way, the smallest first; the rest trains on."""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from pclora_lab.fields import option
from pclora_lab.methods import TASK, Method, MethodConfig, MethodContext, Metric, Panel
from pclora_lab.nn import find_targets


@dataclass(frozen=True, kw_only=True)
class TopKRowsConfig(MethodConfig):
    """How many rows stay.

    Attributes:
        budget: share of each layer's rows that is left at the end.
        prune_end: share of the steps after which no more rows go.
    """

    name: ClassVar[str] = "topk_rows"
    default_lr: ClassVar[float] = 5e-4

    budget: float = option(
        0.5, "number", "rows kept", "share of each layer's rows that stays", low=0.01, high=1
    )
    prune_end: float = option(
        0.5, "number", "prune until", "share of the steps until no more rows go", low=0.01, high=1
    )


class TopKRows(Method[TopKRowsConfig]):
    """Keep the k largest rows of every weight."""

    name = "topk_rows"
    title = "top-k rows"
    summary = "Set the smallest rows of every weight to zero while the others train."
    Config = TopKRowsConfig
    compresses = False
    starts_from = "pretrained"
    metrics = (
        Metric("rows_kept", "rows kept", Panel.PROGRESS, "green", panel_title="Rows kept"),
        TASK,
    )
    color, marker = "#8B4513", "p"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """A copy in which everything trains."""
        return copy.deepcopy(model).requires_grad_(True)

    @torch.no_grad()
    def set_progress(self, student: nn.Module, progress: float) -> dict[str, float]:
        """Take the smallest rows away."""
        share = 1 - (1 - self.config.budget) * min(1.0, progress / self.config.prune_end)
        for layer in find_targets(student, self.config.targets).values():
            rows = layer.out_features
            order = layer.weight.norm(dim=1).argsort()
            layer.weight[order[: rows - max(1, round(share * rows))]] = 0
        return {"rows_kept": share}

    def after_backward(self, student: nn.Module) -> None:
        """A row that is gone stays gone."""
        for layer in find_targets(student, self.config.targets).values():
            layer.weight.grad[(layer.weight == 0).all(dim=1)] = 0

    def finalize(self, student: nn.Module) -> nn.Module:
        """A copy in eval mode."""
        return copy.deepcopy(student).eval()

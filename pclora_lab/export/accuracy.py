"""How good an export is whose weights are rounded, beside the model that it was made from."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.export.formats import FORMATS, Opened
from pclora_lab.export.report import ExportReport
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.nn.forward import Inputs
from pclora_lab.remarks import remark
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate
from pclora_lab.wording import explained

__all__ = ["with_accuracies"]

# Enough to see a loss of a percent or two; the whole split may take minutes on a CPU.
_EXAMPLES = 1000
_BATCH = 64


def with_accuracies(
    reports: Iterable[ExportReport], model: nn.Module, config: RunConfig
) -> list[ExportReport]:
    """The same reports; those of formats that round the weights know how accurate they are.

    Args:
        reports: of what was written.
        model: that was exported, on the CPU.
        config: of its run, which says which data; where they can't be read, that is said, and the
            accuracy stays unknown.
    """
    reports = list(reports)
    rounding = [r for r in reports if r.format in FORMATS and FORMATS[r.format].rounds]
    if not rounding:
        return reports
    try:
        task, batches = _examples(model, config)
        scores = evaluate(task, model, batches, limit=_EXAMPLES, batch_size=_BATCH)
        before = scores[task.ranking.key]
        known = {report: _measured(report, task, batches, before) for report in rounding}
    except (OSError, ValueError, RuntimeError) as error:
        names = ", ".join(report.format for report in rounding)
        remark(f"the accuracy of {names} can't be measured ({explained(error)})", stacklevel=3)
        return reports
    return [known.get(report, report) for report in reports]


def _examples(model: nn.Module, config: RunConfig) -> tuple[Task, Batches]:
    cache = DataCache()
    task, data = task_and_data(config, cache, is_begun=True)
    batches = cache.batches(data, preprocessing_of(model), config.model, task.batches)
    return task, batches[config.report_on]


def _measured(report: ExportReport, task: Task, batches: Batches, before: float) -> ExportReport:
    opens = FORMATS[report.format].open
    if opens is None:
        return report
    score, seen = _score(opens(Path(report.path)), task, batches)
    rounded = replace(report, accuracy=score, float_accuracy=before, examples=seen)
    return replace(rounded, metric=task.ranking)


def _score(run: Opened, task: Task, batches: Batches) -> tuple[float, int]:
    """The ranking metric, and how many examples it was read on."""
    scorer, seen = task.scorer(), 0
    with torch.inference_mode():
        for indices in batches.for_scoring(_BATCH, _EXAMPLES):
            inputs, targets = batches.batch(indices)
            scorer.update(run(_named(inputs)), targets)
            seen += len(indices)
    return float(scorer.compute()[task.ranking.key]), seen


def _named(inputs: Inputs) -> dict[str, Tensor]:
    """A batch under the names that an export takes; where nothing is padded, there is no mask."""
    if isinstance(inputs, Tensor):
        return {"pixel_values": inputs}
    whole = {"attention_mask": torch.ones_like(inputs["input_ids"])}
    return {**whole, **inputs}

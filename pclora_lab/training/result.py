"""The final numbers of a run, read on the finished model."""

from typing import Any

import torch
from torch import nn

from pclora_lab.nn.counting import count_macs
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.heads import fold_units
from pclora_lab.nn.latency import latency_ms
from pclora_lab.nn.sizes import Plan
from pclora_lab.training.device import hardware_name
from pclora_lab.training.evaluation import scored, scores_of
from pclora_lab.training.setup import RunSetup

__all__ = ["LATENCY_EXAMPLES", "final_result"]

LATENCY_EXAMPLES = 64


def final_result(setup: RunSetup, student: nn.Module) -> tuple[dict[str, Any], nn.Module]:
    """Finish the student and read the final split; in float32, as the saved model is.

    Args:
        setup: of the run.
        student: after its last step.

    Returns:
        The numbers, and the deployable model.
    """
    batches, device = setup.batches[setup.config.report_on], setup.accelerator.device
    count = setup.ranks.count
    setup.model.to(device)
    teacher_scores = setup.teacher_scores()
    small = fold_units(setup.method.finalize(student))
    inputs = batches.inputs(next(batches.in_order(LATENCY_EXAMPLES)), device)
    with torch.no_grad():
        gap = call_model(student.eval(), inputs) - call_model(small, inputs)
    scorer = scored(setup.task, small, batches, batch_size=setup.config.eval_batch_size)
    scores, by_class = scores_of(setup.task, scorer), setup.task.by_class(scorer)
    result = {
        "method": setup.method.name,
        "task": setup.task.name,
        "metrics": [metric.to_dict() for metric in setup.task.metrics],
        **scores,
        **({"by_class": by_class} if by_class else {}),
        setup.task.ranking.examples: len(batches),
        # The name that readers of earlier records know: the base is removed by now.
        **{metric.if_base_removed: scores[metric.key] for metric in setup.task.metrics},
        **setup.task.of_teacher(teacher_scores),
        "max_logit_difference": gap.abs().max().item(),
        **_sizes(setup, student, small),
        "latency_ms_before": latency_ms(setup.model.eval(), inputs),
        "latency_ms_after": latency_ms(small, inputs),
        "device": str(device),
        "hardware": hardware_name(device) + (f", {count} processes" if count > 1 else ""),
        "precision": setup.accelerator.precision,
    }
    return result, small


def _sizes(setup: RunSetup, student: nn.Module, small: nn.Module) -> dict[str, Any]:
    counts, macs = setup.counts, count_macs(small)
    tensors = [*small.parameters(), *small.buffers()]
    after = sum(p.numel() for p in small.parameters())
    return {
        "params_before": counts.params,
        "params_after": after,
        "params_trained": _trained(student) if setup.method.trains else 0,
        "params_removed_replaced": _removed(setup.planned, after),
        "params_removed_whole": 1 - after / counts.params,
        "macs_before": counts.macs,
        "macs_after": macs,
        "macs_removed_whole": 1 - macs / counts.macs,
        "bytes_before": counts.bytes,
        "bytes_after": sum(t.numel() * t.element_size() for t in tensors),
    }


def _removed(planned: Plan, after: int) -> float:
    """Share of the replaced layers' parameters that is gone, counted on the finished model."""
    return 1 - (after - planned.dense.params_after) / planned.replaced.params_before


def _trained(student: nn.Module) -> int:
    return sum(p.numel() for p in student.parameters() if p.requires_grad)

"""Losses that are means over pixels or tokens, where each process holds a part of the batch."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, distributed

from pclora_lab.tasks.base import Task
from pclora_lab.training.parallel.ranks import Ranks, lost_explained

__all__ = ["Units", "losses_weighted", "part_weight", "task_of_parts"]

Units = Callable[[Any], Tensor | None]

_WEIGHT: ContextVar[Tensor | None] = ContextVar("_WEIGHT", default=None)


@contextmanager
def losses_weighted(weight: Tensor | None) -> Iterator[None]:
    """Inside, the loss of a task from :func:`task_of_parts` is multiplied.

    Args:
        weight: from :func:`part_weight`.
    """
    token = _WEIGHT.set(weight)
    try:
        yield
    finally:
        _WEIGHT.reset(token)


def task_of_parts(task: Task, ranks: Ranks) -> Task:
    """The task with a loss that counts as much as this process's part holds of the whole batch.

    Whoever calls its loss, methods of other packages too, need not know of other processes.

    Args:
        task: of the run.
        ranks: of its processes; one alone is given the task itself.
    """
    if ranks.count == 1:
        return task

    def loss(outputs: Tensor, targets: Any) -> Tensor:
        own, weight = task.loss(outputs, targets), _WEIGHT.get()
        return own if weight is None else own * weight

    part = copy.copy(task)
    vars(part)["loss"] = loss
    return part


def part_weight(units: Tensor | None, share: float, ranks: Ranks) -> Tensor | None:
    """``(u_r / u) / (n_r / n)``: what a part holds of the batch, by its share of the examples.

    Every process multiplies all of its terms by ``n_r / n``, so that a mean over units comes out
    as ``Σ_r (u_r / u) L_r``. One number is added up over the processes.

    Args:
        units: u_r, 0-dim, of this process's part; None where every example counts as one.
        share: n_r / n.
        ranks: of the processes.
    """
    if units is None:
        return None
    total = units.detach().to(torch.int64, copy=True)
    with lost_explained():
        distributed.all_reduce(total, group=ranks.data)
    return units / (total.clamp_min(1) * share)

"""What a training run tells while it goes on; views and records read nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from pclora_lab.training.config import RunConfig
    from pclora_lab.training.state import Checkpoint

__all__ = [
    "AdapterSnapshot",
    "Event",
    "LogRow",
    "PhaseCost",
    "PhaseStart",
    "Planned",
    "Resolved",
    "Result",
    "Row",
    "RunEnd",
    "StepEnd",
    "TaskGuessed",
]

# One line of a history, and the final numbers of a run: text, numbers, lists, None.
Row = dict[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class PhaseStart:
    """A part of the run begins: ``data``, ``teacher``, ``start``, ``fade`` or ``test``.

    ``waiting`` comes again and again while another run fine-tunes the same teacher.
    """

    name: str
    steps: int


@dataclass(frozen=True)
class Resolved:
    """What ``auto`` stands for in this run; whoever takes it up or compares it keeps to that."""

    config: "RunConfig"


@dataclass(frozen=True)
class TaskGuessed:
    """The configuration names no task, so the data said which one it is.

    Attributes:
        name: of the task.
        because: what was taken and what speaks for it, in one line.
    """

    name: str
    because: str


@dataclass(frozen=True)
class PhaseCost:
    """What a part of a run costs, counted before it begins.

    Attributes:
        name: ``teacher``, ``fade``, ``after`` (without the base) or ``test``.
        steps: optimizer steps of this part; 0 for the test.
        passes: forward passes of one example through the dense model that cost as much.
    """

    name: str
    steps: int
    passes: float


@dataclass(frozen=True)
class Planned:
    """What lies ahead, in order, before the first step; see :class:`PhaseCost`."""

    phases: tuple[PhaseCost, ...]


@dataclass(frozen=True)
class StepEnd:
    """One optimizer step is done.

    Attributes:
        phase: ``teacher`` or ``fade``.
        step: steps done in this phase.
        steps: of this phase.
        checkpoint: collects what it takes to go on from here, until the next step begins; None
            where a run can't be taken up.
    """

    phase: str
    step: int
    steps: int
    checkpoint: Callable[[], "Checkpoint"] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class LogRow:
    """One line of the history; a value that was not measured is None."""

    values: Row


@dataclass(frozen=True)
class AdapterSnapshot:
    """All that is trained, as it is at a step, and λ (0 where the method has none)."""

    step: int
    lam: float
    tensors: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class RunEnd:
    """The run is complete.

    Attributes:
        result: final numbers, plain types.
        model: the compressed model, in eval mode, on the CPU.
        teacher: the dense model it was distilled from, on the CPU.
    """

    result: Result
    model: nn.Module = field(repr=False)
    teacher: nn.Module = field(repr=False)


Event = PhaseStart | TaskGuessed | Resolved | Planned | StepEnd | LogRow | AdapterSnapshot | RunEnd

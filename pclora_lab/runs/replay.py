"""Back in time: a run's student as it was at any kept step, beside its teacher.

Everything comes from the run folder, so it works while the run goes on, after it, and in another
process. The student is built anew around the teacher's weights and the snapshot is put into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.layers import PCLoRALinear
from pclora_lab.methods.pclora.model import (
    get_pclora_model,
    pclora_layers,
    set_base_weight_factor,
    student_config,
)
from pclora_lab.methods.rank_selection import LowRankConfig
from pclora_lab.methods.registry import method_class
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.nn.attention import attention_maps
from pclora_lab.nn.forward import Inputs, call_model, eval_mode
from pclora_lab.nn.generators import RNG_LOCK
from pclora_lab.runs.durable.places import home_of_teachers
from pclora_lab.runs.reader import TEACHERS_FOLDER, Run, load_run
from pclora_lab.runs.snapshots import list_snapshots, load_snapshot
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.outputs import Continuation
from pclora_lab.training.config import RunConfig
from pclora_lab.training.setup import load_dense
from pclora_lab.training.state import load_trained
from pclora_lab.training.teacher import needs_finetuning, read_teacher

__all__ = ["Predictions", "Replay", "RunBasis", "SingularValues", "answers_of", "read_basis"]
__all__ += ["said_by"]


@dataclass(frozen=True)
class Predictions:
    """What both models say about some examples.

    Attributes:
        labels: what is right, such as class numbers ``(examples,)``.
        teacher: what the task makes of the outputs, such as probabilities ``(examples, classes)``.
        student: the same.
        task: says what they mean.
        continuations: how teacher and student go on from the beginning of each example; None where
            the task has no such thing.
    """

    labels: Any
    teacher: Tensor
    student: Tensor
    task: Task = IMAGE_CLASSIFICATION
    continuations: tuple[list[Continuation], list[Continuation]] | None = None


@dataclass(frozen=True)
class RunBasis:
    """What a run started from, read again.

    Attributes:
        teacher: the dense model, in eval mode, on the CPU.
        has_teacher: False where the dense model's head is new and says nothing.
        validation: that split, as the model takes it.
        raw: its examples as they were read.
        class_names: what the outputs stand for; empty where they are no classes.
        task: of the run.
    """

    teacher: nn.Module
    has_teacher: bool
    validation: Batches
    raw: Sequence[Any]
    class_names: tuple[str, ...]
    task: Task


def read_basis(folder: Path, config: RunConfig, cache: DataCache) -> RunBasis:
    """Read the data and the teacher of a run.

    Args:
        folder: of the run.
        config: of the run.
        cache: data of earlier runs in this process.

    Raises:
        ValueError: data or model can't be read, or the fine-tuned teacher is gone.
    """
    task, data = task_and_data(config, cache, is_begun=True)
    with RNG_LOCK:
        teacher = load_dense(config, data, task).eval()
    is_taught = needs_finetuning(teacher, config)
    has_teacher = is_taught or not head_is_new(teacher)
    if is_taught:
        read_teacher(teacher, data, config, home_of_teachers(folder) / TEACHERS_FOLDER)
    preprocessing = preprocessing_of(teacher, config.img_size)
    validation = cache.batches(data, preprocessing, config.model, task.batches)["validation"]
    raw, names = task.raw_examples(validation, data.validation), task.class_names(data)
    return RunBasis(teacher, has_teacher, validation, raw, names, task)


@dataclass(frozen=True)
class SingularValues:
    """Singular values of one layer, largest first.

    Attributes:
        base: of ``λW``, less what the adapter started with.
        adapter: of ``s·BA``; ``rank`` values.
        together: of their sum, the matrix that the student really multiplies with.
    """

    base: Tensor
    adapter: Tensor
    together: Tensor


class Replay:
    """A run, looked at again.

    Args:
        folder: of the run; it may still be going.
        cache: data of earlier runs in this process.

    Attributes:
        teacher: the dense model, in eval mode, on the CPU.
        examples: the validation split, as the model takes it.
        class_names: what the outputs stand for; empty where they are no classes.
        task: of the run.
        has_teacher: False where the dense model's head is new and says nothing.

    Raises:
        ValueError: nothing was kept, the method has no adapters to keep, or the fine-tuned teacher
            is gone; says which.
    """

    def __init__(self, folder: Path | str, *, cache: DataCache | None = None) -> None:
        cache = cache if cache is not None else DataCache()
        run = load_run(folder)
        self.folder, self.config = run.folder, RunConfig.from_dict(run.config)
        method = method_class(self.config.method.name)
        if not method.supports_replay:
            raise ValueError(f"{method.title} keeps no adapters, so there is nothing to go back to")
        if not self.steps:
            raise ValueError(_no_snapshots(run))
        if self.steps[0] != 0 and self._student_config().init != "zeros":
            raise ValueError(
                f"{run.folder.name} has lost its first snapshot, which holds where the adapters "
                "started: nothing can be shown truly without it"
            )
        basis = read_basis(run.folder, self.config, cache)
        self.teacher, self.has_teacher = basis.teacher, basis.has_teacher
        self.examples, self.raw, self.class_names = basis.validation, basis.raw, basis.class_names
        self.task = basis.task
        self._student: nn.Module | None = None
        self._at: int | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that were kept so far."""
        return tuple(list_snapshots(self.folder))

    def nearest(self, step: int) -> int:
        """The last kept step that is not after this one."""
        steps = self.steps
        if not steps:
            raise ValueError("the snapshots of this run are gone")
        return max((s for s in steps if s <= step), default=steps[0])

    def student_at(self, step: int) -> nn.Module:
        """The student as it was; the same module is filled anew for every step.

        Args:
            step: one of :attr:`steps`.
        """
        if self._student is None:
            self._student = self._build()
        if step != self._at:
            path = list_snapshots(self.folder).get(step)
            if path is None:
                raise ValueError(f"there is no snapshot of step {step} any more")
            tensors = load_snapshot(path)
            lam = float(tensors.pop("lam", 0.0))
            self._at = None  # half of another step, if the next line fails
            load_trained(self._student, tensors)
            set_base_weight_factor(self._student, lam)
            self._at = step
        return self._student

    def _student_config(self) -> PCLoRAConfig:
        config = self.config.method
        if not isinstance(config, LowRankConfig):
            raise ValueError(f"{config.name} has no ranks: there is no student to build again")
        return student_config(config)

    def _build(self) -> nn.Module:
        # Every start is only another A, B and C, and those are in the snapshot of the first step.
        first = load_snapshot(list_snapshots(self.folder)[self.steps[0]])
        ranks = {n.removesuffix(".B"): x.shape[1] for n, x in first.items() if n.endswith(".B")}
        config = self._student_config()
        config_now = replace(config, init="zeros", rank=1, budget=None, rank_allocation="uniform")
        with RNG_LOCK:
            student = get_pclora_model(self.teacher, config_now, rank=ranks)
        if config.init != "zeros":
            for name, layer in pclora_layers(student).items():
                for part in "ABC":
                    if hasattr(layer, f"start_{part}"):
                        setattr(layer, f"start_{part}", first[f"{name}.{part}"])
        return student.eval()

    def predictions(self, step: int, indices: Sequence[int]) -> Predictions:
        """What teacher and student say about validation examples.

        Args:
            step: one of :attr:`steps`.
            indices: numbers of examples.

        Raises:
            ValueError: an example that is not there.
        """
        self._require(indices)
        return said_by(self.task, self._both(step), self.examples, indices)

    def attention(self, step: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Attention maps of teacher and student; see :func:`attention_maps`."""
        inputs, _ = self._inputs(indices)
        if not isinstance(inputs, Tensor):
            raise ValueError("attention maps are drawn over images, and this model reads texts")
        teacher, student = (attention_maps(model, inputs) for model in self._both(step))
        return teacher, student

    def spectra(self, step: int, layer: str) -> SingularValues:
        """Singular values of a layer's base, adapter and sum.

        Raises:
            ValueError: no linear layer of that name.
        """
        found = pclora_layers(self.student_at(step)).get(layer)
        if not isinstance(found, PCLoRALinear):
            raise ValueError(f"{layer!r} is no linear layer of this run's student")
        base, adapter = _matrices(found)
        rank = min(found.rank, *base.shape)
        return SingularValues(
            torch.linalg.svdvals(base),
            torch.linalg.svdvals(adapter)[:rank],
            torch.linalg.svdvals(base + adapter),
        )

    def _both(self, step: int) -> tuple[nn.Module, nn.Module]:
        return self.teacher, self.student_at(step)

    def _inputs(self, indices: Sequence[int]) -> tuple[Inputs, Tensor]:
        self._require(indices)
        return self.examples.batch(torch.as_tensor(list(indices), device="cpu"))

    def _require(self, indices: Sequence[int]) -> None:
        wrong = [index for index in indices if not 0 <= index < len(self.examples)]
        if wrong:
            raise ValueError(
                f"there is no validation example {wrong[0]}: they go from 0 to "
                f"{len(self.examples) - 1}"
            )


def said_by(
    task: Task, models: tuple[nn.Module, nn.Module], batches: Batches, indices: Sequence[int]
) -> Predictions:
    """What a teacher and its student say about some examples.

    Args:
        task: looks at the outputs.
        models: the teacher, the student.
        batches: of a split.
        indices: which of its examples.
    """
    inputs, labels = batches.batch(torch.as_tensor(list(indices), device="cpu"))
    teacher, student = (answers_of(task, model, inputs) for model in models)
    first, second = (task.continuations(model, batches, indices) for model in models)
    told = None if first is None or second is None else (first, second)
    return Predictions(labels, teacher, student, task, told)


def answers_of(task: Task, model: nn.Module, inputs: Inputs) -> Tensor:
    """What a model says about some examples, as the task looks at it; in eval mode and float32."""
    with eval_mode(model):
        return task.answers(call_model(model, inputs))


def _no_snapshots(run: Run) -> str:
    if run.status == "running":
        return "no snapshot yet: the first one is taken when the method's training begins"
    return (
        f"{run.folder.name} has no snapshots: train again with snapshots=24, or with more "
        "snapshot_mb if fewer than two fit"
    )


@torch.no_grad()
def _matrices(layer: PCLoRALinear) -> tuple[Tensor, Tensor]:
    """``λ(W − s·B₀A₀)`` and ``s·BA``, in float32."""
    if layer.base is None:  # what is built for a replay keeps it
        raise ValueError("the base of this layer was dropped")
    weight = layer.base.weight.float()
    if layer.start_A is not None and layer.start_B is not None:
        weight = weight - layer.scale * layer.start_B.float() @ layer.start_A.float()
    return layer.lam * weight, layer.scale * layer.B.float() @ layer.A.float()

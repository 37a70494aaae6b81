"""The outputs of a student's and a teacher's layers, recorded or compared where they are made."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pclora_lab.methods.distillation.losses import feature_gap
from pclora_lab.nn.layers.sharing import bring_together
from pclora_lab.nn.layers.wrappers import inner_modules, innermost

__all__ = ["FeaturePair", "FeatureTaps", "refuse_replicas"]


class FeatureTaps:
    """Keeps the outputs of named modules while it records; every call of a module counts.

    The first call of a module stands under its name, a second one under ``name (2)``: a block that
    a model runs several times is compared call by call. The hooks go when this object does.

    Args:
        model: the model to watch.
        names: full module names; an output that is a tuple counts with its first element.
        recording: whether to record from the start; else :meth:`record` and :meth:`take` do.

    Raises:
        ValueError: while recording with gradients, a module runs without them, as inside a
            re-entrant checkpoint: what it gives could teach nothing.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with FeatureTaps(model, ["0"]) as taps:
        ...     _ = model(torch.zeros(1, 2))
        ...     list(taps.take()), taps.outputs
        (['0'], {})
    """

    def __init__(self, model: nn.Module, names: Iterable[str], *, recording: bool = True) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self.recording, self._has_gradients = recording, False
        self.versions: dict[str, int | None] = {}
        # Who may take an output in instead.
        self.meet: Callable[[str, Tensor], bool] | None = None
        inside = inner_modules(model)
        self._handles = [
            module.register_forward_hook(_output_hook(weakref.ref(self), name, module))
            for name, module in (
                (name, inside.get(name) or model.get_submodule(name)) for name in names
            )
        ]
        # Not bound to this object, which could never be collected then.
        self._finalizer = weakref.finalize(self, _remove, self._handles)

    def record(self, *, gradients: bool = False) -> None:
        """Begin anew, with the forward pass that comes next.

        Args:
            gradients: whether every output is to have one.
        """
        self.outputs, self.recording, self._has_gradients = {}, True, gradients
        self._calls, self.versions, self.meet = {}, {}, None

    def take(self) -> dict[str, Tensor]:
        """What was recorded; nothing is held or recorded any more."""
        outputs, self.outputs, self.recording = self.outputs, {}, False
        self.meet = None
        return outputs

    def keep(self, name: str, output: Tensor | tuple) -> None:
        """One more output of a module."""
        if self._has_gradients and not torch.is_grad_enabled():
            self.take()
            raise ValueError(
                f"{name} runs without gradients inside a forward pass that has them, as under "
                "re-entrant checkpointing: its features could teach nothing. Use "
                'gradient_checkpointing_kwargs={"use_reentrant": False}, or turn checkpointing off'
            )
        calls = self._calls[name] = self._calls.get(name, 0) + 1
        key = name if calls == 1 else f"{name} ({calls})"
        first = output[0] if isinstance(output, tuple) else output
        if self.meet is None or not self.meet(key, first):
            self.outputs[key], self.versions[key] = first, _version(first)

    def is_as_it_was(self, key: str) -> bool:
        """Whether the model has surely not changed an output in place since."""
        now = _version(self.outputs[key])
        return now is not None and now == self.versions[key]

    def close(self) -> None:
        """Remove the hooks and let go of the outputs."""
        self._finalizer()
        self.take()

    def __enter__(self) -> "FeatureTaps":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _version(output: Tensor) -> int | None:
    # Tensors of inference mode don't count their changes.
    return None if output.is_inference() else output._version


def _output_hook(
    taps: "weakref.ref[FeatureTaps]", name: str, watched: nn.Module
) -> Callable[[nn.Module, tuple, Tensor | tuple], None]:
    owner = weakref.ref(watched)

    def keep(module: nn.Module, args: tuple, output: Tensor | tuple) -> None:
        found = taps()
        # A copy of the model takes the hook along.
        if found is not None and found.recording and module is owner():
            found.keep(name, output)

    return keep


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


class FeaturePair:
    """Taps on the same modules of a student and its teacher, that record only when asked.

    A student has one pair: a new one takes the place of an older one, which takes it back when it
    is used again. So hooks never pile up.

    Args:
        student: that imitates.
        teacher: that is imitated.
        names: full module names, the same in both.

    Example:
        >>> model, teacher = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3))
        >>> _ = teacher.load_state_dict(model.state_dict())
        >>> pair = FeaturePair(model, teacher, ["0"])
        >>> with pair.comparing():
        ...     _ = teacher(torch.ones(1, 2)), model(torch.ones(1, 2))
        >>> pair.loss().item()
        0.0
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, names: Iterable[str]) -> None:
        self.student, self.teacher, self.names = innermost(student), teacher, tuple(names)
        self._taps: tuple[FeatureTaps, FeatureTaps] | None = None
        self._gaps: dict[str, Tensor] = {}
        self._open()

    def _open(self) -> tuple[FeatureTaps, FeatureTaps]:
        current = _PAIRS.get(self.student)
        other = None if current is None else current()
        if other is not None and other is not self:
            other.close()
        if self._taps is None:
            _PAIRS[self.student] = weakref.ref(self)
            made = [FeatureTaps(m, self.names, recording=False) for m in self._both]
            self._taps = made[0], made[1]
        return self._taps

    @property
    def _both(self) -> tuple[nn.Module, nn.Module]:
        return self.student, self.teacher

    def record(self) -> None:
        """Begin with the forward passes that come next, on one device."""
        bring_together(self.student, self.teacher)
        student, teacher = self._open()
        student.record(gradients=torch.is_grad_enabled())
        teacher.record()
        self._gaps = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record inside; if it fails, nothing is held."""
        self.record()
        try:
            yield
        except BaseException:
            self.take(checked=False)
            raise

    @contextmanager
    def comparing(self, real: Tensor | None = None) -> Iterator[None]:
        """Run the teacher inside, then the student: :meth:`loss` is taken layer by layer.

        The teacher's output is let go where the student's is made, so that of two features one
        tensor is kept for the backward pass.

        Args:
            real: ``(batch, tokens)``, False where there is padding, which is not compared.
        """
        with self.recording():
            student, teacher = self._open()

            def meet(key: str, output: Tensor) -> bool:
                is_there = key in teacher.outputs and not torch.compiler.is_compiling()
                # What the models change in place is compared at the end, when both have.
                if not is_there or not teacher.is_as_it_was(key):
                    return False
                self._gaps[key] = feature_gap(output, teacher.outputs.pop(key), real)
                return True

            student.meet = meet
            yield

    def loss(self, real: Tensor | None = None) -> Tensor:
        """Mean gap of the features since :meth:`comparing`, or since :meth:`record`.

        Args:
            real: as in :meth:`comparing`, for the features that were only recorded.

        Raises:
            ValueError: as :meth:`take`.
        """
        gaps = self._gaps
        student, teacher = self.take(checked=False)
        if student.keys() != teacher.keys() or not (student or gaps):
            raise ValueError(_unequal(student, teacher, len(gaps)))
        gaps = gaps | {n: feature_gap(student[n], teacher[n], real) for n in teacher}
        return torch.stack(list(gaps.values())).mean()

    def take(self, *, checked: bool = True) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Outputs of student and teacher since :meth:`record`; nothing is held any more.

        Args:
            checked: refuse what can't be compared.

        Raises:
            ValueError: a module ran in one of the two only, or more often.
        """
        self._gaps = {}
        student, teacher = (taps.take() for taps in self._taps) if self._taps else ({}, {})
        if checked and (student.keys() != teacher.keys() or not student):
            raise ValueError(_unequal(student, teacher))
        return student, teacher

    def close(self) -> None:
        """Remove the hooks from both models."""
        for taps in self._taps or ():
            taps.close()
        self._taps = None


def refuse_replicas(model: nn.Module) -> None:
    """Refuse a wrapper that runs copies of the student, whose features nobody sees.

    Raises:
        ValueError: ``DataParallel`` over more than one device; names the cure.

    Example:
        >>> refuse_replicas(nn.DataParallel(nn.Linear(2, 2)))  # without a GPU it runs the model
    """
    devices = getattr(model, "device_ids", None) or ()
    if isinstance(model, nn.DataParallel) and len(devices) > 1:
        raise ValueError(
            f"DataParallel runs copies of the student on {len(devices)} devices, whose features "
            "can't be compared: wrap it in torch.nn.parallel.DistributedDataParallel, and start "
            f"the script with torchrun --nproc-per-node {len(devices)}"
        )


# The pair that has its hooks on a student.
_PAIRS: "weakref.WeakKeyDictionary[nn.Module, weakref.ref[FeaturePair]]" = (
    weakref.WeakKeyDictionary()
)


def _unequal(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], compared: int = 0
) -> str:
    if not student and not compared:
        return (
            "no layer of the student was seen in a forward pass with gradients: the model that is "
            "trained is another one (model_init, a copy, a DataParallel replica), or it was "
            "compiled before the distiller was made. Make the distiller for the model that is "
            "trained, on one device, before it is compiled"
        )
    first = sorted(student.keys() ^ teacher.keys())[0]
    where = "student" if first in student else "teacher"
    return (
        f"{first} ran in the {where} only ({len(student) + compared} calls of the student's "
        f"layers, {len(teacher) + compared} of the teacher's): the two must run the "
        "same layers on the same batch"
    )

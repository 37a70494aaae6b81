"""What a student can imitate: outputs of layers or blocks (features), and logits."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pclora_lab.fields import option
from pclora_lab.methods.metrics import Metric, Panel
from pclora_lab.nn.layers.sharing import bring_together
from pclora_lab.nn.layers.wrappers import inner_modules

__all__ = [
    "FEATURE",
    "FeaturePair",
    "FeatureTaps",
    "LOGIT",
    "TAPS",
    "feature_loss",
    "logit_loss",
    "logit_weight_option",
    "task_share_option",
    "taps_option",
    "temperature_option",
]

TAPS = ("linears", "blocks")

FEATURE = Metric(
    "feature",
    "feature distillation",
    Panel.LOSS,
    "green",
    dash="dash",
    overlay_dash="dash",
    overlay_hint="dashed: feature distillation",
)
LOGIT = Metric("logit", "logit distillation", Panel.LOSS, "purple", dash="dot")


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
        self.recording, self._has_gradients = recording, False
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

    def take(self) -> dict[str, Tensor]:
        """What was recorded; nothing is held or recorded any more."""
        outputs, self.outputs, self.recording = self.outputs, {}, False
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
        calls = 1
        key = name
        while key in self.outputs:
            calls += 1
            key = f"{name} ({calls})"
        self.outputs[key] = output[0] if isinstance(output, tuple) else output

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
        >>> with pair.recording():
        ...     _ = model(torch.ones(1, 2)), teacher(torch.ones(1, 2))
        >>> feature_loss(*pair.take()).item()
        0.0
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, names: Iterable[str]) -> None:
        self.student, self.teacher, self.names = student, teacher, tuple(names)
        self._taps: tuple[FeatureTaps, FeatureTaps] | None = None
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

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record inside; if it fails, nothing is held."""
        self.record()
        try:
            yield
        except BaseException:
            self.take(checked=False)
            raise

    def take(self, *, checked: bool = True) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Outputs of student and teacher since :meth:`record`; nothing is held any more.

        Args:
            checked: refuse what can't be compared.

        Raises:
            ValueError: a module ran in one of the two only, or more often.
        """
        student, teacher = (taps.take() for taps in self._taps) if self._taps else ({}, {})
        if checked and (student.keys() != teacher.keys() or not student):
            raise ValueError(_unequal(student, teacher))
        return student, teacher

    def close(self) -> None:
        """Remove the hooks from both models."""
        for taps in self._taps or ():
            taps.close()
        self._taps = None


# The pair that has its hooks on a student.
_PAIRS: "weakref.WeakKeyDictionary[nn.Module, weakref.ref[FeaturePair]]" = (
    weakref.WeakKeyDictionary()
)


def _unequal(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> str:
    if not student:
        return (
            "no layer of the student was seen in a forward pass with gradients: the model that is "
            "trained is another one (model_init, a copy, a DataParallel replica), or it was "
            "compiled before the distiller was made. Make the distiller for the model that is "
            "trained, on one device, before it is compiled"
        )
    first = sorted(student.keys() ^ teacher.keys())[0]
    where = "student" if first in student else "teacher"
    return (
        f"{first} ran in the {where} only ({len(student)} calls of the student's layers, "
        f"{len(teacher)} of the teacher's): the two must run the same layers on the same batch"
    )


def feature_loss(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], real: Tensor | None = None
) -> Tensor:
    """Mean over taps of the mean squared difference, in float32.

    ``L_feat = (1/T) Σ_t mean((h_t − h*_t)²)`` with every ``h_t`` of shape
    ``(batch, tokens, features)``. Source: PC-LoRA, arXiv:2406.09117 (L_featKD).

    Args:
        student: outputs by tap.
        teacher: outputs by tap.
        real: ``(batch, tokens)``, False where there is padding, which is not compared.

    Example:
        >>> feature_loss({"a": torch.ones(2)}, {"a": torch.zeros(2)}).item()
        1.0
    """
    gaps = [_gap(student[name].float(), teacher[name].float(), real) for name in teacher]
    return torch.stack(gaps).mean()


def _gap(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    if real is None or student.shape[:2] != real.shape:
        return F.mse_loss(student, teacher)
    # A weighted mean, because picking the real tokens out would wait for the GPU.
    weight = real.unsqueeze(-1).to(student.dtype)
    real_numbers = (weight.sum() * student.shape[-1]).clamp_min(1)  # of a batch of padding alone
    return ((student - teacher) ** 2 * weight).sum() / real_numbers


def logit_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """``T² · KL(softmax(teacher/T) ‖ softmax(student/T))``, mean over the batch.

    Args:
        student: logits ``(batch, classes)``.
        teacher: logits ``(batch, classes)``.
        temperature: T.

    Source: Hinton et al., arXiv:1503.02531.

    Example:
        >>> logit_loss(torch.ones(2, 3), torch.ones(2, 3)).item()
        0.0
    """
    log_p = F.log_softmax(student.float() / temperature, dim=-1)
    log_q = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def task_share_option() -> float:
    """A field for α, the share of the task's own loss."""
    return option(0.2, "number", "task share α", "the share of the task loss", low=0, high=1)


def taps_option() -> str:
    """A field for what is imitated: every linear layer's output, or every block's."""
    return option("linears", "choice", "features of", "which outputs are imitated", choices=TAPS)


def logit_weight_option() -> float:
    """A field for the weight of :func:`logit_loss`."""
    return option(0.0, "number", "logit weight", "weight of logit distillation", low=0, hidden=True)


def temperature_option() -> float:
    """A field for the T of :func:`logit_loss`."""
    return option(2.0, "number", "temperature", "T of logit distillation", low=1e-3, hidden=True)

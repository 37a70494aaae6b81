"""A student is tried once on one example, forward and backward, before anybody gets it."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs, to_device, trial_input
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.layers.comparing import (
    largest_gap,
    layers_compared,
    module_of,
    outputs_by_module,
    own_hooks,
    rounding_of,
    run,
    said,
)
from pclora_lab.nn.surgery import deepcopy_sharing

__all__ = ["ensure_tried", "try_student", "unchanged_on_failure"]

# What a model's own code raises when it does not get the layer that it knows.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def try_student(
    student: nn.Module,
    model: nn.Module,
    example: Inputs | None = None,
    *,
    exact: bool = False,
    bases: Mapping[str, nn.Linear] | None = None,
) -> nn.Module:
    """Run a new student on one example in eval mode, compare it with its model, and go back.

    All of it happens in copies that share the parameters, so modes, buffers, gradients and whatever
    else a forward pass changes are as before; so are the random generators.

    Args:
        student: what a method made.
        model: the dense model that it was made from.
        example: a batch as the model takes it; None derives one from what the model says about
            itself. If it says nothing, takes another input after all, or has no values (meta
            device), nothing is tried.
        exact: whether the student begins at the model's own outputs.
        bases: what the model's replaced layers were taken for, by name.

    Returns:
        The student.

    Raises:
        ValueError: a replaced layer computes something else than ``W x + b``; the student fails
            where the model does not, gives other outputs at a start that is exact, or can't be
            trained. Names the module and the cause.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 2))
        >>> try_student(net, net, torch.zeros(1, 4), exact=True) is net
        True
    """
    _TRIED.add(student)
    if any(p.is_meta for m in (model, student) for p in m.parameters()):
        return student
    with generators_kept(), torch.inference_mode(False):
        trial = _Trial(student, model)
        if trial.run_model(example, bases or {}):
            trial.run_student(exact)
    return student


# Students that were tried when they were made; a method of another package may not do so.
_TRIED: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


def ensure_tried(student: nn.Module, model: nn.Module, example: Inputs | None = None) -> nn.Module:
    """:func:`try_student`, unless that was done when the student was made."""
    return student if student in _TRIED else try_student(student, model, example)


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Iterator[None]:
    """If a student can't be made, the model's weights are to be trained or not as before.

    A student's frozen base is the model's own weights. What is made inside can be trained, also
    under ``torch.inference_mode``.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> try:
        ...     with unchanged_on_failure(net):
        ...         net.requires_grad_(False).weight.nope
        ... except AttributeError:
        ...     net.weight.requires_grad
        True
    """
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    # Left alone elsewhere, because leaving the mode turns gradients on.
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    try:
        with outside:
            yield
    except BaseException:
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
        raise


class _Trial:
    """Copies of a student and its model, and what the model gave."""

    def __init__(self, student: nn.Module, model: nn.Module) -> None:
        self.kind = type(model).__name__
        self.student, self.model = (_sharing(m) for m in (student, model))
        self.inputs: Inputs = {}
        self.expected: list[Tensor] = []

    def run_model(self, example: Inputs | None, bases: Mapping[str, nn.Linear]) -> bool:
        """Whether there is something to compare with."""
        inputs = trial_input(self.model) if example is None else example
        if inputs is None:
            return False
        self.inputs = to_device(inputs, next(self.model.parameters()).device)
        try:
            with torch.no_grad(), layers_compared(self.model, bases) as wrong:
                self.expected = run(self.model, self.inputs)
        except torch.OutOfMemoryError:
            raise
        except _FAILURES as error:
            if example is None:
                return False
            raise ValueError(
                f"{self.kind} itself fails on the example ({said(error)}): pass example=, a "
                "batch as the model takes it"
            ) from error
        self._refuse_broken_weights()
        if wrong:
            raise _Refused(f"{wrong[0]}. {_LEAVE_OUT}")
        return bool(self.expected)

    def _refuse_broken_weights(self) -> None:
        if all(bool(value.isfinite().all()) for value in self.expected):
            return
        for name, parameter in self.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise ValueError(
                    f"{name} of {self.kind} holds values that are not finite, so the outputs are "
                    "not either: load the weights again, or from an earlier checkpoint"
                )

    def run_student(self, exact: bool) -> None:
        """Forward and backward."""
        trained = [p for p in self.student.parameters() if p.requires_grad]
        try:
            with _gradients_kept(trained), torch.enable_grad():
                outputs = run(self.student, self.inputs)
                self._compare(outputs, exact)
                if trained:
                    self._differentiate(outputs, trained)
        except torch.OutOfMemoryError:
            raise
        except _Refused:
            raise
        except _FAILURES as error:
            where = module_of(error, self.student)
            raise _Refused(
                f"a student of {self.kind} would not run: {where} fails with {said(error)}. "
                f"{_LEAVE_OUT}"
            ) from error

    def _compare(self, outputs: list[Tensor], exact: bool) -> None:
        shapes = [[tuple(t.shape) for t in tensors] for tensors in (outputs, self.expected)]
        if shapes[0] != shapes[1]:
            raise _Refused(
                f"a student of {self.kind} gives outputs of shapes {shapes[0]} instead of "
                f"{shapes[1]}. {_LEAVE_OUT}"
            )
        for value, wanted in zip(outputs, self.expected, strict=True):
            finite = wanted.isfinite()
            if not bool(value.isfinite()[finite].all()):
                raise _Refused(
                    f"a student of {self.kind} gives outputs that are not finite: its weights are "
                    "too large for the precision, or the model is about to overflow itself. Load "
                    "it in float32"
                )
            gap, largest = largest_gap(value, wanted, finite)
            if exact and gap > rounding_of(wanted) * max(1.0, largest):
                raise _Refused(
                    f"a student of {self.kind} does not begin at the model's outputs: they differ "
                    f"by up to {gap:.2g}{self._first_difference()}. {_LEAVE_OUT}"
                )

    def _first_difference(self) -> str:
        """The first module in the order of the forward pass whose outputs are not the model's."""
        theirs, ours = (outputs_by_module(m, self.inputs) for m in (self.model, self.student))
        for name, wanted in theirs.items():
            value = ours.get(name)
            if value is None or value.shape != wanted.shape:
                continue
            gap, largest = largest_gap(value, wanted, wanted.isfinite())
            if gap > rounding_of(wanted) * max(1.0, largest):
                return f", first at {name}{own_hooks(self.model.get_submodule(name))}"
        return ""

    def _differentiate(self, outputs: list[Tensor], trained: list[nn.Parameter]) -> None:
        reached = [value for value in outputs if value.requires_grad]
        if not reached:
            raise _Refused(
                f"no output of {self.kind} has a gradient: its forward runs without them "
                "(torch.no_grad, inference_mode or detach), so no student of it can be trained. "
                "Take that out of its forward"
            )
        torch.stack([value.float().square().mean() for value in reached]).sum().backward()
        if all(p.grad is None for p in trained):
            raise _Refused(
                f"no gradient of {self.kind}'s outputs reaches what a student of it would train: "
                f"something behind those layers is detached. {_LEAVE_OUT}"
            )


class _Refused(ValueError):
    """A student that is not handed out."""


_LEAVE_OUT = (
    "Nothing was changed; leave the layer out with a targets expression that does not match it"
)


def _sharing(model: nn.Module) -> nn.Module:
    twin = deepcopy_sharing(model, model.parameters()).eval()
    for module in twin.modules():
        if isinstance(module, nn.RNNBase):  # cuDNN's have no backward pass in eval mode
            module.train()
    return twin


@contextmanager
def _gradients_kept(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Inside, no parameter has a gradient yet; after it, each has the one that it had."""
    kept = [(parameter, parameter.grad) for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, grad in kept:
            parameter.grad = grad

"""What every method and schedule promises, tried on the built-in model: for authors of new ones."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.methods.base import Method, MethodConfig, MethodContext
from pclora_lab.methods.method_checks import check_method
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.layers.comparing import said
from pclora_lab.plugins import PluginError

__all__ = ["BrokenPromises", "check"]

_EXAMPLES, _SEED = 16, 0


class BrokenPromises(ValueError):
    """What a method or schedule does that it must not; one line for each.

    Args:
        name: of the method or schedule.
        broken: sentences.
    """

    def __init__(self, name: str, broken: list[str]) -> None:
        super().__init__("\n".join([f"{name} breaks {len(broken)} of its promises:", *broken]))
        self.broken = tuple(broken)


def check(plugin: type[Method] | Callable[[float], float], **options: Any) -> None:
    """Try a method or a schedule on the built-in model, and name every promise that it breaks.

    A method: the model it is given keeps weights, modes and gradients; its start depends on the
    generator it is given and on nothing else; it learns with a teacher that does not; it can be
    stopped and taken up; its finished model is in eval mode, answers as the student does, shares
    no memory with it and is as large as planned. A schedule: one value for one t, from 1 at t = 0,
    within [0, 1].

    Args:
        plugin: a subclass of :class:`pclora_lab.methods.Method`, or a function of t.
        options: of the method's config, where the defaults are not what is to be tried.

    Raises:
        BrokenPromises: names each.
        PluginError: it is no method that could be tried.

    Example:
        >>> from pclora_lab.methods import Full
        >>> check(Full)
        >>> def forgetful(t, seen=[]):
        ...     seen.append(t)
        ...     return 1 / len(seen)
        >>> check(forgetful)
        Traceback (most recent call last):
            ...
        pclora_lab.methods.promises.BrokenPromises: forgetful breaks 1 of its promises:
        it gives two values for t = 0: make it a function of t alone
    """
    if isinstance(plugin, type):
        loaded = check_method(getattr(plugin, "name", ""), plugin)
        broken = list(_of_method(loaded, loaded.Config(**options)))
    elif callable(plugin):
        broken = list(_of_schedule(plugin))
    else:
        raise PluginError(f"{plugin!r} is neither a method nor a schedule", "Pass one of the two")
    if broken:
        raise BrokenPromises(plugin.__name__, broken)


def _of_schedule(schedule: Callable[[float], float]) -> Iterator[str]:
    points = [i / 64 for i in range(65)]
    values, again = [schedule(t) for t in points], [schedule(t) for t in points]
    for t, value, second in zip(points, values, again, strict=True):
        if value != second:
            yield f"it gives two values for t = {t:g}: make it a function of t alone"
            return
    if not math.isclose(values[0], 1, abs_tol=1e-6):
        yield f"it gives {values[0]:g} at t = 0: a fade begins at λ = 1"
    if outside := [value for value in values if not 0 <= value <= 1]:
        yield f"it gives {outside[0]:g}: λ stays in [0, 1]"


class _Bench:
    """A model, a batch, and a method that is tried on them."""

    def __init__(self, method: type[Method], config: MethodConfig) -> None:
        self.method = method(config)
        self.model = load_model("vit_digits").eval()
        drawn = torch.Generator().manual_seed(_SEED)
        self.inputs = torch.randn(_EXAMPLES, 1, 8, 8, generator=drawn, device="cpu")
        self.labels = torch.arange(_EXAMPLES, device="cpu") % 10

    def student(self, seed: int = _SEED) -> nn.Module:
        context = MethodContext(
            calibration=[self.inputs],
            generator=torch.Generator().manual_seed(seed),
            example=self.inputs[:1],
        )
        return self.method.apply(self.model, context)

    def step(self, student: nn.Module, progress: float = 0.0) -> dict[str, Tensor]:
        """Gradients of one batch; the terms of its loss."""
        student.train()
        self.method.set_progress(student, progress)
        terms = self.method.loss_terms(student, self.model)
        try:
            found = terms(self.inputs, self.labels, progress)
            found["loss"].backward()
        finally:
            terms.close()
        self.method.after_backward(student)
        return found


def _of_method(method: type[Method], config: MethodConfig) -> Iterator[str]:
    bench = _Bench(method, config)
    before, generators = _state(bench.model), torch.get_rng_state()
    student = bench.student()
    yield from _drawn(bench, student, generators)
    if bench.method.trains:
        yield from _learned(bench, student)
    yield from _told(bench, student)
    yield from _kept(bench, student)
    yield from _finished(bench, student)
    if _state(bench.model) != before:
        yield (
            "the model it is given has other weights, modes or gradients afterwards: make the "
            "student from a copy, and leave the teacher in eval mode"
        )


def _state(model: nn.Module) -> tuple:
    values = [x.double().nan_to_num().sum().item() for x in model.state_dict().values()]
    return values, [m.training for m in model.modules()], [p.grad for p in model.parameters()]


def _drawn(bench: _Bench, student: nn.Module, generators: Tensor) -> Iterator[str]:
    if not torch.equal(torch.get_rng_state(), generators):
        yield "apply draws from torch's global generator: draw from context.generator"
    torch.manual_seed(_SEED + 1)
    again = bench.student().state_dict()
    torch.set_rng_state(generators)
    first = student.state_dict()
    different = [n for n in first if n not in again or not _same(first[n], again[n])]
    if different:
        yield (
            f"two starts from one seed differ in {different[0]}: draw from context.generator, or "
            "seed what draws from a global one with context.seed"
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one.nan_to_num(), other.nan_to_num()))


def _learned(bench: _Bench, student: nn.Module) -> Iterator[str]:
    terms = bench.step(student)
    known = {metric.key for metric in bench.method.metrics} | {"loss"}
    if unknown := sorted(set(terms) - known):
        yield f"its loss has a term {unknown[0]!r} that is none of its metrics: describe it"
    if not bool(terms["loss"].isfinite()):
        yield f"its first loss is {float(terms['loss'].detach()):g}: it must be finite"
    trained = [p for p in student.parameters() if p.requires_grad]
    if not any(p.grad is not None and bool(p.grad.any()) for p in trained):
        yield "its loss reaches no parameter that trains: nothing is learned"
    if any(p.grad is not None for p in student.parameters() if not p.requires_grad):
        yield "a frozen parameter gets a gradient"
    if not student.training:
        yield "the student is in eval mode after a step: dropout would be off in the training"
    with torch.no_grad():
        for parameter in trained:
            if parameter.grad is not None:
                parameter.sub_(1e-3 * parameter.grad.sign())
    student.zero_grad(set_to_none=True)


def _told(bench: _Bench, student: nn.Module) -> Iterator[str]:
    known = {metric.key for metric in bench.method.metrics}
    for progress in (0.0, 0.5):
        told = bench.method.set_progress(student, progress)
        told = told | bench.method.measure(student, bench.inputs)
        try:
            json.dumps(told, allow_nan=False)
        except (TypeError, ValueError) as error:
            yield f"what it reports can't be written as JSON ({error}): report plain finite numbers"
            return
        if unknown := sorted(k for k in told if k not in known and not k.startswith("layer_")):
            yield f"it reports {unknown[0]!r}, which is none of its metrics: describe it"
            return


def _kept(bench: _Bench, student: nn.Module) -> Iterator[str]:
    kept = {n: x.clone() for n, x in bench.method.state_dict(student).items()}
    other = bench.student()
    try:
        other.load_state_dict(student.state_dict())
    except RuntimeError as error:
        yield (
            f"a student can't be taken up ({said(error)}): make every start of the same modules "
            "and shapes"
        )
        return
    bench.method.set_progress(other, 0.5)
    bench.method.load_state_dict(other, kept)
    with torch.no_grad():
        gap = call_model(student.eval(), bench.inputs) - call_model(other.eval(), bench.inputs)
    if float(gap.abs().max()) > 0:
        yield (
            "a student that is taken up answers differently: state_dict must hold whatever the "
            "training changes beside parameters and buffers"
        )


def _finished(bench: _Bench, student: nn.Module) -> Iterator[str]:
    bench.method.set_progress(student, 1.0)
    student.eval()
    with torch.no_grad():
        wanted = call_model(student, bench.inputs)
        small = bench.method.finalize(student)
        gap = float((call_model(small, bench.inputs) - wanted).abs().max())
        moved = float((call_model(student, bench.inputs) - wanted).abs().max())
    if any(module.training for module in small.modules()):
        yield "the finished model is in training mode: call eval()"
    if gap > 1e-3:
        yield f"the finished model's logits differ from the student's by {gap:.2g}"
    if moved:
        yield "finalize changes the student: work on a copy"
    trained = {p.untyped_storage().data_ptr() for p in student.parameters() if p.requires_grad}
    if trained & {p.untyped_storage().data_ptr() for p in small.parameters()}:
        yield "the finished model shares memory with the student: copy what trains"
    planned = bench.method.plan(bench.method.count(bench.model), bench.model).whole_model
    size = sum(p.numel() for p in small.parameters())
    if size != planned.params_after:
        yield f"the plan promises {planned.params_after:,} parameters, there are {size:,}"

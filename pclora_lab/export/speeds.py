"""Which way of running a finished model is the fastest on this machine: one table, one answer."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn

from pclora_lab.export.formats import FORMATS, Opened
from pclora_lab.nn.forward import as_inputs, call_model, try_inputs
from pclora_lab.nn.latency import timed_ms
from pclora_lab.nn.layers.copying import on_cpu
from pclora_lab.quiet import quiet
from pclora_lab.remarks import remark
from pclora_lab.wording import explained

__all__ = ["speed_table", "speeds"]

_TURNS = 9
# The compiler says at every first use that it found no GPU.
_LOGGERS = ("torch.utils.cpp_extension",)


def speeds(
    model: nn.Module,
    written: Mapping[str, Path],
    *,
    examples: int = 1,
    compiled: bool = True,
    missing: Callable[[str, Exception], object] | None = None,
) -> dict[str, float]:
    """Milliseconds per forward pass on the CPU, the fastest first.

    The ways take turns, so that a machine that gets slower meanwhile favors none.

    Args:
        model: finished; timed as it is (``eager``) and after ``torch.compile`` (``compiled``).
        written: what was exported, by format; formats that can't be opened are left out.
        examples: at once.
        compiled: whether to compile, which takes from seconds to minutes.
        missing: called with a way that can't be timed, and the reason; None warns.
    """
    inputs = try_inputs(model, examples=examples)
    ways = _ways(on_cpu(model).eval(), written, compiled)
    usable: dict[str, Opened] = {}
    times: dict[str, list[float]] = {}
    errors: dict[str, Exception] = {}
    with torch.inference_mode(), quiet(loggers=_LOGGERS, ignore_warnings=True):
        for name, make in ways.items():
            try:
                run = make()
                run(inputs)  # compiles, allocates
            except Exception as error:  # noqa: BLE001 - a compiler's, or another package's
                errors[name] = error
                continue
            usable[name], times[name] = run, []
        for _ in range(_TURNS):
            for name, run in usable.items():
                times[name].append(timed_ms(partial(run, inputs)))
    for name, reason in errors.items():  # not before, as warnings are not shown up there
        (missing or _remark)(name, reason)
    medians = {name: median(found) for name, found in times.items()}
    return dict(sorted(medians.items(), key=lambda item: item[1]))


Ways = dict[str, Callable[[], Opened]]


def _ways(model: nn.Module, written: Mapping[str, Path], compiled: bool) -> Ways:
    """What makes each of them, as making one may fail."""

    def eager(inputs: Mapping[str, Tensor]) -> Tensor:
        return call_model(model, as_inputs(inputs))

    def compile_it() -> Opened:
        run = cast(nn.Module, torch.compile(model))
        return lambda inputs: call_model(run, as_inputs(inputs))

    ways: Ways = {"eager": lambda: eager}
    if compiled:
        ways["compiled"] = compile_it
    for name, path in written.items():
        opens = FORMATS[name].open if name in FORMATS else None
        if opens is not None and not FORMATS[name].is_eager:
            ways[name] = partial(opens, path)
    return ways


def speed_table(found: Mapping[str, float]) -> Iterable[str]:
    """Lines to print: every way with its time, and which is the fastest.

    Example:
        >>> print(*speed_table({"onnx": 5.0, "eager": 20.0}), sep="\\n")
        onnx: 5.0 ms per pass, the fastest here
        eager: 20.0 ms per pass, 4.0 times as long
    """
    fastest = min(found.values(), default=0.0)
    for name, ms in found.items():
        rest = "the fastest here" if ms == fastest else f"{ms / fastest:.1f} times as long"
        yield f"{name}: {ms:.1f} ms per pass, {rest}"


def _remark(name: str, error: Exception) -> None:
    remark(f"{name} can't be timed ({type(error).__name__}: {explained(error)})", stacklevel=4)

"""``torch.export``: the graph and its weights in one file, for torch without this package."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from pclora_lab.export.report import ExportReport, bytes_of, deployed, free_axes, largest_gap, ready
from pclora_lab.files import given_path, staged
from pclora_lab.nn.forward import as_inputs, call_model, try_inputs
from pclora_lab.nn.latency import latency_ms, median_ms
from pclora_lab.ownership import MARK
from pclora_lab.quiet import quiet

__all__ = ["export_torch_program"]

Result = TypeVar("Result")


def export_torch_program(
    model: nn.Module, file: Path | str, *, dense: nn.Module | None = None, force: bool = False
) -> ExportReport:
    """Write a finished model for ``torch.export.load(file).module()``, called with named tensors.

    Args:
        model: from :func:`pclora_lab.compress` or :func:`pclora_lab.from_pretrained`, loaded by
            name at first; from a GPU a copy on the CPU is written.
        file: ``….pt2``.
        dense: what its speed is compared with; None builds the dense architecture.
        force: replace a file that this package did not write.

    Raises:
        FileExistsError: there is such a file.
        ValueError: the exported graph computes something else, or torch can't follow the model's
            forward; nothing is written then.
    """
    file = given_path(file, "file")
    model, dense = ready(model, file, dense, force)
    with staged(file.parent) as stage:
        run = _program(model, stage / file.name)
        inputs, one = (try_inputs(model, examples) for examples in (3, 1))
        with torch.no_grad():
            wanted = call_model(model.eval(), as_inputs(inputs))
            gap = largest_gap(wanted, _followed(model, lambda: run(**inputs)))
        with torch.inference_mode():
            latency = _followed(model, lambda: median_ms(lambda: run(**one)))
    sizes = bytes_of(file), bytes_of(dense)
    times = latency, latency_ms(dense.eval(), as_inputs(one), repeats=7)
    return ExportReport("torch_export", str(file), *sizes, gap, *times)


def _program(model: nn.Module, file: Path) -> nn.Module:
    """The graph, as it was written; batch and length of texts are free in it."""
    inputs = try_inputs(model)
    free = free_axes(inputs)
    axes = {name: dict.fromkeys(free[name], torch.export.Dim.DYNAMIC) for name in inputs}
    with quiet(ignore_warnings=True), torch.no_grad():  # the exporter's own deprecations
        program = _followed(
            model,
            lambda: torch.export.export(
                deployed(model, inputs), (), kwargs=inputs, dynamic_shapes=axes
            ),
        )
        for graph in program.graph_module.modules():
            for node in getattr(getattr(graph, "graph", None), "nodes", ()):
                node.meta.pop("stack_trace", None)  # files and lines of this machine
        torch.export.save(program, file, extra_files={MARK: ""})
    return program.module()


def _followed(model: nn.Module, do: Callable[[], Result]) -> Result:
    """Name the model where torch.export can't follow what its forward does with values or sizes."""
    try:
        return do()
    except (RuntimeError, AssertionError, TypeError, AttributeError, ValueError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ValueError(
            f"torch.export can't write {type(model).__name__} with free sizes, because its forward "
            f"looks at values or sizes ({reason.strip()[:200]}): use the standalone format, which "
            "keeps the forward as it is"
        ) from error

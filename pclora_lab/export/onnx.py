"""ONNX, checked in onnxruntime against torch."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pclora_lab.export.low_rank_attention import to_low_rank_attention
from pclora_lab.export.report import ExportReport, bytes_of, deployed, free_axes, largest_gap, ready
from pclora_lab.files import given_path, staged
from pclora_lab.nn.forward import as_inputs, call_model, try_inputs
from pclora_lab.nn.latency import median_ms
from pclora_lab.nn.layers.windows import window_attention_spelled_out
from pclora_lab.ownership import MARK
from pclora_lab.quiet import quiet

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["export_onnx", "open_onnx", "write_graph", "written"]

Arrays = dict[str, np.ndarray]


# The first in which GELU and LayerNorm are operators of their own, so that runtimes fuse nothing.
_OPSET = 20
# The exporter reports its own progress and deprecations.
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


_LARGEST = 2 * 1024**3


def export_onnx(
    model: nn.Module, file: Path | str, *, dense: nn.Module | None = None, force: bool = False
) -> ExportReport:
    """Write a finished model as ONNX; batch size and length of texts stay free.

    Attention with a low-rank query-key-value layer is written inside the rank, see
    :mod:`pclora_lab.export.low_rank_attention`.

    Args:
        model: from :func:`pclora_lab.compress` or :func:`pclora_lab.from_pretrained`, loaded by
            name at first; from a GPU a copy on the CPU is written.
        file: ``….onnx``.
        dense: what its speed is compared with; None builds the dense architecture.
        force: replace a file that this package did not write.

    Raises:
        FileExistsError: there is such a file.
        ImportError: onnx, onnxscript or onnxruntime are missing.
        ValueError: the written file computes something else.
    """
    return written("onnx", model, file, dense, force, write_graph, largest_gap)


def written(
    name: str,
    model: nn.Module,
    file: Path | str,
    dense: nn.Module | None,
    force: bool,
    write: Callable[[nn.Module, Path], None],
    gap_of: Callable[[Tensor, Tensor], float],
) -> ExportReport:
    """Write a graph, run it beside the model and the dense one; what is refused is not kept.

    Args:
        name: of the format.
        model: as for :func:`export_onnx`, like the file, ``dense`` and ``force``.
        file: ``….onnx``.
        dense: what its speed is compared with.
        force: replace a file that this package did not write.
        write: writes a model to a path.
        gap_of: the model's logits and the file's: how far they are apart, or an error.
    """
    _require_packages()
    file = given_path(file, "file")
    model, dense = ready(model, file, dense, force)
    inputs, one = try_inputs(model, examples=3), try_inputs(model, examples=1)
    with staged(file.parent) as stage:
        write(model, stage / file.name)
        logits, latency = _tried(stage / file.name, inputs, one)
        with torch.no_grad():
            gap = gap_of(call_model(model.eval(), as_inputs(inputs)), logits)
    with tempfile.TemporaryDirectory() as folder:
        write_graph(dense, Path(folder) / "dense.onnx")
        _, dense_latency = _tried(Path(folder) / "dense.onnx", one, one)
    sizes = bytes_of(file), bytes_of(dense)
    return ExportReport(name, str(file), *sizes, gap, latency, dense_latency)


def _tried(
    file: Path, inputs: Mapping[str, Tensor], one: Mapping[str, Tensor]
) -> tuple[Tensor, float]:
    """Logits of a batch, and the time of one example; the session's threads end with it."""
    session, arrays = open_onnx(file), _arrays(one)
    (logits,) = session.run(None, _arrays(inputs))
    return torch.from_numpy(logits), median_ms(lambda: session.run(None, arrays))


def open_onnx(file: Path | str) -> "InferenceSession":
    """An onnxruntime session on the CPU.

    Its threads wait asleep: waiting in a loop, as is its default, slows down whatever else runs
    on a machine with few cores.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: onnxruntime can't read it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    path = given_path(file, "file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no graph {path}: export_onnx writes one")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # Its exceptions have no common class of their own.
    except Exception as error:
        raise ValueError(
            f"{path} is no graph that onnxruntime can run: it is damaged, or of a newer version "
            f"({error})"
        ) from error


def write_graph(
    model: nn.Module,
    file: Path,
    *,
    inside_rank: bool = True,
    facts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a model as a graph.

    Args:
        model: finished, on the CPU.
        file: ``….onnx``.
        inside_rank: whether attention with low-rank query, key and value is computed in the rank.
        facts: of the graph, beside the mark that says who wrote it.
    """
    inputs = try_inputs(model)
    written = to_low_rank_attention(model) if inside_rank else model
    # Weights of more than 2 GB stand in a file of their own, which the graph knows by name.
    silence = quiet(loggers=_LOGGERS, ignore_warnings=True)
    with staged(file.parent) as stage, silence, window_attention_spelled_out(written):
        program: Any = torch.onnx.export(
            deployed(written, inputs),
            (),
            kwargs=inputs,
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            output_names=["logits"],
            dynamic_shapes=free_axes(inputs),
        )
        _tidy(program.model, facts)
        program.save(str(stage / file.name), external_data=bytes_of(model) > _LARGEST)


def _tidy(graph: Any, facts: Mapping[str, str]) -> None:
    """Leave out where in which file every operator comes from, and say who wrote the graph."""
    for node in graph.graph.all_nodes():
        node.metadata_props.clear()
    graph.metadata_props.clear()
    graph.metadata_props.update({**facts, MARK: ""})


def _arrays(inputs: Mapping[str, Tensor]) -> Arrays:
    return {name: value.numpy() for name, value in inputs.items()}


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the ONNX export needs {error.name}, which is not installed: "
            "pip install 'pclora-lab[onnx]', or onnx onnxscript onnxruntime"
        ) from error

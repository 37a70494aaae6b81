"""Weights in 8 bits: a quarter of the bytes, on top of the compression.

Every row of a matrix (an output of a linear layer, a filter, a word's embedding) is rounded to
whole numbers from -127 to 127 times a scale of its own: W ≈ diag(s)·Q with s_i = max_j |W_ij| /
127, so no weight moves by more than s_i / 2. Vectors and stacks of matrices stay in float32.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pclora_lab.export.onnx import write_graph, written
from pclora_lab.export.report import ExportReport, finite_gap
from pclora_lab.ownership import MARK
from pclora_lab.tensor_files import sealing, stamp_checksum

__all__ = ["export_onnx_int8", "rounded", "untied", "write_rounded"]

_LARGEST = 127
# Or the quantizer asks for a pass that only fuses what the exporter did not leave apart.
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
# Fewer numbers are not worth a scale.
_SMALLEST_MATRIX = 256


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers Q and scales s with W ≈ s·Q, row by row.

    Args:
        weight: ``(rows, ...)``.

    Returns:
        Q, int8 like W, and s, float32 ``(rows, 1, ...)``.

    Example:
        >>> q, s = rounded(torch.tensor([[1.0, -0.5], [0.0, 0.0]]))
        >>> q.tolist(), (q * s).tolist()
        ([[127, -64], [0, 0]], [[1.0, -0.5039370059967041], [0.0, 0.0]])
    """
    weight = weight.detach().float()
    axes = tuple(range(1, weight.ndim))
    scale = weight.abs().amax(dim=axes, keepdim=True) / _LARGEST
    # A row of zeros has any scale.
    whole = (weight / scale.where(scale > 0, 1.0)).round()
    return whole.to(torch.int8), scale


def _is_rounded(tensor: Tensor) -> bool:
    return (
        tensor.is_floating_point() and tensor.ndim in (2, 4) and tensor.numel() >= _SMALLEST_MATRIX
    )


def untied(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors by name, each once."""
    first: dict[object, str] = {}
    state = model.state_dict()
    for name, tensor in state.items():
        first.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), name)
    return {name: state[name] for name in first.values()}


def write_rounded(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors as safetensors: a matrix as ``<name>.int8`` and ``<name>.scale``."""
    written = {}
    for name, tensor in tensors.items():
        if _is_rounded(tensor):
            written[f"{name}.int8"], written[f"{name}.scale"] = rounded(tensor)
        else:
            written[name] = tensor.detach().clone()
    save_file(written, str(file), metadata={"format": "pt", **sealing()})
    stamp_checksum(file)
    file.chmod(0o644)  # it is written for its owner alone


def export_onnx_int8(
    model: nn.Module, file: Path | str, *, dense: nn.Module | None = None, force: bool = False
) -> ExportReport:
    """Write a finished model as ONNX that multiplies in 8 bits, by onnxruntime's own quantizer.

    Weights are rounded once: a linear layer's by its outputs, an embedding as a whole. What comes
    into a layer is rounded as it comes.

    Args:
        model: as for :func:`pclora_lab.export.export_onnx`.
        file: ``….onnx``.
        dense: what its speed is compared with, in float32; None builds the dense architecture.
        force: replace a file that this package did not write.

    Raises:
        FileExistsError: there is such a file.
        ImportError: onnx, onnxscript or onnxruntime are missing.
        ValueError: the written file computes no numbers.
    """
    return written("onnx-int8", model, file, dense, force, _write, finite_gap)


def _write(model: nn.Module, file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Attention inside the rank has stacks of small matrices, which would stay in float32.
        write_graph(model, Path(folder) / "float.onnx", inside_rank=False, facts=_PREPARED)
        _quantize(Path(folder) / "float.onnx", file)


def _quantize(before: Path, after: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(before)).graph
    matrices = {t.name for t in graph.initializer if len(t.dims) == 2}
    # Which input is the weight; the quantizer makes a MatMul with a name of its own of a Gemm.
    weight_at = {"MatMul": 1, "Gemm": 1, "Gather": 0}
    known = [node for node in graph.node if node.op_type in weight_at]
    nodes = [node.name for node in known if node.input[weight_at[node.op_type]] in matrices]
    nodes += [f"{name}_MatMul" for name in nodes]
    if not nodes:
        raise ValueError("the model has no matrix that could be written in 8 bits")
    quantize_dynamic(
        str(before), str(after), per_channel=True, weight_type=QuantType.QInt8,
        nodes_to_quantize=nodes, extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip
    written = onnx.load(str(after))
    del written.metadata_props[:]
    onnx.helper.set_model_props(written, {MARK: ""})
    onnx.save(written, str(after))

"""What an export is measured by, and the inputs that it is tried on."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pclora_lab.models.recipes import dense_twin, require_recipe
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.layers.copying import on_cpu
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.ownership import refuse_foreign
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["ExportReport", "bytes_of", "deployed"]


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it compares.

    Attributes:
        format: its name in :data:`pclora_lab.export.FORMATS`.
        path: the file or folder.
        bytes: on disk.
        dense_bytes: of the dense model's weights.
        max_logit_difference: largest |Δlogit| between the export and the model in torch.
        latency_ms: median time of one example.
        dense_latency_ms: of the dense model, in the same runtime and the same minute.
        accuracy: or whatever the task's metric is, of what was written, where its weights are
            rounded; None elsewhere, or where no data are at hand.
        float_accuracy: of the model in float32, on the same examples.
        examples: of the split that the run reported on, evenly spread over it.
        metric: what ``accuracy`` and ``float_accuracy`` are of.
    """

    format: str
    path: str
    bytes: int
    dense_bytes: int
    max_logit_difference: float
    latency_ms: float
    dense_latency_ms: float
    accuracy: float | None = None
    float_accuracy: float | None = None
    examples: int = 0
    metric: TaskMetric = ACCURACY

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return {**asdict(self), "metric": self.metric.key}

    def __str__(self) -> str:
        ratio = self.dense_latency_ms / self.latency_ms
        text = (
            f"{self.format}: {self.bytes / 1e6:.2f} MB (dense {self.dense_bytes / 1e6:.2f}), "
            f"max |Δlogit| {self.max_logit_difference:.1e}, {self.latency_ms:.1f} ms per example "
            f"(dense {self.dense_latency_ms:.1f}, {ratio:.1f} times as long)"
        )
        if self.accuracy is None or self.float_accuracy is None:
            return text
        return (
            f"{text}, {self.metric.label} {self.metric.roughly(self.accuracy)} (float32 "
            f"{self.metric.roughly(self.float_accuracy)}) on {self.examples:,} examples"
        )


def ready(
    model: nn.Module, file: Path, dense: nn.Module | None, force: bool
) -> tuple[nn.Module, nn.Module]:
    """Both models on the CPU, where a graph is written and compared: the second one is dense.

    Args:
        model: to be exported.
        file: to be written; its folder is made.
        dense: None builds the dense architecture.
        force: replace a file that this package did not write.

    Raises:
        ValueError: the model was not loaded by name, or a weight is NaN or infinite.
        FileExistsError: there is a file that must not be replaced.
    """
    require_recipe(model)
    check_weights_finite(model, "it is not exported")
    refuse_foreign([file], force=force)
    dense = dense if dense is not None else dense_twin(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    return on_cpu(model), on_cpu(dense)


class _Deployed(nn.Module):
    """A model whose inputs have names of their own and which returns logits only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class _Images(_Deployed):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return call_model(self.model, pixel_values)


class _Texts(_Deployed):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return call_model(self.model, {"input_ids": input_ids, "attention_mask": attention_mask})


class _Pairs(_Deployed):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        named = {"input_ids": input_ids, "attention_mask": attention_mask}
        return call_model(self.model, {**named, "token_type_ids": token_type_ids})


class _ImagesAndTexts(_Deployed):
    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor:
        return call_model(self.model, {"input_ids": input_ids, "pixel_values": pixel_values})


def deployed(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """The model as exporters like it: named tensors in, logits out, in eval mode.

    Args:
        model: a finished model.
        names: of its inputs, as :func:`try_inputs` gives them.
    """
    texts = ("input_ids", "attention_mask")
    kinds = {("pixel_values",): _Images, texts: _Texts, (*texts, "token_type_ids"): _Pairs}
    return kinds.get(tuple(names), _ImagesAndTexts)(model.eval())


def free_axes(inputs: Mapping[str, Tensor]) -> dict[str, dict[int, str]]:
    """Batch and, for texts, length are free; the size of images is not."""
    return {
        name: {0: "batch"} if value.is_floating_point() else {0: "batch", 1: "tokens"}
        for name, value in inputs.items()
    }


def bytes_of(path: Path | nn.Module) -> int:
    """Bytes of a file, of all files in a folder, or of a model's tensors."""
    if isinstance(path, nn.Module):
        tensors = {id(t): t for t in (*path.parameters(), *path.buffers())}
        return sum(t.numel() * t.element_size() for t in tensors.values())
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def largest_gap(first: Tensor, second: Tensor) -> float:
    """max |Δ| of two tensors.

    Raises:
        ValueError: a difference that is more than rounding; says what it was.
    """
    gap = finite_gap(first, second)
    scale = max(1.0, first.abs().max().item())
    if not gap <= 1e-2 * scale:
        raise ValueError(
            f"the export does not compute what the model does: logits differ by up to {gap:.2g}. "
            "It is not usable; please report the architecture"
        )
    return gap


def finite_gap(first: Tensor, second: Tensor) -> float:
    """max |Δ| of two tensors, however large.

    Raises:
        ValueError: the second has numbers that are NaN or infinite.
    """
    if not bool(second.isfinite().all()):
        raise ValueError(
            "the export computes NaN or infinite logits where the model does not. It is not "
            "usable; please report the architecture"
        )
    return (first - second).abs().max().item()

"""Export what a run left: every format asked for, and one card for all of them."""

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import nn

from pclora_lab.export.model_card import model_card
from pclora_lab.export.onnx import export_onnx
from pclora_lab.export.plain import export_standalone
from pclora_lab.export.report import ExportReport
from pclora_lab.export.torch_export import export_torch_program
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig

__all__ = ["FORMATS", "export_run"]


def _plain(model: nn.Module, folder: Path) -> ExportReport:
    return export_standalone(model, folder / "plain")


def _onnx(model: nn.Module, folder: Path) -> ExportReport:
    return export_onnx(model, folder / "model.onnx")


def _program(model: nn.Module, folder: Path) -> ExportReport:
    return export_torch_program(model, folder / "model.pt2")


FORMATS: dict[str, Callable[[nn.Module, Path], ExportReport]] = {
    "plain": _plain,
    "onnx": _onnx,
    "program": _program,
}


def export_run(
    run: Path | str, folder: Path | str, formats: Iterable[str] = ("plain",)
) -> list[ExportReport]:
    """Write a finished run's model in formats that do not need this package, with a model card.

    Args:
        run: a run folder.
        folder: is made; ``README.md`` in it is the card.
        formats: of :data:`FORMATS`.

    Raises:
        ValueError: unknown format, or the run has not finished.
    """
    formats, folder = list(formats), Path(folder)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(
            f"unknown format {', '.join(unknown) or 'none'}: use some of {', '.join(FORMATS)}"
        )
    loaded = load_run(run)
    if loaded.result is None:
        raise ValueError(f"{run} has not finished: there is no model to export")
    model = from_pretrained(Path(run) / "compressed")
    folder.mkdir(parents=True, exist_ok=True)
    reports = [FORMATS[name](model, folder) for name in formats]
    card = model_card(loaded.result, RunConfig.from_dict(loaded.config), reports)
    for place in (folder, folder / "plain"):
        if place.is_dir():  # either may be uploaded by itself
            (place / "README.md").write_text(card, encoding="utf8")
    return reports

"""The formats a finished model can be written in, by name; other packages add their own.

A format is a function and the file it writes. One of another package is an :class:`ExportFormat`
that an entry point of the group ``pclora_lab.export_formats`` names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pclora_lab.plugins import PluginError, Registry

if TYPE_CHECKING:
    from torch import nn

    from pclora_lab.export.report import ExportReport

__all__ = ["FORMATS", "ExportFormat"]


@dataclass(frozen=True)
class ExportFormat:
    """One way to take a model along.

    Attributes:
        file: name of what is written, in the folder of an export; also a folder's.
        help: one line.
        export: writes a finished model to a path, compares what it wrote with the model and
            reports. Whether it may replace what is there was asked before.
    """

    file: str
    help: str
    export: "Callable[[nn.Module, Path], ExportReport]"


# The exporters are imported when they are used: a list of their names needs none of them.
def _standalone(model: "nn.Module", path: Path) -> "ExportReport":
    from pclora_lab.export.standalone import export_standalone

    return export_standalone(model, path, force=True)


def _onnx(model: "nn.Module", path: Path) -> "ExportReport":
    from pclora_lab.export.onnx import export_onnx

    return export_onnx(model, path, force=True)


def _torch_export(model: "nn.Module", path: Path) -> "ExportReport":
    from pclora_lab.export.torch_export import export_torch_program

    return export_torch_program(model, path, force=True)


def _checked(name: str, loaded: object) -> ExportFormat:
    if not isinstance(loaded, ExportFormat):
        raise PluginError(
            f"{name!r} is a {type(loaded).__name__} and no ExportFormat",
            "Point the entry point at a pclora_lab.export.ExportFormat",
        )
    if Path(loaded.file).name != loaded.file or loaded.file in ("", "README.md"):
        raise PluginError(
            f"{name!r} would write to {loaded.file!r}, which is no file name of its own",
            "Give its ExportFormat a plain file name",
        )
    return loaded


FORMATS: Registry[ExportFormat] = Registry(
    "pclora_lab.export_formats",
    "format",
    {
        "standalone": ExportFormat(
            "standalone", "two ordinary layers for each low-rank one, and load.py", _standalone
        ),
        "onnx": ExportFormat("model.onnx", "for runtimes without torch", _onnx),
        "torch_export": ExportFormat("model.pt2", "for torch.export.load", _torch_export),
    },
    _checked,
)

"""The formats a finished model can be written in, by name; other packages add their own.

A format is a function and the file it writes. One of another package is an :class:`ExportFormat`
that an entry point of the group ``pclora_lab.export_formats`` names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pclora_lab.plugins import PluginError, Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pclora_lab.export.report import ExportReport

__all__ = ["FORMATS", "ExportFormat", "Opened"]


@dataclass(frozen=True)
class ExportFormat:
    """One way to take a model along.

    Attributes:
        file: name of what is written, in the folder of an export; also a folder's.
        help: one line.
        export: writes a finished model to a path, compares what it wrote with the model and
            reports. Whether it may replace what is there was asked before.
        open: reads what was written: a function from named inputs to logits, which
            :func:`pclora_lab.export.speeds` times; None where only others can read it.
        rounds: whether it changes the weights, so that the accuracy is measured anew.
        is_eager: whether it runs the layers of the model in torch as they are, so that there is
            nothing new to time.
        refuse: refuses a folder with files of others in it, unless it is forced to; None where
            the export is one file, which is looked at anyway.
    """

    file: str
    help: str
    export: "Callable[[nn.Module, Path], ExportReport]"
    open: "Callable[[Path], Opened] | None" = None
    rounds: bool = False
    is_eager: bool = False
    refuse: "Callable[[Path, bool], None] | None" = None


Opened = Callable[[Mapping[str, "Tensor"]], "Tensor"]
"""A written model: named inputs to logits."""


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


def _onnx_int8(model: "nn.Module", path: Path) -> "ExportReport":
    from pclora_lab.export.int8 import export_onnx_int8

    return export_onnx_int8(model, path, force=True)


def _plain_int8(model: "nn.Module", path: Path) -> "ExportReport":
    from pclora_lab.export.standalone import export_standalone

    return export_standalone(model, path, force=True, int8=True)


def _open_standalone(path: Path) -> Opened:
    from pclora_lab.export.standalone import open_standalone
    from pclora_lab.nn.forward import as_inputs, call_model

    model = open_standalone(path)
    return lambda inputs: call_model(model, as_inputs(inputs))


def _refuse_mixed(path: Path, force: bool) -> None:
    from pclora_lab.export.standalone import refuse_other_files

    refuse_other_files(path, force=force)


def _open_onnx(path: Path) -> Opened:
    from torch import from_numpy

    from pclora_lab.export.onnx import open_onnx

    session = open_onnx(path)
    names = [taken.name for taken in session.get_inputs()]
    return lambda inputs: from_numpy(session.run(None, {n: inputs[n].numpy() for n in names})[0])


def _open_torch_export(path: Path) -> Opened:
    from torch.export import load

    run = load(path).module()
    return lambda inputs: run(**inputs)


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
            "standalone",
            "two ordinary layers for each low-rank one, and load.py",
            _standalone,
            _open_standalone,
            is_eager=True,
            refuse=_refuse_mixed,
        ),
        "onnx": ExportFormat("model.onnx", "for runtimes without torch", _onnx, _open_onnx),
        "torch_export": ExportFormat(
            "model.pt2", "for torch.export.load", _torch_export, _open_torch_export
        ),
        "onnx-int8": ExportFormat(
            "model_int8.onnx", "the same, computing in 8 bits", _onnx_int8, _open_onnx, rounds=True
        ),
        "plain-int8": ExportFormat(
            "plain_int8",
            "as standalone, in a file with weights of 8 bits",
            _plain_int8,
            _open_standalone,
            rounds=True,
            is_eager=True,
            refuse=_refuse_mixed,
        ),
    },
    _checked,
)

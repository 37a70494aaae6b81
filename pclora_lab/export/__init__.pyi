from .hub import push_to_hub
from .model_card import model_card
from .onnx import export_onnx, open_onnx
from .plain import export_standalone
from .report import ExportReport
from .run import FORMATS, export_run
from .torch_export import export_torch_program

__all__ = [
    "FORMATS",
    "ExportReport",
    "export_onnx",
    "export_run",
    "export_standalone",
    "export_torch_program",
    "model_card",
    "open_onnx",
    "push_to_hub",
]

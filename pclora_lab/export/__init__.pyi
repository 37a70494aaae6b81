from .formats import FORMATS, ExportFormat
from .hub import push_to_hub
from .int8 import export_onnx_int8
from .model_card import model_card
from .onnx import export_onnx, open_onnx
from .report import ExportReport
from .run import export_run
from .speeds import speed_table, speeds
from .standalone import export_standalone
from .torch_export import export_torch_program

__all__ = [
    "FORMATS",
    "ExportFormat",
    "ExportReport",
    "export_onnx",
    "export_onnx_int8",
    "export_run",
    "export_standalone",
    "export_torch_program",
    "model_card",
    "open_onnx",
    "push_to_hub",
    "speed_table",
    "speeds",
]

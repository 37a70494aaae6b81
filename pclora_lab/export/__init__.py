"""Take a finished model away: formats that need this package no more, a card, the hub.

Every export compares what it wrote with the model it came from, and reports the largest
difference of a logit, bytes on disk and latency beside the dense model.
"""

from pclora_lab.export.hub import push_to_hub
from pclora_lab.export.model_card import model_card
from pclora_lab.export.onnx import export_onnx
from pclora_lab.export.plain import export_standalone
from pclora_lab.export.report import ExportReport
from pclora_lab.export.run import FORMATS, export_run
from pclora_lab.export.torch_export import export_torch_program

__all__ = [
    "FORMATS",
    "ExportReport",
    "export_onnx",
    "export_standalone",
    "export_torch_program",
    "export_run",
    "model_card",
    "push_to_hub",
]

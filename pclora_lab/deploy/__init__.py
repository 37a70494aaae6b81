"""Take a finished model away: formats that need this package no more, a card, the hub.

Every export compares what it wrote with the model it came from, and reports the largest
difference of a logit, bytes on disk and latency beside the dense model.
"""

from pclora_lab.deploy.card import model_card
from pclora_lab.deploy.hub import push_to_hub
from pclora_lab.deploy.measure import ExportReport
from pclora_lab.deploy.onnx import export_onnx
from pclora_lab.deploy.plain import export_plain
from pclora_lab.deploy.program import export_program
from pclora_lab.deploy.run import FORMATS, export_run

__all__ = [
    "FORMATS",
    "ExportReport",
    "export_onnx",
    "export_plain",
    "export_program",
    "export_run",
    "model_card",
    "push_to_hub",
]

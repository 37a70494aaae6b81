"""Widgets for JupyterLab. They hold no logic that a script could not also use."""

from pclora_lab.ui.controls import Controls
from pclora_lab.ui.lab import Lab
from pclora_lab.ui.live import LiveView

__all__ = ["Controls", "Lab", "LiveView"]

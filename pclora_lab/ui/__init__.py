"""Widgets for JupyterLab. They hold no logic that a script could not also use."""

from pclora_lab.ui.lab import Lab
from pclora_lab.ui.monitor.live_plot import LiveView
from pclora_lab.ui.settings.form import Controls

__all__ = ["Controls", "Lab", "LiveView"]

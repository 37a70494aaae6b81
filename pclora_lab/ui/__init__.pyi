from .browser.comparison_view import ComparisonView, watch
from .browser.run_browser import RunBrowser
from .lab import Lab
from .monitor.allocation_view import AllocationWidget, allocation_widget
from .monitor.live_plot import LiveView
from .ranks.panel import RankPanel
from .settings.form import Controls

__all__ = [
    "AllocationWidget",
    "ComparisonView",
    "Controls",
    "Lab",
    "LiveView",
    "RankPanel",
    "RunBrowser",
    "allocation_widget",
    "watch",
]

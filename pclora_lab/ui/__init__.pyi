from .browser.comparison_view import ComparisonView, watch
from .browser.run_browser import RunBrowser
from .lab import Lab
from .ranks.panel import RankPanel
from .settings.form import Controls
from .views.allocation_view import AllocationWidget, allocation_widget
from .views.live_plot import LiveView

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

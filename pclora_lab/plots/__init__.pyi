from .curves import Curve, curves
from .figure import NotebookFigure
from .history import history_figure
from .layers import examples_figure, layer_heatmap
from .live import panels_figure, story_figure
from .overlay import fill_overlay, overlay_figure
from .palette import COLORS, INIT_COLORS
from .pareto import pareto_figure
from .pareto_runs import fill_pareto, pareto_runs_figure
from .report import write_report
from .theme import apply_theme, current_theme, use_theme

__all__ = [
    "COLORS",
    "INIT_COLORS",
    "Curve",
    "NotebookFigure",
    "apply_theme",
    "current_theme",
    "curves",
    "examples_figure",
    "fill_overlay",
    "fill_pareto",
    "history_figure",
    "layer_heatmap",
    "overlay_figure",
    "panels_figure",
    "pareto_figure",
    "pareto_runs_figure",
    "story_figure",
    "use_theme",
    "write_report",
]

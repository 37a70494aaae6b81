from .course.comparing import adaptation_figure, budget_figure, meeting_figure
from .course.diagrams import fade_animation, layer_diagram
from .course.distilling import drift_figure, latency_figure, reach_figure, repair_figure
from .course.fading import release_figure, run_figure, switch_figure
from .course.methods import (
    allocation_figure,
    cut_cost_figure,
    kernel_figure,
    sparsifier_figure,
    spectra_figure,
    takeaway_figure,
)
from .course.records import (
    fades_figure,
    initialization_figure,
    jump_figure,
    outcome_figure,
    parts_figure,
    schedule_figure,
)
from .course.theory import layer_errors_figure, staying_figure, truncation_figure
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
    "adaptation_figure",
    "allocation_figure",
    "apply_theme",
    "budget_figure",
    "current_theme",
    "curves",
    "cut_cost_figure",
    "drift_figure",
    "examples_figure",
    "fade_animation",
    "fades_figure",
    "fill_overlay",
    "fill_pareto",
    "history_figure",
    "initialization_figure",
    "jump_figure",
    "kernel_figure",
    "latency_figure",
    "layer_diagram",
    "layer_errors_figure",
    "layer_heatmap",
    "meeting_figure",
    "outcome_figure",
    "overlay_figure",
    "panels_figure",
    "pareto_figure",
    "pareto_runs_figure",
    "parts_figure",
    "reach_figure",
    "release_figure",
    "repair_figure",
    "run_figure",
    "schedule_figure",
    "sparsifier_figure",
    "spectra_figure",
    "staying_figure",
    "story_figure",
    "switch_figure",
    "takeaway_figure",
    "truncation_figure",
    "use_theme",
    "write_report",
]

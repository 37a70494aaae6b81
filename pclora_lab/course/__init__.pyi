from .budgets import check_05_1, check_05_2, check_06_1, check_06_2
from .comparison import check_07_1, check_07_2, check_09_1, check_09_2
from .fading import check_02_1, check_02_2, check_03_1, check_03_2
from .figures.comparing import adaptation_figure, budget_figure, meeting_figure
from .figures.diagrams import fade_animation, layer_diagram
from .figures.distilling import drift_figure, latency_figure, reach_figure, repair_figure
from .figures.fading import release_figure, run_figure, switch_figure
from .figures.methods import (
    allocation_figure,
    cut_cost_figure,
    kernel_figure,
    sparsifier_figure,
    spectra_figure,
    takeaway_figure,
)
from .figures.records import (
    fades_figure,
    initialization_figure,
    jump_figure,
    outcome_figure,
    parts_figure,
    schedule_figure,
)
from .figures.theory import layer_errors_figure, staying_figure, truncation_figure
from .first_lessons import check_00_1, check_00_2, check_01_1, check_01_2
from .sizes import check_04_1, check_04_2, check_08_1, check_08_2

__all__ = [
    "adaptation_figure",
    "allocation_figure",
    "budget_figure",
    "check_00_1",
    "check_00_2",
    "check_01_1",
    "check_01_2",
    "check_02_1",
    "check_02_2",
    "check_03_1",
    "check_03_2",
    "check_04_1",
    "check_04_2",
    "check_05_1",
    "check_05_2",
    "check_06_1",
    "check_06_2",
    "check_07_1",
    "check_07_2",
    "check_08_1",
    "check_08_2",
    "check_09_1",
    "check_09_2",
    "cut_cost_figure",
    "drift_figure",
    "fade_animation",
    "fades_figure",
    "initialization_figure",
    "jump_figure",
    "kernel_figure",
    "latency_figure",
    "layer_diagram",
    "layer_errors_figure",
    "meeting_figure",
    "outcome_figure",
    "parts_figure",
    "reach_figure",
    "release_figure",
    "repair_figure",
    "run_figure",
    "schedule_figure",
    "sparsifier_figure",
    "spectra_figure",
    "staying_figure",
    "switch_figure",
    "takeaway_figure",
    "truncation_figure",
]

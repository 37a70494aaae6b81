from .cells import CellBusy, run_cell
from .comparison import Comparison, Step
from .grid import Cell, Grid
from .lr_search import LRSearch
from .table import compare, ranking_of, summarize
from .workers import Workers

__all__ = [
    "Cell",
    "CellBusy",
    "Comparison",
    "Grid",
    "LRSearch",
    "Step",
    "Workers",
    "compare",
    "ranking_of",
    "run_cell",
    "summarize",
]

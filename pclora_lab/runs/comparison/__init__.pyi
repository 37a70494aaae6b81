from .comparison import Comparison, Step
from .grid import Cell, Grid
from .lr_search import LRSearch
from .table import compare, summarize

__all__ = ["Cell", "Comparison", "Grid", "LRSearch", "Step", "compare", "summarize"]

"""A comparison: every method at every budget and seed on the same data, in one folder of runs.

The grid of cells, the search of each method's learning rate, the running, and the table that comes
out. Its figures are in :mod:`pclora_lab.plots`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

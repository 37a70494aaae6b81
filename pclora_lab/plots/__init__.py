"""Figures of runs, layers and comparisons, in plotly or matplotlib. No widgets.

A figure gets rows or tensors and returns a figure; it reads no folder and starts no run. What only
the lessons draw is in :mod:`pclora_lab.course`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Figures of runs, layers, comparisons and lessons, in plotly or matplotlib. No widgets.

A figure gets rows or tensors and returns a figure; it reads no folder and starts no run. ``course``
holds what only the lessons draw.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

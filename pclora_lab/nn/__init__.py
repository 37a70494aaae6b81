"""Torch only: run, inspect, count, rank and edit any model.

Nothing here knows a method, a data set or a file. What is one method's own (its layers, its losses)
is in :mod:`pclora_lab.methods`; where models come from is in :mod:`pclora_lab.models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

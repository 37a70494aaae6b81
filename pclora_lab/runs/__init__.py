"""The run folder: record, read, resume, replay, compare, estimate; and a run in the background.

Figures of runs are in :mod:`pclora_lab.plots`, what happens inside a step in
:mod:`pclora_lab.training`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""One run as a stream of events: its config, the loop, the teacher, what is measured, its state.

It draws nothing, prints nothing and writes no run folder: that is :mod:`pclora_lab.runs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Take a finished model away: formats that need this package no more, a model card, the hub.

Every export compares what it wrote with the model it came from, and reports the largest difference
of a logit, bytes on disk and latency beside the dense model. The format that this package reads
again is in :mod:`pclora_lab.models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

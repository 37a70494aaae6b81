"""A name, a file or a folder becomes three labeled splits, and a split becomes batches.

How images and texts are prepared for a model stands here; which model wants which preparation is
in :mod:`pclora_lab.models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""What a model is trained for: what a batch is, its loss, its metrics, and what is shown of it.

What belongs to one task is in its file and nowhere else. :mod:`pclora_lab.tasks.losses` has losses
and scores for a training loop of one's own, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

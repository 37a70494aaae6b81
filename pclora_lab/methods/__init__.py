"""One folder (or one file) per method: its config, layers, losses and verbs, and nowhere else.

``base`` says what every method answers to, ``registry`` which methods there are. What several of
them share stands beside: ranks, factorization, distillation. How a run goes is in
:mod:`pclora_lab.training`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

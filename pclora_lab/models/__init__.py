"""A name or a folder becomes a model that knows its recipe; finished models are saved and loaded.

Formats that need this package no more are in :mod:`pclora_lab.export`; counting and editing a model
that is there already is in :mod:`pclora_lab.nn`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

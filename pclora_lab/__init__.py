"""PC-LoRA: fade a transformer's frozen base weights out until only low-rank adapters are left.

The names here are what most scripts need. Twelve rooms hold the rest, each with a page of its own:
``nn``, ``data``, ``models``, ``tasks``, ``methods``, ``training``, ``runs``, ``plots``, ``course``,
``export``, ``ui`` and ``cli``. Importing this loads nothing heavy: whatever needs torch, timm,
datasets or widgets is loaded when it is first used.
"""

import lazy_loader

from pclora_lab.after_import import after_import

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register() -> None:
    from pclora_lab.models.hf_quantizer import register

    register()


# So that transformers opens what was saved with replaced layers, whoever asks it to.
after_import("transformers.modeling_utils", _register)

__version__ = "0.1.0"

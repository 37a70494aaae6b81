"""PC-LoRA: fade a transformer's frozen base weights out until only low-rank adapters are left.

The names here are what most scripts need. Twelve rooms hold the rest, each with a page of its own:
``nn``, ``data``, ``models``, ``tasks``, ``methods``, ``training``, ``runs``, ``plots``, ``course``,
``export``, ``ui`` and ``cli``. Importing this loads nothing heavy: whatever needs torch, timm,
datasets or widgets is loaded when it is first used.
"""

from typing import Any

import lazy_loader

from pclora_lab.after_import import after_import

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register_layers() -> None:
    from pclora_lab.models.doors.hf_quantization import allow_quantization
    from pclora_lab.models.hf_quantizer import register
    from pclora_lab.models.hf_saving import provide_students

    register()
    allow_quantization()
    provide_students("pclora", _student_format)


def _student_format() -> Any:
    from pclora_lab.methods.pclora.hf_student import STUDENT_FORMAT

    return STUDENT_FORMAT


# So that transformers opens what was saved with replaced layers, whoever asks it to.
after_import("transformers.modeling_utils", _register_layers)


def _register_architecture() -> None:
    from pclora_lab.models.doors.timm_entry import register

    register()


# And timm's create_model.
after_import("timm.models", _register_architecture)


def _register_figures() -> None:
    from pclora_lab.runs.trackers import provide_figures

    provide_figures(_tracked_figures)


def _tracked_figures(folder: Any) -> Any:
    from pclora_lab.plots.tracked import tracked_figures

    return tracked_figures(folder)


# What draws is above what runs, so neither can ask for the other.
after_import("pclora_lab.runs.trackers", _register_figures)

__version__ = "0.1.0"

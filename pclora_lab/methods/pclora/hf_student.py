"""A student as transformers' trainer saves it: what config.json says of it, and its empty layers.

The layers, and nothing else of a student, are this module's: transformers builds the dense
architecture, gets them from here, and reads all weights, those of the bases with them. Such a
student shares no weight with a teacher.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pclora_lab.fields import known_fields
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear
from pclora_lab.methods.pclora.model import FadingLayer, freeze_rest, pclora_config
from pclora_lab.models.hf_saving import OwnNames, StudentFormat
from pclora_lab.models.saved_layers import LARGEST_RANK
from pclora_lab.nn.surgery import get_linear, is_linear, replace_modules
from pclora_lab.schema import mapping, number_within, record, switch, text, whole

__all__ = ["STUDENT_FORMAT", "build_student", "describe_student"]

_STARTS = ("start_A", "start_B", "start_C")

_DESCRIBED = record({
    "config": record({"name": text()}),
    "layers": mapping(record({
        "rank": whole(1, LARGEST_RANK), "scale": number_within(0, 1e6),
        "has_base": switch, "has_start": switch,
    })),
})  # fmt: skip


def describe_student(student: nn.Module) -> dict[str, Any] | None:
    """What it takes to build a student's layers again: plain types, ready for JSON.

    Args:
        student: from :func:`pclora_lab.get_pclora_model`, with or without its base.

    Returns:
        Config and layers; None for a model that is no such student, or a part of one.

    Example:
        >>> from pclora_lab import get_pclora_model, load_model
        >>> student = get_pclora_model(load_model("vit_digits"), PCLoRAConfig(rank=4))
        >>> describe_student(student)["layers"]["blocks.0.mlp.fc1"]
        {'rank': 4, 'scale': 1.0, 'has_base': True, 'has_start': False}
    """
    config = getattr(student, "pclora_config", None)
    layers = {n: m for n, m in student.named_modules() if isinstance(m, FadingLayer)}
    if not isinstance(config, PCLoRAConfig) or not layers:
        return None
    return {
        "config": config.to_dict(),
        "layers": {
            name: {
                "rank": layer.rank,
                "scale": getattr(layer, "scale", 1.0),
                "has_base": layer.base is not None,
                "has_start": layer.start_A is not None,
            }
            for name, layer in layers.items()
        },
    }


def build_student(model: nn.Module, saved: Mapping[str, Any], own_names: OwnNames) -> None:
    """Make a student of a dense model, in place; its weights are still to be read.

    Args:
        model: the architecture, perhaps without storage.
        saved: from :func:`describe_student`.
        own_names: finds the names that layers have in this model, by those that were saved.

    Raises:
        ValueError: a config or a layer that can't be.
    """
    _DESCRIBED("config.json: student", saved)
    given = {key: value for key, value in saved["config"].items() if key != "name"}
    config = PCLoRAConfig(**known_fields(PCLoRAConfig, given))
    names = own_names(saved["layers"])
    layers = {own: _empty(model, own, saved["layers"][name]) for name, own in names.items()}
    replace_modules(model, layers)
    targets = tuple(name for name, _ in model.named_modules() if name in layers)
    vars(model).update(pclora_config=config, pclora_targets=targets)


def _empty(model: nn.Module, name: str, told: Mapping[str, Any]) -> FadingLayer:
    dense, generator = model.get_submodule(name), torch.Generator("cpu")
    layer: FadingLayer
    if isinstance(dense, nn.Embedding):
        layer = PCLoRAEmbedding(dense, told["rank"], generator=generator)
    elif not is_linear(dense):
        raise ValueError(f"config.json names layer {name!r}, a {type(dense).__name__}: none fades")
    else:
        base = get_linear(model, name)
        layer = PCLoRALinear(base, told["rank"], scale=told["scale"], generator=generator)
    if told["has_start"]:
        for start in (start for start in _STARTS if hasattr(layer, start)):
            setattr(layer, start, torch.empty_like(getattr(layer, start[-1])))
    if not told["has_base"]:
        layer.drop_base()
    return layer


def _finish(student: nn.Module) -> None:
    """What a trainer may train, as in a student that was just made."""
    freeze_rest(student, pclora_config(student).train_norms)


STUDENT_FORMAT = StudentFormat(describe_student, build_student, _finish)

"""Hashes of a run's model, data and settings, gathered in an identity."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

import pclora_lab
from pclora_lab.data.splits import LabeledData, hash_of_texts
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.description import described
from pclora_lab.training.identity.record import LIBRARIES, Identity, determining_settings

__all__ = ["hash_of_architecture", "hash_of_model", "hash_of_tensors", "identity_of"]

# The preprocessing has a hash of its own.
_HASHED_ELSEWHERE = ("preprocessing", "tokens")

_PACKAGES = ("torch", *LIBRARIES)


def hash_of_model(model: nn.Module) -> str:
    """A hash of the names, types, shapes and bytes of all weights.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> before = hash_of_model(layer)
        >>> _ = nn.init.constant_(layer.bias, 7)
        >>> hash_of_model(layer) == before
        False
    """
    return hash_of_tensors(model.state_dict())


def hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and bytes, in whatever order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def hash_of_architecture(model: nn.Module) -> str:
    """A hash of what the model is built from; empty for one that was not loaded by name."""
    facts = _architecture(model)
    return hash_of_texts(json.dumps(facts, sort_keys=True, default=str)) if facts else ""


def _architecture(model: nn.Module) -> dict[str, Any]:
    recipe = getattr(model, "pclora_recipe", None) or {}
    facts = {name: value for name, value in recipe.items() if name not in _HASHED_ELSEWHERE}
    if isinstance(config := facts.get("config"), Mapping):
        facts["config"] = {key: config[key] for key in config if key != "transformers_version"}
    return facts


def identity_of(
    model: nn.Module, data: LabeledData, config: RunConfig, environment: Mapping[str, str]
) -> Identity:
    """What a run is made from.

    Args:
        model: the dense one, before any fine-tuning.
        data: that it is trained on.
        config: of the run.
        environment: where it runs, beside the versions of packages.
    """
    preprocessing = preprocessing_of(model, config.img_size)
    return Identity(
        data=data.fingerprint(),
        preprocessing=preprocessing.fingerprint(),
        weights=hash_of_model(model),
        architecture=hash_of_architecture(model),
        descriptions={
            "architecture": described(_architecture(model)),
            "preprocessing": described(preprocessing.facts()),
        },
        settings=determining_settings(config),
        environment={**_versions(), **environment},
    )


def _versions() -> dict[str, str]:
    found = {"pclora_lab": pclora_lab.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # built from source, and not installed
            continue
    return found

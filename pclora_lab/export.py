"""The compressed model on disk: ``config.json`` + ``model.safetensors``, never pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from pclora_lab.layers import LowRankLinear
from pclora_lab.models import build_from_recipe, model_recipe
from pclora_lab.options import check_rank
from pclora_lab.surgery import copy_sharing, replace_modules

__all__ = ["is_compressed", "load_compressed", "save_compressed"]

FORMAT = "pclora_lab.compressed"
VERSION = 1


def save_compressed(model: nn.Module, folder: Path | str) -> Path:
    """Write a finished model to a folder.

    Args:
        model: from :func:`pclora_lab.compress`, any method's ``finish`` or ``load_model``.
        folder: is made if it does not exist.

    Returns:
        The folder.

    Raises:
        ValueError: the model comes from no method and was not loaded by name, or the folder holds
            a model of another format, which would be overwritten.
    """
    layers = _low_rank_layers(model)
    method = getattr(model, "pclora_method", None)
    if not layers and method is None and model_recipe(model) is None:
        raise ValueError(
            f"{type(model).__name__} has no LowRankLinear: pass what compress(student) returned"
        )
    folder = Path(folder)
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "model": model_recipe(model),
        "ranks": {name: layer.rank for name, layer in sorted(layers.items())},
        "without_bias": [name for name, layer in sorted(layers.items()) if layer.C is None],
        "method": method,
        "pela": getattr(model, "pela", None),
    }
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf8")
    return folder


def _refuse_foreign(folder: Path) -> None:
    """Only an earlier export may be overwritten, never a model that someone else saved."""
    if any((folder / name).exists() for name in ("config.json", "model.safetensors")):
        try:
            _read_config(folder)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{folder} holds files that are no compressed model of this project, and saving "
                f"would overwrite them: choose another folder ({error})"
            ) from error


def _low_rank_layers(model: nn.Module) -> dict[str, LowRankLinear]:
    return {name: m for name, m in model.named_modules() if isinstance(m, LowRankLinear)}


def is_compressed(folder: Path | str) -> bool:
    """Whether a folder says that it holds a model that :func:`save_compressed` wrote."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def load_compressed(
    folder: Path | str, model: nn.Module | None = None, *, weights: bool = True
) -> nn.Module:
    """Read a compressed model; no code from the folder is run.

    Args:
        folder: as :func:`save_compressed` wrote it.
        model: the dense architecture, for a model that was not loaded by name; it is not changed.
        weights: False builds the architecture only.

    Returns:
        The compressed model on the CPU, in eval mode.

    Raises:
        FileNotFoundError: the folder holds no compressed model.
        ValueError: another format or a newer version, a layer the architecture lacks, tensors
            that do not fit, or no recipe and no ``model``.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if model is None:
        if config["model"] is None:
            raise ValueError(
                f"{folder} holds no recipe for its architecture, because the model was not loaded "
                "by name: pass model=, the dense architecture"
            )
        dense = build_from_recipe(config["model"])
    else:
        dense = copy_sharing(model, ())
    replace_modules(dense, _empty_layers(dense, config, folder))
    if weights:
        _fill(dense, folder)
    dense.pclora_method = config.get("method")
    if config.get("pela") is not None:
        dense.pela = config["pela"]
    return dense.eval()


def _fill(model: nn.Module, folder: Path) -> None:
    try:
        load_model(model, folder / "model.safetensors")
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"the tensors in {folder} do not fit the architecture: {error}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no compressed model in {folder}: {name} is missing")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} can't be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{folder / 'config.json'} is not of format {FORMAT!r}")
    if config.get("version", 0) > VERSION:
        raise ValueError(
            f"{folder} was written by a newer version (format {config['version']}, this one reads "
            f"up to {VERSION}): update pclora-lab"
        )
    missing = [key for key in ("model", "ranks") if key not in config]
    if missing:
        raise ValueError(f"{folder / 'config.json'} lacks {', '.join(missing)}")
    return config


def _empty_layers(model: nn.Module, config: dict[str, Any], folder: Path) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    layers = {}
    for name, rank in config["ranks"].items():
        linear = modules.get(name)
        if not isinstance(linear, nn.Linear):
            raise ValueError(f"{folder} names layer {name!r}, which the architecture does not have")
        layers[name] = LowRankLinear(
            linear.in_features,
            linear.out_features,
            check_rank(rank),
            bias=name not in config.get("without_bias", ()),
            dtype=torch.float32,
        )
    return layers

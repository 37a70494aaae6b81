"""What it takes to build an architecture again without its weights.

Every model that was loaded by name carries a recipe. Saved models keep it, so that loading runs no
code from the folder."""

import copy
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from pclora_lab.models.embedded import EMBEDDED_VITS
from pclora_lab.models.saved_layers import check_sizes, empty_layers, weight_files
from pclora_lab.models.timm_models import load_timm
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.metadata import pretrained_cfg_of, set_metadata
from pclora_lab.nn.patch_head import PATCHES, attach_patch_head
from pclora_lab.nn.split_qkv import split_qkv as split_fused
from pclora_lab.nn.surgery import replace_modules

__all__ = ["build_from_recipe", "check_plan", "dense_twin", "model_recipe"]


def model_recipe(model: nn.Module) -> dict[str, Any] | None:
    """What :func:`build_from_recipe` needs, or None for a model that was not loaded by name."""
    return copy.deepcopy(getattr(model, "pclora_recipe", None))


def build_from_recipe(recipe: dict[str, Any]) -> nn.Module:
    """The architecture of a recipe, untrained.

    Raises:
        ValueError: the recipe names no known architecture.
    """
    is_hf = recipe.get("library") == "transformers"
    kind = {"config", "task"} if is_hf else {"architecture", "preprocessing"}
    missing = {"num_classes", "img_size", *kind} - set(recipe)
    if missing:
        raise ValueError(f"the recipe of the saved model lacks {', '.join(sorted(missing))}")
    model = _rebuild_hf(recipe) if is_hf else _rebuild_timm(recipe)
    set_metadata(model, pclora_recipe=copy.deepcopy(recipe))
    return split_fused(model) if recipe.get("split_qkv") else model


def _rebuild_hf(recipe: dict[str, Any]) -> nn.Module:
    from pclora_lab.models.hf_models import rebuild_hf  # timm's models need no transformers

    return rebuild_hf(recipe)


def _rebuild_timm(recipe: dict[str, Any]) -> nn.Module:
    model = load_timm(
        _bare_name(recipe["architecture"]),
        recipe["num_classes"],
        recipe["img_size"],
        False,
        recipe.get("width"),
        recipe.get("options"),
    )
    classes = {"num_classes": recipe["num_classes"]}  # its saved head fits
    config = {**pretrained_cfg_of(model), **recipe["preprocessing"], **classes}
    set_metadata(model, pretrained_cfg=config)
    if recipe.get("head") is not None:
        _attach_head(model, recipe)
    set_metadata(model, pclora_head_is_new=False)
    return model.eval()


def _attach_head(model: nn.Module, recipe: dict[str, Any]) -> None:
    if recipe["head"] != PATCHES:
        raise ValueError(
            f"the saved model has a head {recipe['head']!r}, unknown to this version: update "
            "pclora-lab"
        )
    with generators_kept():  # what is drawn is replaced by the saved head
        attach_patch_head(model, recipe["num_classes"], detail=recipe.get("head_detail", 1))


def _bare_name(architecture: object) -> str:
    # A saved file must not be able to point the loader at a path or the hub.
    if not isinstance(architecture, str) or not architecture.replace("_", "").isalnum():
        raise ValueError(f"saved model names no timm architecture: {architecture!r}")
    if architecture not in EMBEDDED_VITS and not timm.is_model(architecture):
        raise ValueError(f"unknown model {architecture!r}: update timm, or pass model=")
    return architecture


def check_plan(folder: Path, config: dict[str, Any]) -> None:
    """Build a saved model without storage, and compare it with the headers of its weights.

    Args:
        folder: of both; without weights nothing is compared.
        config: what its config.json says.

    Raises:
        ValueError: the two do not fit each other; no memory was taken.
    """
    if not (files := weight_files(folder)):
        return
    with torch.device("meta"):
        planned = build_from_recipe(config["model"])
        if "architectures" in config:
            from pclora_lab.models.hf_quantizer import build_layers

            _require_classes(planned, config["model"], folder)
            build_layers(planned, config, str(folder), torch.float32)
        else:
            replace_modules(planned, empty_layers(planned, config, folder))
    check_sizes(planned, files, folder)


def _require_classes(model: Any, recipe: dict[str, Any], folder: Path) -> None:
    """Two places of one file say how many classes there are."""
    told, built = recipe["num_classes"], model.config.num_labels
    if told not in (None, built):
        raise ValueError(
            f"{folder}: config.json says {told} classes in one place and {built} in another: it "
            "was edited. Save the model again"
        )


def dense_twin(model: nn.Module) -> nn.Module:
    """The dense architecture of a finished model, untrained: as large and as slow as the teacher.

    Raises:
        ValueError: the model was not loaded by name.
    """
    return build_from_recipe(require_recipe(model)).eval()


def require_recipe(model: nn.Module) -> dict[str, Any]:
    """What the model was loaded as; an export needs to know its input and its architecture.

    Raises:
        ValueError: the model was not loaded by name.
    """
    recipe = model_recipe(model)
    if recipe is None:
        raise ValueError(
            f"{type(model).__name__} was not loaded by name, so its input and its dense "
            "architecture are not known here: start from load_model, or keep it with "
            "save_pretrained and load it into your own class with from_pretrained(folder, model)"
        )
    return recipe

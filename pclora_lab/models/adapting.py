"""Fit a loaded model to data: its head, its classes, what it reads."""

from contextlib import nullcontext

import torch
from torch import nn

from pclora_lab.data.images import Preprocessing
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.recipes import model_recipe
from pclora_lab.models.timm_models import reset_timm_head, timm_output_layers
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.metadata import recipe_of, set_metadata

__all__ = ["reset_head", "head_is_new", "input_kind", "head_matches", "output_layers"]
__all__ += ["preprocessing_of", "set_problem"]


def reset_head(
    model: nn.Module, num_classes: int, generator: torch.Generator | None = None
) -> None:
    """A head of its own for other classes, in place.

    Args:
        model: loaded by name.
        num_classes: how many.
        generator: draws its weights; torch's global one without it, which else is left alone.

    Raises:
        ValueError: the model was not loaded by name.
    """
    # A new layer draws weights of its own first, which are replaced at once.
    with nullcontext() if generator is None else generators_kept():
        if recipe_of(model).get("library") == "transformers":
            from pclora_lab.models.heads.of_transformers import reset_hf_head

            reset_hf_head(model, num_classes, generator)
        else:
            reset_timm_head(model, num_classes, generator)
    set_metadata(
        model,
        pclora_head_is_new=True,
        pclora_class_names=None,
        pclora_recipe={
            **{key: value for key, value in recipe_of(model).items() if key != "problem"},
            "num_classes": num_classes,
        },
    )


def output_layers(model: nn.Module) -> list[str]:
    """Full names of the last layers of the head, whose outputs are the model's; mostly one.

    Args:
        model: loaded by name.
    """
    if recipe_of(model).get("library") == "transformers":
        from pclora_lab.models.hf import heads

        return heads.output_layers(model)
    return timm_output_layers(model)


def set_problem(model: nn.Module, names: tuple[str, ...], problem: str | None) -> None:
    """Let a model know what its outputs are, and what they answer.

    Args:
        model: loaded by name.
        names: of the outputs.
        problem: ``regression`` or ``multi_label_classification``, in transformers' words; None for
            classes that exclude each other.
    """
    set_metadata(model, pclora_class_names=names)
    if problem is not None:
        set_metadata(model, pclora_recipe={**recipe_of(model), "problem": problem})
    if recipe_of(model).get("library") == "transformers":
        from pclora_lab.models.heads.of_transformers import (
            name_classes,  # timm's models need none of it
        )

        name_classes(model, names, problem)


def head_matches(model: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether a head may be for these classes: as many, and no other names in another order.

    Data that only number their classes from 0 are taken at their word.
    """
    if model.num_classes != len(names):
        return False
    own = getattr(model, "pclora_class_names", None)
    numbers = tuple(map(str, range(len(names))))
    plain = tuple(name.lower() for name in names)
    return own is None or plain == numbers or plain == tuple(name.lower() for name in own)


def head_is_new(model: nn.Module) -> bool:
    """Whether the head does not come from the checkpoint, because the classes differ."""
    return getattr(model, "pclora_head_is_new", False)


def input_kind(model: nn.Module) -> str:
    """``image`` or ``text``: what a loaded model reads."""
    return "text" if "tokens" in (model_recipe(model) or {}) else "image"


def preprocessing_of(
    model: nn.Module, img_size: int | None = None
) -> Preprocessing | TextPreprocessing:
    """What turns raw examples into the model's input.

    Raises:
        ValueError: a text model without a tokenizer.
    """
    if input_kind(model) == "text":
        return TextPreprocessing.of(model)
    return Preprocessing.of(model, img_size)

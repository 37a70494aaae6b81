"""What a model that was loaded by name knows about itself: its recipe, its input, its classes."""

from typing import Any, TypedDict, Unpack

from torch import nn

__all__ = ["ModelMetadata", "note_precision", "pretrained_cfg_of", "recipe_of", "set_metadata"]


class ModelMetadata(TypedDict, total=False):
    """The attributes by which a model keeps what was found out while it was loaded.

    Attributes:
        num_classes: of its classifier; timm's models say it themselves.
        pretrained_cfg: size, mean and deviation of its pixels, in timm's words.
        pclora_recipe: how to build the architecture again.
        pclora_text: its :class:`pclora_lab.data.texts.TextPreprocessing`.
        pclora_class_names: one per class number, None where they are unknown.
        pclora_head_is_new: whether the classifier does not come from the checkpoint.
        pclora_options: what timm builds it with, beyond its name.
        pclora_saved_in: the half precision of the file, where float32 was made of it.
        pclora_takes_any_size: whether it was built without a size of its images.
        pclora_method: the options of the method that it comes from.
        pela: what was factorized, see :func:`pclora_lab.factorize_model`.
    """

    num_classes: int | None
    pretrained_cfg: dict[str, object]
    pclora_recipe: dict[str, object]
    pclora_text: object
    pclora_class_names: tuple[str, ...] | None
    pclora_head_is_new: bool
    pclora_options: dict[str, object]
    pclora_saved_in: str
    pclora_takes_any_size: bool
    pclora_method: dict[str, object] | None
    pela: dict[str, object]


def set_metadata(model: nn.Module, **metadata: Unpack[ModelMetadata]) -> None:
    """Let a model keep these, in place of those it had under the same names.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> set_metadata(model, pretrained_cfg={"input_size": (4,)})
        >>> pretrained_cfg_of(model)
        {'input_size': (4,)}
    """
    vars(model).update(metadata)


def recipe_of(model: nn.Module) -> dict[str, Any]:
    """The recipe that a model carries; no copy.

    Raises:
        ValueError: the model was not loaded by name.
    """
    recipe = getattr(model, "pclora_recipe", None)
    if recipe is None:
        raise ValueError(
            f"{type(model).__name__} was not loaded by name, so how it was built is not known "
            "here: start from load_model"
        )
    return recipe


def pretrained_cfg_of(model: nn.Module) -> dict[str, Any]:
    """timm's ``pretrained_cfg``: size, mean and deviation of the pixels; empty without one."""
    return getattr(model, "pretrained_cfg", None) or {}


def note_precision(model: nn.Module, saved: object) -> None:
    """Keep that a file's weights were in half precision, for who trains them in float32.

    Args:
        model: made of the file.
        saved: its precision, as torch or a configuration names it.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> note_precision(model, "torch.bfloat16")
        >>> model.pclora_saved_in
        'bfloat16'
    """
    name = str(saved).removeprefix("torch.")
    if name in ("bfloat16", "float16"):
        set_metadata(model, pclora_saved_in=name)

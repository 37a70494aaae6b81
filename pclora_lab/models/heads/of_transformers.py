"""The last layers of transformers' models: new ones, and what they answer."""

import torch
from torch import nn

from pclora_lab.models.hf.heads import output_layers
from pclora_lab.models.hf_config import config_in, safe_config
from pclora_lab.nn.heads import draw_head, with_outputs
from pclora_lab.nn.metadata import recipe_of, set_metadata

__all__ = ["name_classes", "reset_hf_head"]


def name_classes(model: nn.Module, names: tuple[str, ...], problem: str | None = None) -> None:
    """Write what the outputs are into the configuration, also into the one that is saved.

    Args:
        model: transformers'.
        names: of the outputs.
        problem: transformers' ``problem_type``; None leaves it.
    """
    config = config_in(model)
    if problem is not None:
        config.problem_type = problem
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    recipe_of(model)["config"] = safe_config(config)


def reset_hf_head(model: nn.Module, num_classes: int, generator: torch.Generator | None) -> None:
    """New last layers for another number of classes, in place."""
    config = config_in(model)
    for name in output_layers(model):
        parent, _, child = name.rpartition(".")
        head = with_outputs(model.get_submodule(name), num_classes)
        draw_head(head, generator)
        setattr(model.get_submodule(parent), child, head)
    config.num_labels = num_classes
    if config.problem_type != "single_label_classification":
        config.problem_type = None
    recipe_of(model)["config"] = safe_config(config)
    set_metadata(model, num_classes=num_classes)

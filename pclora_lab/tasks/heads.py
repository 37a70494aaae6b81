"""A model with a head for the data's classes, before any fine-tuning."""

import torch
from torch import nn

from pclora_lab.data.splits import LabeledData
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.adapting import head_matches, input_kind, reset_head, set_problem
from pclora_lab.models.loading import load_model
from pclora_lab.nn.metadata import recipe_of, set_metadata
from pclora_lab.tasks.segmenters import answers_for_pixels

__all__ = ["load_classifier"]

_USUAL = {"image": "vit_digits", "text": "bert_glosses"}
_NO_CLASSIFIERS = {
    "language-model": "a language model without a classification head, and transformers has "
    "none for its type: take another type, such as bert or gpt2",
    "image-text": "a model of images and texts without a classification head: to train its "
    'image side, write "architectures": ["CLIPForImageClassification"] in its config.json',
}


def load_classifier(
    name: str,
    data: LabeledData,
    *,
    img_size: int | None = None,
    max_tokens: int | None = None,
    split_qkv: bool = False,
    seed: int = 0,
    problem: str | None = None,
    task: str | None = None,
) -> nn.Module:
    """See :meth:`pclora_lab.tasks.Task.load_model`.

    Args:
        name: as :func:`pclora_lab.load_model` takes it.
        data: with as many classes, labels or numbers as the head is to have outputs.
        img_size: side of the input in pixels.
        max_tokens: longest text in tokens.
        split_qkv: take fused query-key-value layers apart.
        seed: draws a new head.
        problem: what the outputs answer, see :func:`set_problem`; a head for anything else is
            replaced.
        task: of a transformers model, see :func:`pclora_lab.load_model`.

    Raises:
        ValueError: the model has no classifier, or does not read what the data hold.
    """
    model = load_model(
        name,
        num_classes=data.num_classes,
        img_size=img_size,
        max_tokens=max_tokens,
        split_qkv=split_qkv,
        generator=torch.Generator().manual_seed(seed),
        problem=problem,
        task=task,
    )
    _require_classifier(model, name)
    if input_kind(model) != data.kind:
        raise ValueError(
            f"{name!r} reads {input_kind(model)}s, but {data.name!r} holds {data.kind}s: "
            f"choose other data, or a model of {data.kind}s such as {_USUAL[data.kind]}"
        )
    is_other = recipe_of(model).get("problem") != problem
    if is_other or not head_matches(model, data.class_names):
        reset_head(model, data.num_classes, torch.Generator().manual_seed(seed))
    set_problem(model, data.class_names, problem)
    if data.is_paired and TextPreprocessing.of(model).token_types:
        set_metadata(model, pclora_recipe={**recipe_of(model), "token_types": True})
    return model


def _require_classifier(model: nn.Module, name: str) -> None:
    """Refuse what transformers builds no classifier of, or does so only if asked."""
    if answers_for_pixels(model):
        raise ValueError(
            f"{name!r} has a class for every pixel and none for a whole image: choose the task "
            "semantic-segmentation, or a model with a classifier"
        )
    if getattr(model, "num_classes", None) is not None:
        return
    task = recipe_of(model).get("task")
    kind = type(model).__name__
    what = _NO_CLASSIFIERS.get(
        str(task), "a model without a classification head: take a classifier"
    )
    raise ValueError(f"{name!r} is a {kind}, {what}")

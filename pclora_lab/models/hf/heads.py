"""Which heads a type of transformers has, and what a checkpoint's own head is for."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from pclora_lab.models.hf.segmenters import output_convolution
from pclora_lab.nn.forward import call_model, eval_mode
from pclora_lab.nn.heads import classifier_names
from pclora_lab.nn.surgery import get_linear
from pclora_lab.wording import listed

__all__ = ["output_layers", "refuse_other_heads", "require_causal"]

_TYPES = {
    "text-classification": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "image-classification": MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    "token-classification": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "language-model": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "masked-language-model": MODEL_FOR_MASKED_LM_MAPPING_NAMES,
}

_LANGUAGE = ("language-model", "masked-language-model")

# Behind "For" in the name of a class whose head gives no word.
_NO_WORDS = ("SequenceClassification", "TokenClassification", "ImageClassification",
             "QuestionAnswering", "MultipleChoice")  # fmt: skip

_TOKENS = 6


def refuse_other_heads(config: PreTrainedConfig, task: str, name: str) -> None:
    """Refuse a task that the type has no head for, or that the checkpoint was not trained for.

    A classifier gets a new head where it needs one, which is then trained. A head for words is
    never drawn anew: what it would say is noise.

    Args:
        config: of the model as it was saved.
        task: a key of :data:`pclora_lab.models.hf_models.HF_TASKS`.
        name: for the error.

    Raises:
        ValueError: says what the model is for, and what to do.
    """
    kind = config.model_type
    if kind not in _TYPES.get(task, (kind,)):
        others = [other for other, types in _TYPES.items() if kind in types]
        raise ValueError(
            f"{name!r} is of type {kind!r}, which transformers can't build as {task!r}"
            + (f": it has {listed(others)}" if others else "")
        )
    saved_as = next(filter(_gives_no_words, config.architectures or ()), None)
    if task in _LANGUAGE and saved_as is not None:
        raise ValueError(
            f"{name!r} was saved as {saved_as}, as its config.json says, and task is {task!r}: its "
            "head gives no words. Leave task out, or take the language model that it was made from"
        )


def _gives_no_words(architecture: object) -> bool:
    return str(architecture).rpartition("For")[2].startswith(_NO_WORDS)


def require_causal(model: nn.Module, name: str) -> None:
    """Refuse a language model that sees the word which it has to guess.

    Args:
        model: gives ``(batch, tokens, vocabulary)``; without storage it is not asked.
        name: for the error.

    Raises:
        ValueError: the last token of a text changes what is said at an earlier one.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    config: Any = model.config
    words = getattr(config, "text_config", config).vocab_size
    ids = torch.arange(_TOKENS, device=next(model.parameters()).device).repeat(2, 1) % words
    ids[1, -1] = (ids[1, -1] + 1) % words
    with eval_mode(model):
        first, second = call_model(model, {"input_ids": ids})[:, :-1].float()
    if (first - second).abs().max() > 1e-3 * first.std():
        raise ValueError(
            f"{name!r} as a {type(model).__name__} reads a text in both directions, so it would "
            "see the word that it has to guess: take task='masked-language-model', or a causal "
            'type such as gpt2 or llama ("is_decoder": true in its config.json, if it was trained '
            "as a decoder)"
        )


def output_layers(model: Any) -> list[str]:
    """Names of what gives the classes; of a distilled model, of both its heads.

    Args:
        model: one of transformers' that classifies texts, images or pixels.
    """
    if (convolution := output_convolution(model)) is not None:
        return [convolution]
    names = classifier_names(model)
    linears = [n for n, m in model.named_modules()
               if isinstance(m, nn.Linear) and n.split(".")[0] in names]  # fmt: skip
    classes = model.config.num_labels
    last = {n.split(".")[0]: n for n in linears if get_linear(model, n).out_features == classes}
    return list(last.values()) if len(last) > 1 else linears[-1:]

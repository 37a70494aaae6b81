"""transformers' models: encoders for sequences and images, decoders, CLIP; no code from the hub."""

import copy
import re
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSemanticSegmentation,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from pclora_lab.models.hf.gguf import as_dense, refuse_other_sizes, unpacking
from pclora_lab.models.hf.gguf_header import gguf_source, is_gguf
from pclora_lab.models.hf.heads import refuse_other_heads, require_causal
from pclora_lab.models.hf.segmenters import PIXELS, SEGMENTERS, check_segmenter
from pclora_lab.models.hf_config import (
    LOCAL_KEYS,
    config_of,
    named_classes,
    plain_errors,
    refuse_code,
    refuse_other_tasks,
    resolve_tokens,
    safe_config,
    saved_for_another_task,
)
from pclora_lab.models.hf_images import check_image_size, image_settings, refuse_side
from pclora_lab.models.hf_quantizer import build_layers
from pclora_lab.models.hf_tokenizer import load_hf_tokenizer, text_preprocessing
from pclora_lab.models.saved_layers import refuse_too_large, weight_files
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.heads import classifier_names, draw_head
from pclora_lab.nn.metadata import note_precision, set_metadata
from pclora_lab.quiet import quiet
from pclora_lab.wording import listed

__all__ = [
    "HF_TASKS",
    "hf_task",
    "load_hf",
    "rebuild_hf",
    "set_hf_recipe",
]

HF_TASKS = {
    "text-classification": AutoModelForSequenceClassification,
    "image-classification": AutoModelForImageClassification,
    "token-classification": AutoModelForTokenClassification,
    "language-model": AutoModelForCausalLM,
    "masked-language-model": AutoModelForMaskedLM,
    "image-text": AutoModel,
    PIXELS: AutoModelForSemanticSegmentation,
}


_TOKENS = "token-classification"


# While transformers loads weights it takes tying away from the class of all models: two threads at
# once, and it stays away, so that a model with tied weights is silently built without.
_building = threading.RLock()


def load_hf(
    name: str,
    *,
    task: str | None = None,
    num_classes: int | None = None,
    tokens: int | None = None,
    img_size: int | None = None,
    pretrained: bool = True,
    generator: torch.Generator | None = None,
    problem: str | None = None,
) -> nn.Module:
    """One of transformers' models.

    Args:
        name: hub name, ``config:TYPE`` for an untrained model of a type's default size, a GGUF
            file, or a folder.
        task: a key of :data:`HF_TASKS`; None takes classification where the type has it, and of a
            GGUF file the language model unless there are classes.
        num_classes: classes of the head; None keeps the model's own.
        tokens: longest text; None takes 128 or what the model has room for.
        img_size: side of the input in pixels, of a model that answers for pixels.
        pretrained: False builds the architecture only.
        generator: draws a new head.
        problem: ``regression`` or ``multi_label_classification``, where the head is to be for
            that; None wants one that chooses a class.

    Raises:
        ValueError: unknown type or name, code of its own, pickled or damaged weights, a tokenizer
            that is not the model's, more tokens than it has positions, a task that the model or
            its type is not for.
        ConnectionError: not in the local cache and the hub can't be reached.
        ImportError: a GGUF file, and the package gguf is missing.
    """
    pretrained = pretrained and not name.startswith("config:")
    config = config_of(name, weights=pretrained)
    saved_in = config.dtype
    attention = {"_attn_implementation": getattr(config, "_attn_implementation", None)}
    refuse_code({**config.to_dict(), **attention}, name)
    # transformers looks through them where a type has classifiers of two kinds, as DeiT has.
    config.architectures = config.architectures or []
    if not isinstance(config.architectures, list):
        raise ValueError(f"config.json of {name!r}: architectures must be a list of names")
    if task is None and is_gguf(name) and num_classes is None:
        task = "language-model"
    task = task or _usual_task(config, name)
    if task not in HF_TASKS:
        raise ValueError(f"unknown task {task!r}: use one of {', '.join(HF_TASKS)}")
    refuse_other_heads(config, task, name)
    is_labeled = task == PIXELS or task.endswith("classification")
    if task == PIXELS:
        check_segmenter(config, name)
    elif img_size is not None:
        refuse_side(name)
    if is_labeled and task not in (PIXELS, _TOKENS):  # whose heads transformers knows no types of
        refuse_other_tasks(config, num_classes, name, problem)
    if is_labeled:
        if num_classes not in (None, config.num_labels):
            config.num_labels = num_classes
    new: set[str] = set()
    _refuse_large(name, task, config, pretrained)
    if pretrained:
        model, new = _read_weights(name, task, config)
    else:
        with plain_errors(name):
            model = build_hf(config, task)
    note_precision(model, saved_in if pretrained else None)
    if is_labeled:
        is_new = not pretrained or bool(new)
        set_metadata(model, num_classes=config.num_labels, pclora_head_is_new=is_new)
        if not is_new and (names := named_classes(config)):
            set_metadata(model, pclora_class_names=names)
    if task == "language-model":
        require_causal(model, name)
    for head in sorted(new):
        draw_head(model.get_submodule(head), generator)
    recipe: dict[str, Any] = {"library": "transformers", "task": task, "img_size": img_size}
    recipe["num_classes"] = getattr(model, "num_classes", None)
    if problem is not None and config.problem_type == problem:
        recipe["problem"] = problem
    if task in ("image-classification", PIXELS):
        recipe["preprocessing"] = image_settings(name, config, pretrained, img_size)
        set_metadata(model, pretrained_cfg=recipe["preprocessing"])
        check_image_size(model, name)
    else:
        recipe["tokens"] = resolve_tokens(model, tokens)
        if pretrained:
            tokenizer = load_hf_tokenizer(name, model.config)
            text = text_preprocessing(model, tokenizer, recipe["tokens"])
            set_metadata(model, pclora_text=text)
    set_metadata(model, pclora_recipe={**recipe, "config": safe_config(model.config)})
    return model.eval()


def _refuse_large(name: str, task: str, config: PreTrainedConfig, pretrained: bool) -> None:
    """Compare sizes with the weights and with the memory, before any of it is taken."""
    if torch.get_default_device().type == "meta":
        return
    files = weight_files(Path(name)) if pretrained and Path(name).is_dir() else ()
    with plain_errors(name), quiet(), torch.device("meta"), generators_kept():
        try:
            described = build_hf(config, task)
        except RuntimeError:
            return  # some need numbers to be built
    if is_gguf(name):
        refuse_other_sizes(described, name)
    refuse_too_large(described, files, name)


def build_hf(config: PreTrainedConfig, task: str) -> PreTrainedModel:
    """The architecture, untrained; with the low-rank layers that its configuration names."""
    config = copy.deepcopy(config)
    saved = vars(config).pop("quantization_config", None)
    vars(config).pop("transformers_weights", None)
    config.architectures = config.architectures or []
    with _building:
        model = HF_TASKS[task].from_config(config, dtype=torch.float32)
    if saved:
        build_layers(model, saved, config.name_or_path, torch.float32)
    return model


def hf_task(recipe: dict[str, Any]) -> Any:
    """The class that builds what a saved recipe names.

    Raises:
        ValueError: unknown task or model type.
    """
    kind = dict(recipe["config"]).get("model_type")
    if recipe.get("task") not in HF_TASKS or kind not in CONFIG_MAPPING_NAMES:
        raise ValueError(
            f"the saved model names task {recipe.get('task')!r} and model type {kind!r}, unknown "
            "to this version of transformers: update it, or pass model="
        )
    return HF_TASKS[recipe["task"]]


def rebuild_hf(recipe: dict[str, Any]) -> nn.Module:
    """The architecture of a saved recipe, untrained; names in it can't reach the hub.

    Raises:
        ValueError: unknown task or model type.
    """
    hf_task(recipe)
    values = {k: v for k, v in dict(recipe["config"]).items() if k not in LOCAL_KEYS}
    with plain_errors("the saved model"):
        model = build_hf(AutoConfig.for_model(values.pop("model_type"), **values), recipe["task"])
    return set_hf_recipe(model, recipe)


def set_hf_recipe(model: nn.Module, recipe: dict[str, Any]) -> nn.Module:
    """Let a model know what a saved recipe says about it; it has the saved head."""
    set_metadata(model, pclora_head_is_new=False, pclora_recipe=copy.deepcopy(recipe))
    if recipe.get("num_classes") is not None:
        set_metadata(model, num_classes=recipe["num_classes"])
    if "preprocessing" in recipe:
        set_metadata(model, pretrained_cfg=dict(recipe["preprocessing"]))
    return model


def _usual_task(config: PreTrainedConfig, name: str) -> str:
    kind = config.model_type
    heads = {
        "text-classification": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "image-classification": MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        PIXELS: MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES if kind in SEGMENTERS else {},
    }
    saved_as = config.architectures or []
    for task, mapping in heads.items():
        known = mapping.get(kind, ())
        if any(saved in ((known,) if isinstance(known, str) else known) for saved in saved_as):
            return task
    if kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "text-classification"
    if kind == "clip":
        return "image-text"
    if kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "image-classification"
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "language-model"
    if kind in SEGMENTERS:
        return PIXELS
    raise ValueError(
        f"{name!r} is of type {kind!r}, which transformers can't build as a classifier of texts or "
        "images, a language model or CLIP"
    )


def _read_weights(
    name: str, task: str, config: PreTrainedConfig
) -> tuple[PreTrainedModel, set[str]]:
    """The model with its weights, and the names of the heads that are new."""
    place, gguf = gguf_source(name)
    with plain_errors(name), quiet(), _building, unpacking(name) as options:
        model, info = HF_TASKS[task].from_pretrained(
            place,
            config=config,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **gguf,
            **options,
        )
    if gguf:
        as_dense(model)
    absent = {*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])}
    names = classifier_names(model)
    in_head = {key for key in absent if key.split(".")[0] in names}
    if task.endswith("classification") and saved_for_another_task(config, task == _TOKENS):
        # A head for tokens or for choices may have the very shapes of ours.
        in_head |= {key for key, _ in model.named_parameters() if key.split(".")[0] in names}
    rest = sorted(key for key in absent - in_head if "pooler" not in key)
    if rest:
        raise ValueError(
            f"the weights of {name!r} lack {listed(rest, 3)}: they are not those of a "
            f"{type(model).__name__} with this config.json"
        )
    # Numbered parts are layers. GPT-2's older checkpoints hold their attention masks as well.
    spare = sorted(
        key
        for key in info["unexpected_keys"]
        if _is_layer_of(key, model) and not key.endswith((".attn.bias", "masked_bias"))
    )
    if spare:
        raise ValueError(
            f"the weights of {name!r} hold {listed(spare, 3)}, which a {type(model).__name__} with "
            "this config.json does not have: they are another model's"
        )
    if any("pooler" in key for key in absent - in_head):
        draw_head(model.base_model.get_submodule("pooler"), torch.Generator().manual_seed(0))
    return model, {key.rpartition(".")[0] for key in in_head}


def _is_layer_of(key: str, model: PreTrainedModel) -> bool:
    """Whether a tensor is of a numbered layer in a row of layers that the model has too.

    CLIP's whole text side stands beside the weights of its classifier, and is none.
    """
    row = re.split(r"\.\d+\.", key, maxsplit=1)[0]
    if row == key:
        return False
    modules = dict(model.named_modules())
    return row in modules or f"{model.base_model_prefix}.{row}" in modules

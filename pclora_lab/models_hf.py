"""transformers' models: encoders for sequences and images, decoders, CLIP; no code from the hub."""

import contextlib
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import (
    HFValidationError,
    RepositoryNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.utils import logging

from pclora_lab.embedded import draw_head
from pclora_lab.texts import TextPreprocessing

__all__ = ["HF_TASKS", "config_of", "is_hf_name", "load_hf", "load_hf_tokenizer", "reset_hf_head"]

HF_TASKS = {
    "text-classification": AutoModelForSequenceClassification,
    "image-classification": AutoModelForImageClassification,
    "language-model": AutoModelForCausalLM,
    "image-text": AutoModel,
}
_HEADS = ("classifier", "pre_classifier", "score")
_USUAL_TOKENS = 128
# The configurations that transformers has as defaults, so that they are known without a network.
_DEFAULTS = {
    "bert-base-uncased": "bert",
    "distilbert-base-uncased": "distilbert",
    "roberta-base": "roberta",
    "electra-small-discriminator": "electra",
    "gpt2": "gpt2",
    "vit-base-patch16-224": "vit",
    "clip-vit-base-patch32": "clip",
}
# A configuration may name code on the hub in these; none of it is ever fetched or run.
_CODE_KEYS = ("auto_map", "custom_pipelines", "quantization_config")
_LOCAL_KEYS = (
    "_name_or_path", "_attn_implementation", "attn_implementation", "dtype", "torch_dtype",
    *_CODE_KEYS,
)  # fmt: skip
_ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def is_hf_name(name: str) -> bool:
    """``owner/name``, ``config:TYPE``, or a bare name that starts with a model type.

    Example:
        >>> is_hf_name("google-bert/bert-base-uncased"), is_hf_name("bert-base-uncased")
        (True, True)
        >>> is_hf_name("vit_tiny"), is_hf_name("timm/vit_tiny")
        (False, False)
    """
    if name.startswith(("timm/", "hf-hub:", "local-dir:")):
        return False
    is_bare = name in _DEFAULTS or ("-" in name and name.split("-")[0] in CONFIG_MAPPING_NAMES)
    return name.startswith("config:") or name.count("/") == 1 or is_bare


def load_hf(
    name: str,
    *,
    task: str | None = None,
    num_classes: int | None = None,
    tokens: int | None = None,
    pretrained: bool = True,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """One of transformers' models.

    Args:
        name: hub name, ``config:TYPE`` for an untrained model of a type's default size, or a
            folder.
        task: a key of :data:`HF_TASKS`; None takes classification where the type has it.
        num_classes: classes of the head; None keeps the model's own.
        tokens: longest text; None takes 128 or what the model has room for.
        pretrained: False builds the architecture only.
        generator: draws a new head.

    Raises:
        ValueError: unknown type or name, code of its own, pickled or damaged weights, a tokenizer
            that is not the model's, more tokens than it has positions.
        ConnectionError: not in the local cache and the hub can't be reached.
    """
    pretrained = pretrained and not name.startswith("config:")
    config = config_of(name, weights=pretrained)
    attention = {"_attn_implementation": getattr(config, "_attn_implementation", None)}
    refuse_code({**config.to_dict(), **attention}, name)
    task = task or _usual_task(config.model_type, name)
    if task not in HF_TASKS:
        raise ValueError(f"unknown task {task!r}: use one of {', '.join(HF_TASKS)}")
    is_labelled = task.endswith("classification")
    had = config.num_labels if is_labelled else None
    if is_labelled and num_classes is not None and num_classes != had:
        config.num_labels = num_classes
    new: set[str] = set()
    if pretrained:
        model, new = _read_weights(name, task, config)
    else:
        with _plain_errors(name):
            model = build_hf(config, task)
    if is_labelled:
        model.num_classes = config.num_labels
        model.pclora_head_is_new = not pretrained or bool(new)
        if pretrained and not new and (names := named_classes(config)):
            model.pclora_class_names = names
    for head in sorted(new):
        draw_head(model.get_submodule(head), generator)
    recipe: dict[str, Any] = {"library": "transformers", "task": task, "img_size": None}
    recipe["num_classes"] = getattr(model, "num_classes", None)
    if task == "image-classification":
        model.pretrained_cfg = _image_settings(name, config, pretrained)
        recipe["preprocessing"] = model.pretrained_cfg
    else:
        recipe["tokens"] = resolve_tokens(config, tokens)
        if pretrained:
            tokenizer = load_hf_tokenizer(name, model.config)
            model.pclora_text = TextPreprocessing(tokenizer, recipe["tokens"])
    model.pclora_recipe = {**recipe, "config": safe_config(model.config)}
    return model.eval()


def build_hf(config: PreTrainedConfig, task: str) -> nn.Module:
    """The architecture, untrained."""
    return HF_TASKS[task].from_config(config, dtype=torch.float32)


def rebuild_hf(recipe: dict[str, Any]) -> nn.Module:
    """The architecture of a saved recipe, untrained; names in it can't reach the hub.

    Raises:
        ValueError: unknown task or model type.
    """
    values = {k: v for k, v in dict(recipe["config"]).items() if k not in _LOCAL_KEYS}
    kind = values.pop("model_type", None)
    if recipe.get("task") not in HF_TASKS or kind not in CONFIG_MAPPING_NAMES:
        raise ValueError(
            f"the saved model names task {recipe.get('task')!r} and model type {kind!r}, unknown "
            "to this version of transformers: update it, or pass model="
        )
    with _plain_errors("the saved model"):
        model = build_hf(AutoConfig.for_model(kind, **values), recipe["task"])
    model.pclora_head_is_new = False
    if recipe.get("num_classes") is not None:
        model.num_classes = recipe["num_classes"]
    if "preprocessing" in recipe:
        model.pretrained_cfg = dict(recipe["preprocessing"])
    return model


def safe_config(config: PreTrainedConfig) -> dict[str, Any]:
    """A configuration as plain values, without anything that names a place or code."""
    return {key: value for key, value in config.to_dict().items() if key not in _LOCAL_KEYS}


def refuse_code(config: dict[str, Any], name: str) -> None:
    """Refuse models that come with code of their own, or with weights in packed formats.

    Raises:
        ValueError: names what was found.
    """
    if config.get("auto_map") or config.get("custom_pipelines"):
        raise ValueError(
            f"{name!r} brings Python code of its own (auto_map in its config.json, "
            "trust_remote_code), which is never run here: take a model whose architecture is part "
            "of transformers"
        )
    for key in ("_attn_implementation", "attn_implementation"):
        if config.get(key) not in _ATTENTION:
            raise ValueError(
                f"{name!r} asks for {key} {config[key]!r}, a kernel that would be fetched from the "
                "hub and run: remove the line from its config.json"
            )
    if config.get("quantization_config"):
        raise ValueError(
            f"{name!r} is quantised: its packed weights have no matrices to factorise; take the "
            "unquantised model"
        )


def config_of(name: str, *, weights: bool = True) -> PreTrainedConfig:
    """The configuration behind a name; well-known ones are there without a network.

    Raises:
        ValueError: see :func:`load_hf`.
        ConnectionError: see :func:`load_hf`.
    """
    kind = name.removeprefix("config:") if name.startswith("config:") else None
    if not weights and kind is None:
        kind = _DEFAULTS.get(name.rpartition("/")[2])
    if kind is None:
        with _plain_errors(name):
            return AutoConfig.from_pretrained(name, trust_remote_code=False)
    if kind not in CONFIG_MAPPING_NAMES:
        raise ValueError(f"unknown model type {kind!r}: bert, roberta, gpt2, vit, clip are some")
    config = AutoConfig.for_model(kind)
    if kind == "roberta":
        config.update({"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1})
    return config


def _usual_task(kind: str, name: str) -> str:
    if kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "text-classification"
    if kind == "clip":
        return "image-text"
    if kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "image-classification"
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "language-model"
    raise ValueError(
        f"{name!r} is of type {kind!r}, which transformers can't build as a classifier of texts or "
        "images, a language model or CLIP"
    )


def _read_weights(name: str, task: str, config: PreTrainedConfig) -> tuple[nn.Module, set[str]]:
    """The model with its weights, and the names of the heads that are new."""
    with _plain_errors(name), _quietly():
        model, info = HF_TASKS[task].from_pretrained(
            name,
            config=config,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    absent = {*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])}
    heads = {key.rpartition(".")[0] for key in absent if key.split(".")[0] in _HEADS}
    rest = sorted(key for key in absent if key.split(".")[0] not in _HEADS and "pooler" not in key)
    if rest:
        raise ValueError(
            f"the weights of {name!r} lack {', '.join(rest[:3])}"
            f"{' and more' if len(rest) > 3 else ''}: they are not those of a "
            f"{type(model).__name__} with this config.json"
        )
    # Numbered parts are layers. GPT-2's older checkpoints hold their attention masks as well.
    spare = sorted(
        key
        for key in info["unexpected_keys"]
        if re.search(r"\.\d+\.", f".{key}") and not key.endswith((".attn.bias", "masked_bias"))
    )
    if spare:
        raise ValueError(
            f"the weights of {name!r} hold {', '.join(spare[:3])}"
            f"{' and more' if len(spare) > 3 else ''}, which a {type(model).__name__} with this "
            "config.json does not have: they are another model's"
        )
    if any("pooler" in key for key in absent):
        draw_head(model.base_model.pooler, torch.Generator().manual_seed(0))
    return model, heads


@contextlib.contextmanager
def _quietly() -> Any:
    """transformers prints bars and a table, in whichever notebook cell happens to run."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _plain_errors(name: str) -> Any:
    """transformers raises OSError for whatever it can't find; say which it was."""
    try:
        yield
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {name!r} can't be read ({error}): the file is damaged or cut short; "
            "fetch it again"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(f"unknown model {name!r}: the hub has no such model") from error
    except OSError as error:
        if isinstance(error.__cause__, RepositoryNotFoundError):
            raise ValueError(
                f"unknown model {name!r}: the hub has no such model, or it is private"
            ) from error
        if "safetensors" in str(error):
            raise ValueError(
                f"{name!r} has no safetensors weights: pickled weights are refused because "
                f"loading them can run code ({error})"
            ) from error
        raise ConnectionError(
            f"{name!r} is not on this machine and the hub can't be reached. Offline, use an "
            "embedded model, a folder, or a model that is in the local cache. "
            f"({error})"
        ) from error
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ValueError(f"{name!r} can't be loaded: {error}") from error


def resolve_tokens(config: PreTrainedConfig, wanted: int | None) -> int:
    """Longest text in tokens: as wanted, else 128 or as many as there are positions.

    Raises:
        ValueError: more than there are positions.
    """
    text = getattr(config, "text_config", config)
    positions = getattr(text, "max_position_embeddings", None) or _USUAL_TOKENS
    if text.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= (text.pad_token_id or 0) + 1  # theirs start after the padding number
    if wanted is not None and wanted > positions:
        raise ValueError(
            f"max_tokens is {wanted}, but {text.model_type} here has {positions} positions: use "
            f"at most {positions}; longer texts are cut"
        )
    return wanted or min(_USUAL_TOKENS, positions)


def load_hf_tokenizer(place: str, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model; a configuration without a padding token gets its own.

    Raises:
        ValueError: there is none, or its vocabulary is not the model's.
    """
    folder = Path(place)
    if folder.is_dir() and not any(
        (folder / n).is_file() for n in ("tokenizer.json", "vocab.txt", "vocab.json")
    ):
        raise ValueError(
            f"{folder} has no tokenizer (tokenizer.json or vocab.txt): save the model's own there, "
            "tokenizer.save_pretrained(folder)"
        )
    if (folder / "tokenizer.json").is_file():
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        # The reader behind it raises bare exceptions of its own.
        except Exception as error:
            raise ValueError(f"{folder / 'tokenizer.json'} can't be read: {error}") from error
    else:
        with _plain_errors(place):
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    check_tokenizer(tokenizer, config, place)
    return tokenizer


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, place: str
) -> None:
    """Refuse a vocabulary of another size; give padding a token where there is none.

    Raises:
        ValueError: names both sizes.
    """
    text = getattr(config, "text_config", config)
    words, rows = len(tokenizer), text.vocab_size
    # Some models round their embedding up; none has twice the words that it needs.
    if words > rows or words < rows / 2:
        raise ValueError(
            f"the tokenizer of {place!r} does not match the model: it has {words:,} words, the "
            f"model's embedding {rows:,} rows. Put the tokenizer there that the model was trained "
            "with"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if text.pad_token_id is None:
        text.pad_token_id = tokenizer.pad_token_id


def _image_settings(name: str, config: PreTrainedConfig, pretrained: bool) -> dict[str, Any]:
    """timm's words for what transformers' image processor does."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    settings = {
        "input_size": (config.num_channels, height, width),
        "mean": (0.5,) * config.num_channels,
        "std": (0.5,) * config.num_channels,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "num_classes": config.num_labels,
        "classifier": "classifier",
    }
    if not pretrained:
        return settings
    from transformers import AutoImageProcessor

    try:
        with _plain_errors(name):
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except (ValueError, ConnectionError) as error:
        raise ValueError(
            f"{name!r} has no preprocessor_config.json, so mean and deviation of its pixels are "
            "not known: save the model's image processor there, processor.save_pretrained(folder)"
        ) from error
    settings |= {"mean": tuple(processor.image_mean), "std": tuple(processor.image_std)}
    if int(processor.resample or 2) == 3:
        settings["interpolation"] = "bicubic"
    return settings


def named_classes(config: PreTrainedConfig) -> tuple[str, ...] | None:
    """The names a classifier was saved with; None where they are transformers' LABEL_0, LABEL_1."""
    names = tuple(str(name) for _, name in sorted((config.id2label or {}).items()))
    return None if all(name.startswith("LABEL_") for name in names) else names


def name_classes(model: nn.Module, names: tuple[str, ...]) -> None:
    """Write the names of the classes into the configuration, also into the one that is saved."""
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
    model.pclora_recipe["config"] = safe_config(model.config)


def reset_hf_head(model: nn.Module, num_classes: int, generator: torch.Generator | None) -> None:
    """A new last layer for another number of classes, in place."""
    name = next(n for n, m in reversed(list(model.named_modules()))
                if isinstance(m, nn.Linear) and n.split(".")[0] in _HEADS)  # fmt: skip
    parent, _, child = name.rpartition(".")
    old = model.get_submodule(name)
    head = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    draw_head(head, generator)
    setattr(model.get_submodule(parent), child, head.to(old.weight.device))
    model.config.num_labels = model.num_classes = num_classes
    model.pclora_recipe["config"] = safe_config(model.config)
    model.pclora_head_is_new = True

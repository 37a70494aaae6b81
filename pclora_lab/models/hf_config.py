"""transformers' configurations: found by name, without code, kernels or places on the hub."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from pclora_lab.models.hf.gguf import gguf_config
from pclora_lab.models.hf.gguf_header import is_gguf
from pclora_lab.models.saved_layers import METHOD, check_config

__all__ = [
    "LOCAL_KEYS",
    "config_in",
    "config_of",
    "is_hf_name",
    "named_classes",
    "plain_errors",
    "refuse_code",
    "refuse_other_tasks",
    "saved_for_another_task",
    "resolve_tokens",
    "safe_config",
]

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


LOCAL_KEYS = (
    "_name_or_path", "_attn_implementation", "attn_implementation", "dtype", "torch_dtype",
    "transformers_weights", *_CODE_KEYS,
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


def config_of(name: str, *, weights: bool = True) -> PreTrainedConfig:
    """The configuration behind a name; well-known ones are there without a network.

    Raises:
        ValueError: see :func:`load_hf`.
        ConnectionError: see :func:`load_hf`.
        ImportError: see :func:`load_hf`.
    """
    if is_gguf(name):
        return gguf_config(name)
    kind = name.removeprefix("config:") if name.startswith("config:") else None
    if not weights and kind is None and not Path(name).is_dir():
        kind = _DEFAULTS.get(name.rpartition("/")[2])
    if kind is None:
        with plain_errors(name):
            # Before transformers makes lists and names as long as a number in it says.
            values, _ = PreTrainedConfig.get_config_dict(name)
            check_config(values, f"config.json of {name!r}")
            return AutoConfig.from_pretrained(name, trust_remote_code=False)
    if kind not in CONFIG_MAPPING_NAMES:
        raise ValueError(f"unknown model type {kind!r}: bert, roberta, gpt2, vit, clip are some")
    config = AutoConfig.for_model(kind)
    if kind == "roberta":
        config.update({"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1})
    return config


def config_in(model: nn.Module) -> PreTrainedConfig:
    """The configuration that a model carries.

    Raises:
        ValueError: the model is not transformers'.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, PreTrainedConfig):
        raise ValueError(f"{type(model).__name__} is not transformers': it has no configuration")
    return config


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
    packed = config.get("quantization_config")
    if packed and not (isinstance(packed, dict) and packed.get("quant_method") == METHOD):
        raise ValueError(
            f"{name!r} is quantized: its packed weights have no matrices to factorize; take the "
            "unquantized model"
        )


def refuse_other_tasks(
    config: PreTrainedConfig, num_classes: int | None, name: str, wanted: str | None = None
) -> None:
    """Refuse a head that gives no classes that exclude each other.

    Args:
        config: of the model as it was saved.
        num_classes: that are wanted; None keeps the head, another number than its own replaces it.
        name: for the error.
        wanted: the ``problem_type`` that a head is for, where that is no choice of one class.
            Nothing is refused then; of a head for something else the type is taken away.

    Raises:
        ValueError: regression or several labels at once, and what to do.
    """
    kept = num_classes in (None, config.num_labels)
    problem = config.problem_type
    if problem is None and config.num_labels == 1:
        problem = "regression"
    if wanted is not None:
        config.problem_type = problem if kept and problem == wanted else None
        return
    if not kept:
        config.problem_type = None
        return
    if problem in (None, "single_label_classification"):
        return
    cure = "pass another num_classes for a new head on its body"
    if config.num_labels > 1:
        cure += (
            ', or write "problem_type": "single_label_classification" there if its labels exclude '
            "each other"
        )
    raise ValueError(
        f"{name!r} was trained for {problem.replace('_', ' ')} (num_labels {config.num_labels}, "
        f"problem_type {config.problem_type!r} in its config.json), and its head can't choose one "
        f"class of several: {cure}"
    )


def saved_for_another_task(config: PreTrainedConfig, is_tokens: bool = False) -> bool:
    """Whether a checkpoint has a head, and not one that classifies whole texts or images.

    Args:
        config: as it was saved.
        is_tokens: whether a head for tokens is wanted instead.

    Example:
        >>> from transformers import BertConfig
        >>> saved_for_another_task(BertConfig(architectures=["BertForTokenClassification"]))
        True
        >>> saved_for_another_task(BertConfig(architectures=["BertForSequenceClassification"]))
        False
    """
    heads = [name.rpartition("For")[2] for name in config.architectures or () if "For" in name]
    whole = ("SequenceClassification", "ImageClassification")
    ours = ("TokenClassification",) if is_tokens else whole
    return bool(heads) and not any(head.startswith(ours) for head in heads)


def safe_config(config: PreTrainedConfig) -> dict[str, Any]:
    """A configuration as plain values, without anything that names a place or code."""
    return {key: value for key, value in config.to_dict().items() if key not in LOCAL_KEYS}


def named_classes(config: PreTrainedConfig) -> tuple[str, ...] | None:
    """The names a classifier was saved with; None where they are transformers' LABEL_0, LABEL_1."""
    labels = config.id2label or {}
    names = tuple(str(name) for _, name in sorted(labels.items()))
    # Other numbers than 0, 1, … do not say which output they mean.
    is_plain = sorted(labels) == list(range(config.num_labels)) and len(set(names)) == len(names)
    return None if not is_plain or all(n.startswith("LABEL_") for n in names) else names


def resolve_tokens(model: nn.Module, wanted: int | None) -> int:
    """Longest text in tokens: as wanted, else 128 or as many as there are positions.

    Raises:
        ValueError: more than there are positions.
    """
    text = getattr(config_in(model), "text_config", config_in(model))
    positions = getattr(text, "max_position_embeddings", None) or 0
    for name, table in model.named_modules():
        is_table = isinstance(table, nn.Embedding) and name.endswith("position_embeddings")
        if is_table and table.padding_idx is not None:
            positions -= table.padding_idx + 1  # RoBERTa's begin behind the padding's number
            break
    if wanted is not None and 0 < positions < wanted:
        raise ValueError(
            f"max_tokens is {wanted}, but {text.model_type} here has {positions} positions: use "
            f"at most {positions}; longer texts are cut"
        )
    # Models with relative positions, as T5 and XLNet, say none or -1.
    return wanted or (min(_USUAL_TOKENS, positions) if positions > 0 else _USUAL_TOKENS)


@contextlib.contextmanager
def plain_errors(name: str) -> Iterator[None]:
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
        if "valid JSON" in str(error):
            raise ValueError(
                f"config.json of {name!r} can't be read ({error}): the file is damaged or cut "
                "short; delete it and fetch the model again"
            ) from error
        if "safetensors" in str(error):
            raise ValueError(
                f"{name!r} has no safetensors weights: pickled weights are refused because "
                f"loading them can run code ({error})"
            ) from error
        raise ConnectionError(
            f"{name!r} is not on this machine and the hub can't be reached. Offline, use a "
            "built-in model, a folder, or a model that is in the local cache. "
            f"({error})"
        ) from error
    except (
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
        RuntimeError, ImportError, StrictDataclassError,
    ) as error:  # fmt: skip
        raise ValueError(f"{name!r} can't be loaded: {error}") from error

"""GGUF, llama.cpp's format: weights, configuration and tokenizer in one file.

transformers opens it and makes float32 of whatever the weights were rounded to. Kernels that work
on packed weights, which transformers would fetch from the hub, are never asked for.
"""

import contextlib
import functools
import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.utils import quantization_config

from pclora_lab.json_files import to_json
from pclora_lab.models.hf.gguf_header import GgufHeader, gguf_source, is_gguf, read_header
from pclora_lab.models.saved_layers import check_config

__all__ = ["as_dense", "gguf_config", "own_tokens", "refuse_other_sizes", "unpacking"]


def gguf_config(name: str) -> PreTrainedConfig:
    """The configuration in a GGUF file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the package gguf is missing.
        ValueError: a damaged file, a number that is a typo, or a kind of model that transformers
            does not read from GGUF.
    """
    header = read_header(Path(name))
    _require_gguf(name)
    _require_whole(name, header)
    folder, file = gguf_source(name)
    try:
        values, _ = PreTrainedConfig.get_config_dict(folder, **file)
    # Its readers raise whatever they stumble over.
    except Exception as error:
        raise ValueError(_unreadable(name, header, error)) from error
    values = {key: value for key, value in values.items() if not key.startswith("_")}
    check_config(values, f"the header of {name!r}")
    try:
        return AutoConfig.for_model(values.pop("model_type"), **values)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(_unreadable(name, header, error)) from error


def _require_gguf(name: str) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise ImportError(
            f"{name!r} is a GGUF file, and reading one needs gguf, which is not installed: "
            "pip install 'pclora-lab[gguf]', or gguf"
        )


def _require_whole(name: str, header: GgufHeader) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    for tensor in header.tensors.values():
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError):
            continue  # a newer kind, of which transformers says something
        end = header.end + tensor.offset + math.prod(tensor.shape) // block * size
        if end > header.size:
            raise ValueError(
                f"{name!r} is cut short: its tensors go on to byte {end:,}, and it has "
                f"{header.size:,}. Fetch it again"
            )


def _unreadable(name: str, header: GgufHeader, error: Exception) -> str:
    return (
        f"{name!r} holds a model of architecture {header.architecture!r}, which transformers "
        f"{transformers.__version__} can't read from GGUF ({error}): take the same model as a "
        "folder, or from the hub, with config.json and safetensors weights"
    )


def refuse_other_sizes(described: Any, name: str) -> None:
    """Refuse a configuration of another size than the weights in the same file.

    Args:
        described: the architecture on the meta device.
        name: of the file.

    Raises:
        ValueError: names both numbers.
    """
    header = read_header(Path(name))
    held, config = header.elements, described.config
    layers = getattr(getattr(config, "text_config", config), "num_hidden_layers", header.blocks)
    if header.blocks > layers:
        raise ValueError(
            f"the header of {name!r} describes {layers} blocks, its tensors are of {header.blocks}"
            ": it was edited, or is another model's. Fetch it again"
        )
    wanted = sum(parameter.numel() for parameter in described.parameters())
    # A new head may come on top.
    if wanted > 2 * held + 2**20:
        raise ValueError(
            f"the header of {name!r} describes {wanted:,} numbers, its tensors hold {held:,}: it "
            "was edited, or is another model's. Fetch it again"
        )


@contextlib.contextmanager
def unpacking(name: str) -> Iterator[dict[str, Any]]:
    """What ``from_pretrained`` is told besides, so that all weights are plain numbers.

    Args:
        name: of a model; nothing is told of one that is no GGUF file.
    """
    if not is_gguf(name):
        yield {}
        return
    from transformers import modeling_gguf_pytorch_utils as reading  # nothing else needs it

    # An earlier version of transformers knows no packed layers, and has nothing to be told.
    packed = getattr(quantization_config, "GgufConfig", None)
    bar = reading.tqdm
    # Its bar knows no switch, and would be drawn into whichever notebook cell happens to run.
    reading.tqdm = functools.partial(bar, disable=True)
    try:
        yield {} if packed is None else {"quantization_config": packed(dequantize=True)}
    finally:
        reading.tqdm = bar


def as_dense(model: Any) -> None:
    """Let a model forget that its weights were packed once: they are float32 now."""
    for owner, names in (
        (model, ("hf_quantizer", "is_quantized", "quantization_method")),
        (model.config, ("quantization_config", "_pre_quantization_dtype")),
    ):
        for name in names:
            vars(owner).pop(name, None)


def own_tokens(tokenizer: Any, rows: int) -> Any:
    """A tokenizer without the tokens that the file does not have.

    transformers adds one for what is unknown. Where every byte is a token nothing is, and the
    model's embedding has no row for it.

    Args:
        tokenizer: as transformers read it from a GGUF file.
        rows: of the model's embedding.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    spare = [token for token in rules["added_tokens"] if token["id"] >= rows]
    if not spare:
        return tokenizer
    rules["added_tokens"] = [token for token in rules["added_tokens"] if token["id"] < rows]
    gone = {token["content"] for token in spare}
    named = {name: word for name, word in tokenizer.special_tokens_map.items() if word not in gone}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(to_json(rules)),
        model_max_length=tokenizer.model_max_length,
        **named,
    )
    made.chat_template = tokenizer.chat_template
    return made

"""``from_pretrained(…, quantization_config=…)`` for folders with low-rank layers.

transformers knows replaced layers as a kind of quantization (:mod:`pclora_lab.models.hf_quantizer`)
and allows one kind only. Here the other kind, bitsandbytes' or torchao's, gets its turn after the
low-rank layers stand: it sees two ordinary linear layers in each of them.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, AutoHfQuantizer
from transformers.quantizers.base import HfQuantizer

from pclora_lab.models.hf_quantizer import LowRankQuantizer, SavedLayers
from pclora_lab.models.saved_layers import METHOD

__all__ = ["allow_quantization"]

# What low-rank layers need of transformers, in the order in which it happens.
_STEPS = (
    "update_attn_implementation",
    "_process_model_before_weight_loading",
    "_process_model_after_weight_loading",
)


def allow_quantization() -> None:
    """Let whoever opens low-rank layers quantize them as well."""
    merge = AutoHfQuantizer.merge_quantization_configs
    AutoHfQuantizer.merge_quantization_configs = classmethod(_merging(merge))
    AUTO_QUANTIZER_MAPPING[METHOD] = _quantizer


def _merging(merge: Callable[..., Any]) -> Callable[..., Any]:
    """A method that keeps the quantization asked for beside what the folder says."""

    @functools.wraps(merge)
    def merged(cls: type, quantization_config: Any, quantization_config_from_args: Any) -> Any:
        own, asked = quantization_config, quantization_config_from_args
        is_ours = isinstance(own, Mapping) and own.get("quant_method") == METHOD
        if not is_ours or asked is None:
            return merge(own, asked)
        saved = SavedLayers.from_dict(dict(own))
        vars(saved)["asked"] = asked
        return saved

    return merged


def _quantizer(config: SavedLayers, **kwargs: Any) -> HfQuantizer:
    """What puts low-rank layers into a model, and quantizes them if that was asked for."""
    layers, asked = LowRankQuantizer(config, **kwargs), vars(config).get("asked")
    if asked is None:
        return layers
    quantizer = AutoHfQuantizer.from_config(asked, pre_quantized=False)
    for step in _STEPS:
        vars(quantizer)[step] = _both(getattr(layers, step), getattr(quantizer, step))
    return quantizer


def _both(first: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    def run(given: Any, **kwargs: Any) -> Any:
        first(given, **kwargs)
        return then(given, **kwargs)

    return run

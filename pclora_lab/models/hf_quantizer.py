"""``from_pretrained`` of transformers, for folders whose low-rank layers are this package's.

What transformers calls a quantizer may replace modules before the weights are read. That is all
this one does; the model that comes out is not quantized.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import modeling_utils
from transformers.quantizers.auto import (
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from pclora_lab.models.hf_saving import saving_what_was_replaced, student_format
from pclora_lab.models.saved_layers import METHOD, check_tensors, empty_layers
from pclora_lab.models.weights import check_weights
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.nn.split_qkv import SplitLinear
from pclora_lab.nn.surgery import get_linear, replace_modules

__all__ = ["LowRankQuantizer", "SavedLayers", "build_layers", "register"]


def register() -> None:
    """Let transformers' ``save_pretrained`` and ``from_pretrained`` know replaced layers."""
    if METHOD in AUTO_QUANTIZER_MAPPING:
        return
    register_quantization_config(METHOD)(SavedLayers)
    register_quantizer(METHOD)(LowRankQuantizer)
    # On the class: a model may be a copy, unpickled, or a part of the one that was compressed.
    base = modeling_utils.PreTrainedModel
    base.save_pretrained = saving_what_was_replaced(base.save_pretrained)


class SavedLayers(QuantizationConfigMixin):
    """What config.json says under ``quantization_config``.

    Args:
        saved: as :func:`pclora_lab.models.saved_layers.describe_layers` wrote it.
    """

    def __init__(self, **saved: Any) -> None:
        self.quant_method = METHOD
        self.saved = saved

    def to_dict(self) -> dict[str, Any]:
        """As it stands in config.json."""
        return {**self.saved, "quant_method": METHOD}


class LowRankQuantizer(HfQuantizer):
    """Puts empty low-rank layers where the folder has such, before its weights are read."""

    quantization_config: SavedLayers

    def update_attn_implementation(self, config: Any) -> Any:
        """Take away what stops everybody else; called with the configuration before all else."""
        vars(config).pop("transformers_weights", None)
        return config

    # The same step by the name that it has in transformers 5.0.
    update_tp_plan = update_attn_implementation

    def update_ep_plan(self, config: Any) -> Any:
        """Nothing to do."""
        return config

    def _process_model_before_weight_loading(
        self, model: Any, checkpoint_files: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        saved, folder = self.quantization_config.saved, str(model.config.name_or_path)
        student = student_format(saved, folder)
        files = list(checkpoint_files or ())
        if files and saved.get("tensors") is not None:
            check_tensors(files, saved["tensors"])
        build_layers(model, saved, folder, model.config.dtype)
        if student is not None:
            present = dict(model.named_modules())
            student.build(
                model, saved["student"], lambda names: _own_names(model, present, names, folder)
            )
            _keep_precisions(model, saved, folder, model.config.dtype)
        check_weights(files, saved)

    def postprocess_model(self, model: Any, **kwargs: Any) -> None:
        """The layers are an ordinary part of the model now."""
        for owner, name in (
            (model, "hf_quantizer"),
            (model, "is_quantized"),
            (model, "quantization_method"),
            (model.config, "quantization_config"),
            (model.config, "_pre_quantization_dtype"),
        ):
            vars(owner).pop(name, None)
        self._process_model_after_weight_loading(model)

    def _process_model_after_weight_loading(self, model: Any) -> None:
        saved = self.quantization_config.saved
        student = student_format(saved, str(model.config.name_or_path))
        if student is not None:
            student.finish(model)
        set_metadata(model, pclora_method=saved.get("method"))
        if saved.get("pela") is not None:
            set_metadata(model, pela=saved["pela"])
        if saved.get("class_names"):
            set_metadata(model, pclora_class_names=tuple(saved["class_names"]))

    def is_serializable(self) -> bool:
        """Yes, as every model with replaced layers."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Yes, all its parameters are floating-point numbers."""
        return True


def build_layers(
    model: Any, saved: Mapping[str, Any], folder: str, dtype: torch.dtype | None = None
) -> None:
    """Put empty layers into a dense model of transformers, in place.

    Args:
        model: of the class that was saved, its base model, or another class around that.
        saved: what stands under ``quantization_config``.
        folder: where it was read, for errors.
        dtype: that the weights will have; None takes torch's default.

    Raises:
        ValueError: a layer that the model lacks, or a rank that is none.
    """
    modules = dict(model.named_modules())
    splits = _own_names(model, modules, saved.get("split_layers", ()), folder)
    # A model that was built from a recipe has them split already.
    left = [name for name in splits.values() if not isinstance(modules[name], SplitLinear)]
    fused = {name: get_linear(model, name) for name in left}
    replace_modules(model, {n: SplitLinear(m.weight, m.bias) for n, m in fused.items()})
    modules = dict(model.named_modules())
    names = _own_names(model, modules, saved["ranks"], folder)
    own = {
        "ranks": {names[name]: rank for name, rank in saved["ranks"].items() if name in names},
        "without_bias": [names[name] for name in saved.get("without_bias", ()) if name in names],
    }
    replace_modules(model, empty_layers(model, own, folder, dtype))
    if not saved.get("unfinished"):
        _keep_precisions(model, saved, folder, dtype)


def _keep_precisions(
    model: Any, saved: Mapping[str, Any], folder: str, dtype: torch.dtype | None
) -> None:
    """Give each tensor the precision that it was saved in, unless another one was asked for."""
    if str(dtype).removeprefix("torch.") == saved.get("dtype"):
        _set_dtypes(model, saved.get("dtypes", {}), folder)


def _own_names(
    model: Any, present: Collection[str], saved: Iterable[str], folder: str
) -> dict[str, str]:
    """Saved names, and what they are in this class, which may be the base model alone, or more.

    What stands in a head that this class does not have is left out, as transformers does it.
    """
    prefix = f"{model.base_model_prefix}."
    is_other = type(model).__name__ not in (model.config.architectures or ())
    found: dict[str, str] = {}
    for name in saved:
        spellings = (name, name.removeprefix(prefix), prefix + name)
        own = next((spelling for spelling in spellings if spelling in present), None)
        if own is not None:
            found[name] = own
        elif name.startswith(prefix) or not is_other:
            raise ValueError(f"{folder} names layer {name!r}, which the architecture does not have")
    return found


def _set_dtypes(model: nn.Module, dtypes: Mapping[str, str], folder: str) -> None:
    """Give tensors the precision that they have beside the model's own."""
    for name, own in _own_names(model, model.state_dict(), dtypes, folder).items():
        dtype = getattr(torch, str(dtypes[name]), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{folder} names precision {dtypes[name]!r} for {name}: there is none")
        parent, _, child = own.rpartition(".")
        module = model.get_submodule(parent)
        tensor = getattr(module, child)
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(child, nn.Parameter(tensor.detach().to(dtype)))
        else:
            module.register_buffer(child, tensor.to(dtype))

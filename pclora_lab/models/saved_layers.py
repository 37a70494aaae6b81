"""What a saved model's config.json says about its layers, and the layers that it stands for."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.ranks import check_rank
from pclora_lab.nn.split_qkv import SplitLinear
from pclora_lab.nn.surgery import get_linear, is_linear
from pclora_lab.schema import (
    anything,
    listed,
    mapping,
    number,
    one_of_kinds,
    optional,
    record,
    switch,
    text,
    whole,
)

__all__ = [
    "FORMAT",
    "METHOD",
    "NOTICE",
    "VERSION",
    "check_config",
    "check_saved",
    "check_sizes",
    "check_tensors",
    "describe_layers",
    "empty_layers",
    "low_rank_layers",
    "refuse_export",
    "refuse_low_rank",
    "refuse_too_large",
    "shapes_in",
    "weight_files",
]

LowRank = LowRankLinear | LowRankEmbedding

FORMAT = "pclora_lab.compressed"

# 3: a low-rank layer is two linear layers, down and up.
VERSION = 3

METHOD = "pclora_lab"
"""By it transformers knows these layers, as a kind of quantization; timm, as an architecture."""

NOTICE = (
    "none, as transformers alone does not know the low-rank layers of this model and would draw "
    "new weights for them. Install pclora-lab, `import pclora_lab`, and load it again"
)
"""Stands where transformers looks for the name of a weights file, so that it stops there."""


# Beyond these a number is a typo or an attack, and would take the machine's memory.
LARGEST_RANK, _MOST_LAYERS, _LARGEST_SIZE = 2**16, 512, 2**22


_REPEATED = ("layers", "layer", "depth", "blocks")


def _limit(name: str) -> int:
    """The largest whole number that a configuration may have under a name."""
    if "vocab" not in name and any(part in name for part in _REPEATED):
        return _MOST_LAYERS
    if "position" in name:  # of relative ones there may be any number
        return 2**31
    is_size = name.endswith(("size", "sizes", "dim", "dims", "embd", "embeddings", "positions"))
    return _LARGEST_SIZE if is_size or name.startswith(("num_", "n_", "d_")) else 2**63 - 1


# Numbers that a new head or missing buffers may add.
_SLACK = 2**26

_CONFIG = anything(_limit)

_side = whole(1, _LARGEST_SIZE)
_names = listed(text())
_SAVED = record(
    {
        "model": optional(record({}, {
            "library": text(),
            "architecture": text(),
            "head": text(),
            "head_detail": whole(1, 64),
            "task": text(),
            "problem": text(),
            "num_classes": optional(whole(0, 2**20)),
            "img_size": optional(one_of_kinds(_side, listed(_side), expected="a side in pixels")),
            "width": optional(whole(1, 2**16)),
            "tokens": optional(_side),
            "split_qkv": switch,
            "token_types": switch,
            "preprocessing": record({}, {
                "input_size": listed(_side), "mean": listed(number), "std": listed(number),
                "interpolation": text(), "crop_pct": number, "crop_mode": text(),
            }),
            "options": anything(_limit),
            "config": anything(_limit),
        })),
        "ranks": mapping(whole(1, LARGEST_RANK)),
    },
    {
        "without_bias": _names,
        "split_layers": _names,
        "method": optional(record({}, {"name": text()})),
        "pela": optional(anything(_limit)),
        "class_names": optional(_names),
        "tensors": optional(mapping(text())),
        "dtypes": mapping(text()),
        "architectures": optional(_names),
        "checksums": optional(mapping(text())),
    },
)  # fmt: skip


def check_saved(config: Mapping[str, Any], place: str) -> None:
    """Refuse a saved model's config.json that holds what none of its fields can have.

    Args:
        config: what it says, as :func:`describe_layers` and a recipe write it.
        place: the file, for errors.

    Raises:
        ValueError: names the place, the value and what it must be.
    """
    _SAVED(place, config)


def check_config(config: Mapping[str, Any], place: str) -> None:
    """Refuse a foreign config.json with a number that is a typo, before anything is built of it.

    Args:
        config: of transformers or timm.
        place: the file, for the error.

    Raises:
        ValueError: names the place, the value and the largest.
    """
    _CONFIG(place, config)


def refuse_too_large(model: nn.Module, files: Iterable[Path | str], name: str) -> None:
    """Refuse an architecture that is far larger than its weights, or than this machine's memory.

    Args:
        model: on the meta device.
        files: its weights; none where it has none, or where they are on the hub.
        name: of the model, for the error.

    Raises:
        ValueError: says how large it is, and what is smaller.
    """
    state = model.state_dict()
    elements = sum(tensor.numel() for tensor in state.values())
    stored = shapes_in(files)
    held = sum(math.prod(map(int, s.split("x"))) for s in stored.values() if s != "scalar")
    if stored and elements > 2 * held + _SLACK:
        odd = [key for key, t in state.items() if stored.get(key) != "x".join(map(str, t.shape))]
        largest = max(odd, key=lambda key: state[key].numel())
        raise ValueError(
            f"the config.json of {name!r} describes {elements:,} numbers, its weights hold "
            f"{held:,}: {largest} would be {'x'.join(map(str, state[largest].shape))} and is "
            f"{stored.get(largest, 'missing')}. One of the two was edited, or is another model's"
        )
    needed, memory = elements * 4, psutil.virtual_memory().total
    if needed > memory:
        raise ValueError(
            f"{name!r} takes {needed / 1e9:,.0f} GB in float32, and this machine has "
            f"{memory / 1e9:,.0f} GB: take a smaller one, or correct its sizes"
        )


def check_sizes(model: nn.Module, files: Iterable[Path | str], folder: Path | str) -> None:
    """Compare what a config.json describes with the headers of its weights, before it is built.

    Args:
        model: the architecture with its low-rank layers, on the meta device.
        files: the weights.
        folder: of both, for the error.

    Raises:
        ValueError: names the first tensor that has another shape.
    """
    found = shapes_in(files)
    for name, tensor in model.state_dict().items():
        told = "x".join(map(str, tensor.shape)) or "scalar"
        if found.get(name, told) != told:
            raise ValueError(
                f"the tensors in {folder} do not fit the architecture of its config.json: {name} "
                f"is {found[name]} and should be {told}. One of the two was edited, or is another "
                "model's: save the model again, or fetch the whole folder again"
            )


def low_rank_layers(model: nn.Module) -> dict[str, LowRank]:
    """A finished model's low-rank layers and tables by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LowRank)}


def describe_layers(model: nn.Module) -> dict[str, Any]:
    """What has to be built before a finished model's weights fit: plain types, ready for JSON."""
    layers = low_rank_layers(model)
    split = [name for name, m in model.named_modules() if isinstance(m, SplitLinear)]
    return {
        "format": FORMAT,
        "version": VERSION,
        "ranks": {name: layer.rank for name, layer in sorted(layers.items())},
        "without_bias": [
            name for name, layer in sorted(layers.items()) if getattr(layer, "C", 0) is None
        ],
        **({"split_layers": sorted(split)} if split else {}),
        "method": getattr(model, "pclora_method", None),
        "pela": getattr(model, "pela", None),
        "class_names": list(getattr(model, "pclora_class_names", None) or ()) or None,
    }


def empty_layers(
    model: nn.Module,
    saved: Mapping[str, Any],
    folder: Path | str,
    dtype: torch.dtype | None = torch.float32,
) -> dict[str, nn.Module]:
    """The layers of :func:`describe_layers` for a dense architecture, on its device, untrained.

    Args:
        model: the dense architecture; it is not changed.
        saved: as :func:`describe_layers` wrote it.
        folder: where it was read, for errors.
        dtype: of the layers.

    Raises:
        ValueError: a layer that the architecture lacks, or a rank that is none.
    """
    modules = dict(model.named_modules())
    without_bias = saved.get("without_bias", ())
    layers: dict[str, nn.Module] = {}
    for name, rank in saved["ranks"].items():
        dense = modules.get(name)
        if isinstance(dense, nn.Embedding):
            table = (dense.num_embeddings, dense.embedding_dim, _whole(rank, name))
            layers[name] = LowRankEmbedding(*table, dtype=dtype, device=dense.weight.device)
        elif dense is not None and is_linear(dense):
            linear = get_linear(model, name)
            sizes = (linear.in_features, linear.out_features, _whole(rank, name))
            layers[name] = LowRankLinear(
                *sizes, bias=name not in without_bias, dtype=dtype, device=linear.weight.device
            )
        else:
            raise ValueError(f"{folder} names layer {name!r}, which the architecture does not have")
    return layers


def _whole(rank: object, name: str) -> int:
    checked = check_rank(rank)
    if not isinstance(checked, int):
        raise ValueError(f"the saved rank of {name} is {rank!r}: it must be a whole number")
    return checked


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, one or in shards; none where there is no model."""
    whole = folder / "model.safetensors"
    return [whole] if whole.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))


def shapes_in(files: Iterable[Path | str]) -> dict[str, str]:
    """The shape of every tensor in safetensors files, as ``8x32``; only their headers are read.

    Raises:
        ValueError: a file that is damaged or cut short.
    """
    shapes: dict[str, str] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as tensors:
                for key in tensors.keys():
                    shapes[key] = "x".join(map(str, tensors.get_slice(key).get_shape())) or "scalar"
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged or cut short ({error}): fetch it again") from error
    return shapes


def refuse_export(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a standalone export.

    Raises:
        ValueError: says what loads it, and what to give instead.
    """
    if "low_rank" in config:
        raise ValueError(
            f"{folder} is a standalone export, which the load.py in it loads: give the run's own "
            "folder compressed, or what save_pretrained wrote"
        )


def refuse_low_rank(folder: Path) -> None:
    """Refuse low-rank layers beside a config.json that names a dense architecture only.

    Raises:
        ValueError: names the first such layer and the cure.
    """
    keys = shapes_in(weight_files(folder))
    names = (k.removesuffix(".down.weight") for k in keys if k.endswith(".down.weight"))
    first = next((name for name in names if f"{name}.up.weight" in keys), None)
    if first is not None:
        raise ValueError(
            f"{folder} has a low-rank layer, {first}, that its config.json knows nothing of, so "
            "that the architecture it names can't take the weights: save the model with "
            "pclora_lab.save_pretrained"
        )


def check_tensors(files: Iterable[Path | str], expected: Mapping[str, str]) -> None:
    """Refuse weights that are not those which config.json was written for.

    Raises:
        ValueError: names the first tensor that is missing, one too many or of another shape.
    """
    files = list(files)
    found = shapes_in(files)
    wrong = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
    if wrong:
        was, told = (at.get(wrong[0]) for at in (found, expected))
        raise ValueError(
            f"{Path(files[0]).parent} holds other weights than its config.json says: {wrong[0]} is "
            f"{was or 'missing'} and should be {told or 'absent'}. Save the model again, or fetch "
            "the whole folder again"
        )

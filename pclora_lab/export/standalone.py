"""A checkpoint that stands alone: each low-rank layer as two ordinary ones, and its loader.

The folder holds ``config.json``, ``model.safetensors`` and ``load.py``, which needs timm or
transformers and nothing else.
"""

import runpy
from pathlib import Path
from typing import Any

from torch import nn

from pclora_lab.export.int8 import untied, write_rounded
from pclora_lab.export.loader_text import loader_text
from pclora_lab.export.report import ExportReport, bytes_of, finite_gap, largest_gap
from pclora_lab.files import given_path
from pclora_lab.json_files import read_json, to_json
from pclora_lab.models.embedded import EMBEDDED_VITS, vit_options
from pclora_lab.models.recipes import dense_twin, require_recipe
from pclora_lab.models.serialization import low_rank_layers
from pclora_lab.models.weights import write_weights
from pclora_lab.nn.forward import as_inputs, call_model, eval_mode, try_inputs
from pclora_lab.nn.heads import with_units_folded
from pclora_lab.nn.latency import latency_ms
from pclora_lab.nn.layers.copying import on_cpu
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.patch_head import PatchHead
from pclora_lab.nn.split_qkv import SplitLinear
from pclora_lab.nn.surgery import deepcopy_sharing, replace_modules
from pclora_lab.ownership import is_ours
from pclora_lab.staging import staged_folder
from pclora_lab.tensor_files import hash_of_file

__all__ = ["export_standalone", "open_standalone", "refuse_other_files", "to_standalone"]

# transformers reads a weights file's name here, and stops. Its classes take any config.json, and
# would draw new weights for every layer that is two here.
_OWN_LOADER = "none, as this model is loaded by the load.py beside it"


def to_standalone(model: nn.Module) -> nn.Module:
    """A copy in which every low-rank layer is ``nn.Sequential`` of two ordinary layers.

    Example:
        >>> import torch
        >>> small = nn.Sequential(LowRankLinear(6, 4, rank=2))
        >>> plain = to_standalone(small)
        >>> [type(layer).__name__ for layer in plain[0]], list(plain.state_dict())
        (['Linear', 'Linear'], ['0.0.weight', '0.1.weight', '0.1.bias'])
        >>> x = torch.randn(3, 6)
        >>> torch.allclose(plain(x), small(x))
        True
    """
    plain = deepcopy_sharing(model, ())
    pairs = {name: _pair(layer) for name, layer in low_rank_layers(plain).items()}
    return replace_modules(plain, pairs).eval()


def _pair(layer: LowRankLinear | LowRankEmbedding) -> nn.Sequential:
    if isinstance(layer, LowRankLinear):
        return nn.Sequential(layer.down, layer.up)
    first = nn.Embedding(layer.num_embeddings, layer.rank, device="meta")
    second = nn.Linear(layer.rank, layer.embedding_dim, bias=False, device="meta")
    first.weight, second.weight = layer.A, layer.B
    return nn.Sequential(first, second)


def _shape(layer: LowRankLinear | LowRankEmbedding) -> dict[str, Any]:
    if isinstance(layer, LowRankEmbedding):
        sizes = {"in": layer.num_embeddings, "out": layer.embedding_dim}
        return {**sizes, "rank": layer.rank, "table": True, "bias": False}
    sizes = {"in": layer.in_features, "out": layer.out_features}
    return {**sizes, "rank": layer.rank, "table": False, "bias": layer.C is not None}


def export_standalone(
    model: nn.Module,
    folder: Path | str,
    *,
    dense: nn.Module | None = None,
    force: bool = False,
    int8: bool = False,
) -> ExportReport:
    """Write a finished model so that timm or transformers load it without this package.

    Args:
        model: from :func:`pclora_lab.compress` or :func:`pclora_lab.from_pretrained`, loaded by
            name at first; from a GPU a copy on the CPU is written.
        folder: is made; ``load.py`` in it loads the model.
        dense: what its speed is compared with; None builds the dense architecture.
        force: write beside other files in the folder, and replace those of the same names.
        int8: keep every matrix in 8 bits; ``load.py`` makes float32 of them again, so that it is
            the file that is smaller and not the work.

    Raises:
        ValueError: the model was not loaded by name, the folder holds other files, or what was
            written computes something else.
    """
    recipe, model = require_recipe(model), with_units_folded(model)
    check_weights_finite(model, "it is not exported")
    model, dense = on_cpu(model), on_cpu(dense if dense is not None else dense_twin(model))
    folder = given_path(folder, "folder")
    refuse_other_files(folder, force=force)
    plain = to_standalone(model)
    layers = {name: _shape(layer) for name, layer in sorted(low_rank_layers(model).items())}
    config = _config(recipe) | {"low_rank": layers, "transformers_weights": _OWN_LOADER}
    config["class_names"] = list(getattr(model, "pclora_class_names", None) or ()) or None
    if isinstance(head := getattr(model, "head", None), PatchHead):
        config["patch_head"] = head.sizes()
    has_split = any(isinstance(module, SplitLinear) for module in model.modules())
    with staged_folder(folder) as stage:
        if int8:
            write_rounded(untied(plain), stage / "model.safetensors")
        else:
            write_weights(plain, stage / "model.safetensors")
        config["sha256"] = hash_of_file(stage / "model.safetensors")
        text = to_json(config, indent=1, sort_keys=True) + "\n"
        (stage / "config.json").write_text(text, encoding="utf8")
        (stage / "load.py").write_text(loader_text(recipe, has_split, int8), encoding="utf8")
        if (preprocessing := getattr(model, "pclora_text", None)) is not None:
            preprocessing.tokenizer.save_pretrained(stage)
        generation: Any = getattr(model, "generation_config", None)
        if generation is not None and recipe.get("task") == "language-model":
            text = to_json(generation.to_diff_dict(), indent=1, sort_keys=True) + "\n"
            (stage / "generation_config.json").write_text(text, encoding="utf8")
        if (processor := recipe.get("preprocessing", {}).get("processor")) is not None:
            text = to_json(processor, indent=1, sort_keys=True) + "\n"
            (stage / "preprocessor_config.json").write_text(text, encoding="utf8")
        loaded = open_standalone(stage)
        inputs, one = (as_inputs(try_inputs(model, examples)) for examples in (3, 1))
        with eval_mode(model, loaded):
            compare = finite_gap if int8 else largest_gap
            gap = compare(call_model(model, inputs), call_model(loaded, inputs))
    sizes = bytes_of(folder), bytes_of(dense)
    latency, dense_latency = (latency_ms(net.eval(), one, repeats=7) for net in (loaded, dense))
    name = "plain-int8" if int8 else "standalone"
    return ExportReport(name, str(folder), *sizes, gap, latency, dense_latency)


def refuse_other_files(folder: Path, *, force: bool = False) -> None:
    """Refuse a folder with files that are no earlier export.

    Raises:
        ValueError: it has such files.
    """
    if force or not folder.exists() or not any(folder.iterdir()):
        return
    try:
        config = read_json(folder / "config.json") or {}
    except (ValueError, OSError):
        config = {}
    if "low_rank" not in config or not is_ours(folder / "load.py"):
        raise ValueError(f"{folder} is not empty, and its files would be mixed: choose another")


def _config(recipe: dict[str, Any]) -> dict[str, Any]:
    if recipe.get("library") == "transformers":
        # Under a key of its own, so that transformers' automatic classes say what they lack.
        return {"transformers": dict(recipe["config"])}
    settings = {**recipe.get("options", {}), "num_classes": recipe["num_classes"]}
    for key, name in (("img_size", "img_size"), ("width", "embed_dim")):
        if recipe.get(key) is not None:
            settings[name] = recipe[key]
    if (name := recipe["architecture"]) in EMBEDDED_VITS:
        settings = {**vit_options(name, recipe.get("width")), "num_classes": recipe["num_classes"]}
    return {
        "architecture": recipe["architecture"],
        "options": settings,
        "preprocessing": recipe["preprocessing"],
    }


def open_standalone(folder: Path) -> nn.Module:
    """Run the loader of an export, as its user will."""
    return runpy.run_path(str(folder / "load.py"))["load"](folder)

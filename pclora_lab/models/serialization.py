"""A finished model on disk: ``config.json`` + ``model.safetensors``, never pickle.

Reading it again needs this package; :mod:`pclora_lab.export` writes formats that do not.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import PreTrainedTokenizerFast

from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.files import staged
from pclora_lab.models.recipes import build_from_recipe, model_recipe
from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.nn.ranks import check_rank
from pclora_lab.nn.surgery import deepcopy_sharing, get_linear, is_linear, replace_modules

__all__ = [
    "from_pretrained",
    "is_compressed",
    "load_compressed",
    "low_rank_layers",
    "save_compressed",
    "save_pretrained",
]

LowRank = LowRankLinear | LowRankEmbedding


FORMAT = "pclora_lab.compressed"


VERSION = 2


def save_pretrained(model: nn.Module, folder: Path | str) -> Path:
    """Write a finished model to a folder, its tokenizer and the names of its classes with it.

    Args:
        model: from :func:`pclora_lab.compress`, any method's ``finalize`` or ``load_model``.
        folder: is made if it does not exist.

    Returns:
        The folder.

    Raises:
        ValueError: the model comes from no method and was not loaded by name, it has layers that
            this format can't build again, or the folder holds a model of another format, which
            would be overwritten.
    """
    layers = low_rank_layers(model)
    method = getattr(model, "pclora_method", None)
    if not layers and method is None and model_recipe(model) is None:
        raise ValueError(
            f"{type(model).__name__} has no LowRankLinear: pass what compress(student) returned"
        )
    folder = Path(folder)
    _refuse_foreign(folder)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "model": model_recipe(model),
        "ranks": {name: layer.rank for name, layer in sorted(layers.items())},
        "without_bias": [
            name for name, layer in sorted(layers.items()) if getattr(layer, "C", 0) is None
        ],
        "method": method,
        "pela": getattr(model, "pela", None),
        "class_names": list(getattr(model, "pclora_class_names", None) or ()) or None,
    }
    _refuse_unknown_layers(model, config)
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder) as stage:
        write_weights(model, stage / "model.safetensors")
        text = json.dumps(config, indent=1, sort_keys=True) + "\n"
        (stage / "config.json").write_text(text, encoding="utf8")
        if (preprocessing := getattr(model, "pclora_text", None)) is not None:
            preprocessing.tokenizer.save_pretrained(stage)
    return folder


def _refuse_unknown_layers(model: nn.Module, config: dict[str, Any]) -> None:
    """Or the model would be saved and could never be read again."""
    if config["model"] is None:
        return
    again = build_from_recipe(config["model"])
    replace_modules(again, _empty_layers(again, config, "the model"))
    shapes, expected = _shapes(model), _shapes(again)
    wrong = [key for key in shapes.keys() | expected.keys() if shapes.get(key) != expected.get(key)]
    if wrong:
        layers = sorted({key.rpartition(".")[0] or key for key in wrong})
        raise ValueError(
            f"{', '.join(layers[:3])} can't be saved, as it could not be read again: a finished "
            "model holds LowRankLinear, LowRankEmbedding and the architecture's own layers, or "
            "carries another recipe"
        )


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in model.state_dict().items()}


def write_weights(model: nn.Module, file: Path) -> None:
    """A model's tensors as safetensors, tied ones once; readable like any other file."""
    save_model(model, str(file), metadata={"format": "pt"})
    file.chmod(0o644)  # it is written for its owner alone


def _refuse_foreign(folder: Path) -> None:
    """Only an earlier export may be overwritten, never a model that someone else saved."""
    if any((folder / name).exists() for name in ("config.json", "model.safetensors")):
        try:
            _read_config(folder)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{folder} holds files that are no compressed model of this project, and saving "
                f"would overwrite them: choose another folder ({error})"
            ) from error


def low_rank_layers(model: nn.Module) -> dict[str, LowRank]:
    """A finished model's low-rank layers and tables by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LowRank)}


def is_compressed(folder: Path | str) -> bool:
    """Whether a folder says that it holds a model that :func:`save_pretrained` wrote."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def from_pretrained(
    folder: Path | str, model: nn.Module | None = None, *, weights: bool = True
) -> nn.Module:
    """Read a finished model; no code from the folder is run.

    Args:
        folder: as :func:`save_pretrained` wrote it.
        model: the dense architecture, for a model that was not loaded by name; it is not changed.
        weights: False builds the architecture only.

    Returns:
        The compressed model on the CPU, in eval mode.

    Raises:
        FileNotFoundError: the folder holds no compressed model.
        ValueError: another format or a newer version, a layer the architecture lacks, tensors
            that do not fit, or no recipe and no ``model``.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if model is None:
        if config["model"] is None:
            raise ValueError(
                f"{folder} holds no recipe for its architecture, because the model was not loaded "
                "by name: pass model=, the dense architecture"
            )
        dense = build_from_recipe(config["model"])
    else:
        dense = deepcopy_sharing(model, ())
    replace_modules(dense, _empty_layers(dense, config, folder))
    if weights:
        _fill(dense, folder)
    set_metadata(dense, pclora_method=config.get("method"))
    if config.get("pela") is not None:
        set_metadata(dense, pela=config["pela"])
    if config.get("class_names"):
        set_metadata(dense, pclora_class_names=tuple(config["class_names"]))
    _attach_tokenizer(dense, folder)
    return dense.eval()


# The names that these two had at first.
save_compressed, load_compressed = save_pretrained, from_pretrained


def _attach_tokenizer(model: nn.Module, folder: Path) -> None:
    tokens = getattr(model, "pclora_recipe", {}).get("tokens")
    if tokens is not None and (folder / "tokenizer.json").is_file():
        # The plain class: it reads data only, whatever tokenizer_config.json names.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        set_metadata(model, pclora_text=TextPreprocessing(tokenizer, tokens))


def _fill(model: nn.Module, folder: Path) -> None:
    try:
        load_model(model, folder / "model.safetensors")
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"the tensors in {folder} do not fit the architecture: {error}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no compressed model in {folder}: {name} is missing")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} can't be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{folder / 'config.json'} is not of format {FORMAT!r}")
    if config.get("version", 0) > VERSION:
        raise ValueError(
            f"{folder} was written by a newer version (format {config['version']}, this one reads "
            f"up to {VERSION}): update pclora-lab"
        )
    missing = [key for key in ("model", "ranks") if key not in config]
    if missing:
        raise ValueError(f"{folder / 'config.json'} lacks {', '.join(missing)}")
    return config


def _empty_layers(
    model: nn.Module, config: dict[str, Any], folder: Path | str
) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    without_bias = config.get("without_bias", ())
    layers: dict[str, nn.Module] = {}
    for name, rank in config["ranks"].items():
        dense = modules.get(name)
        if isinstance(dense, nn.Embedding):
            sizes = (dense.num_embeddings, dense.embedding_dim, _whole(rank, name))
            layers[name] = LowRankEmbedding(*sizes, dtype=torch.float32)
        elif dense is not None and is_linear(dense):
            linear = get_linear(model, name)
            sizes = (linear.in_features, linear.out_features, _whole(rank, name))
            bias = name not in without_bias
            layers[name] = LowRankLinear(*sizes, bias=bias, dtype=torch.float32)
        else:
            raise ValueError(f"{folder} names layer {name!r}, which the architecture does not have")
    return layers


def _whole(rank: object, name: str) -> int:
    checked = check_rank(rank)
    if not isinstance(checked, int):
        raise ValueError(f"the saved rank of {name} is {rank!r}: it must be a whole number")
    return checked

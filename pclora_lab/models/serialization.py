"""A finished model on disk: ``config.json`` + ``model.safetensors``, never pickle.

A model of transformers is written in its own format, which its ``from_pretrained`` opens wherever
this package is imported (:mod:`pclora_lab.models.hf_quantizer`). Reading any of them needs this
package; :mod:`pclora_lab.export` writes formats that do not.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pclora_lab.files import file_stamp, given_path
from pclora_lab.json_files import read_json, to_json
from pclora_lab.models.hf_config import LOCAL_KEYS, refuse_code, safe_config
from pclora_lab.models.hf_models import hf_task, set_hf_recipe
from pclora_lab.models.hf_quantizer import build_layers
from pclora_lab.models.hf_saving import describe, is_replaced, outdated, refuse_student
from pclora_lab.models.hf_tokenizer import text_preprocessing
from pclora_lab.models.recipes import build_from_recipe, check_plan, model_recipe
from pclora_lab.models.saved_layers import (
    FORMAT,
    METHOD,
    NOTICE,
    VERSION,
    check_saved,
    describe_layers,
    empty_layers,
    low_rank_layers,
    weight_files,
)
from pclora_lab.models.weights import check_weights, checksums_in, fill_weights, write_weights
from pclora_lab.nn.heads import with_units_folded
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.nn.surgery import deepcopy_sharing, replace_modules
from pclora_lab.ownership import refuse_foreign
from pclora_lab.quiet import quiet
from pclora_lab.staging import staged_folder
from pclora_lab.wording import shown

__all__ = [
    "from_pretrained",
    "is_compressed",
    "load_compressed",
    "low_rank_layers",
    "save_compressed",
    "save_pretrained",
]


def save_pretrained(model: nn.Module, folder: Path | str) -> Path:
    """Write a finished model to a folder, its tokenizer and the names of its classes with it.

    Args:
        model: from :func:`pclora_lab.compress`, any method's ``finalize`` or ``load_model``.
        folder: is made if it does not exist.

    Returns:
        The folder.

    Raises:
        ValueError: the model comes from no method and was not loaded by name, it has layers that
            this format can't build again, a weight is NaN or infinite, or the folder holds a model
            of another format, which would be overwritten.
    """
    model = with_units_folded(unwrapped(model))
    layers = low_rank_layers(model)
    method = getattr(model, "pclora_method", None)
    if not layers and method is None and model_recipe(model) is None:
        raise ValueError(
            f"{type(model).__name__} has no LowRankLinear: pass what compress(student) returned"
        )
    check_weights_finite(model, "it is not saved. Train it again, with a smaller learning rate")
    folder = given_path(folder, "folder")
    is_replaced_one = _refuse_foreign(folder)
    config = {**describe_layers(model), "model": model_recipe(model)}
    _refuse_unknown_layers(model, config)
    with staged_folder(folder, outdated=outdated()) as stage:
        if isinstance(model, PreTrainedModel):
            _write_transformers(model, stage)
        else:
            write_weights(model, stage / "model.safetensors")
            # A class of transformers takes any config.json, and draws what it does not find.
            config |= {"transformers_weights": NOTICE, "checksums": checksums_in(stage)}
            config["architecture"] = METHOD  # whose name stands in timm's error without us
            text = to_json(config, indent=1, sort_keys=True)
            (stage / "config.json").write_text(text + "\n", encoding="utf8")
        if (preprocessing := getattr(model, "pclora_text", None)) is not None:
            preprocessing.tokenizer.save_pretrained(stage)
        if not is_replaced_one:
            refuse_foreign((folder / file.name for file in stage.iterdir()), force=None)
    return folder


def _write_transformers(model: PreTrainedModel, folder: Path) -> None:
    with quiet():
        model.save_pretrained(folder)
    if not is_replaced(model):  # else it is written down already
        describe(model, folder)


def _refuse_unknown_layers(model: nn.Module, config: dict[str, Any]) -> None:
    """Or the model would be saved and could never be read again."""
    if config["model"] is None:
        return
    again = build_from_recipe(config["model"])
    replace_modules(again, empty_layers(again, config, "the model"))
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


def _refuse_foreign(folder: Path) -> bool:
    """Whether an earlier export is there; a model that someone else saved is never overwritten."""
    is_there = any((folder / name).exists() for name in ("config.json", "model.safetensors"))
    if is_there:
        try:
            _read_config(folder)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{folder} holds files that are no compressed model of this project, and saving "
                f"would overwrite them: choose another folder ({error})"
            ) from error
    return is_there


def is_compressed(folder: Path | str) -> bool:
    """Whether a folder says that it holds a model with replaced layers, or of a method."""
    try:
        config = read_json(Path(folder) / "config.json")
    except (OSError, ValueError):
        return False
    return config is not None and _saved_part(config) is not None


def has_recipe(folder: Path | str) -> bool:
    """Whether a folder tells all that :func:`from_pretrained` needs, or is to tell why not."""
    if not is_compressed(folder):
        return False
    config = _read_config(Path(folder), weights=False)
    is_transformers = "architectures" in config and not config.get("unfinished")
    return not is_transformers or config["model"] is not None


def from_pretrained(
    folder: Path | str, model: nn.Module | None = None, *, weights: bool = True
) -> nn.Module:
    """Read a finished model; no code from the folder is run.

    Args:
        folder: as :func:`save_pretrained` wrote it.
        model: the dense architecture, for a model that was not loaded by name; it is not changed.
        weights: False builds the architecture only.

    Returns:
        The compressed model on the CPU, in eval mode and in the precision that it was saved in.

    Raises:
        FileNotFoundError: the folder holds no compressed model.
        ValueError: another format or a newer version, a layer the architecture lacks, tensors
            that do not fit or are not those that were saved, or no recipe and no ``model``.
    """
    folder, model = given_path(folder, "folder"), None if model is None else unwrapped(model)
    while True:
        before = file_stamp(folder / "config.json")
        try:
            found = _read_saved(folder, model, weights)
        except (ValueError, OSError):
            if file_stamp(folder / "config.json") == before:
                raise
            continue
        # Else another process has saved a model there meanwhile: some of it may be that one's.
        if file_stamp(folder / "config.json") == before:
            return found


def _read_saved(folder: Path, model: nn.Module | None, weights: bool) -> nn.Module:
    config = _read_config(folder, weights=weights)
    refuse_student(config, str(folder))
    if "architectures" in config:
        dense = _open_transformers(folder, config, model, weights)
    else:
        dense = _dense(folder, config, model)
        replace_modules(dense, empty_layers(dense, config, folder))
        if weights:
            check_weights(weight_files(folder), config)
            fill_weights(dense, folder)
    set_metadata(dense, pclora_method=config.get("method"))
    if config.get("pela") is not None:
        set_metadata(dense, pela=config["pela"])
    if config.get("class_names"):
        set_metadata(dense, pclora_class_names=tuple(config["class_names"]))
    _attach_tokenizer(dense, folder)
    if weights:
        check_weights_finite(dense, f"what was saved in {folder} was no model any more")
    return dense.eval()


def _dense(folder: Path, config: dict[str, Any], model: nn.Module | None) -> nn.Module:
    if model is not None:
        return deepcopy_sharing(model, ())
    if config["model"] is None:
        raise ValueError(
            f"{folder} holds no recipe for its architecture, because the model was not loaded "
            "by name: pass model=, the dense architecture"
        )
    check_plan(folder, config)
    return build_from_recipe(config["model"])


def _open_transformers(
    folder: Path, config: dict[str, Any], model: nn.Module | None, weights: bool
) -> nn.Module:
    recipe = config["model"] if model is None else None
    if not weights:
        dense = _dense(folder, config, model)
        build_layers(dense, config, str(folder), torch.float32)
        return dense
    cls: Any = type(model) if model is not None else _transformers_class(folder, config)
    if not issubclass(cls, PreTrainedModel) and model is not None:
        raise ValueError(
            f"{folder} holds one of transformers' models, and model= is a {cls.__name__}: pass one "
            "of the same class, or leave it out"
        )
    if recipe is not None:
        check_plan(folder, config)
    try:
        with quiet():
            dense, info = cls.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"the tensors in {folder} do not fit the architecture: {error}") from error
    wrong = sorted(
        str(key) for kind in ("missing", "unexpected", "mismatched") for key in info[f"{kind}_keys"]
    )
    if wrong:
        raise ValueError(f"the tensors in {folder} do not fit the architecture: {wrong[0]}")
    if recipe is not None:
        set_hf_recipe(dense, {**recipe, "config": safe_config(dense.config)})
    return dense


def _transformers_class(folder: Path, config: dict[str, Any]) -> Any:
    """What opens the folder: the recipe's task, or the class that it was saved from."""
    if config["model"] is not None:
        return hf_task(config["model"])
    name = next(iter(config["architectures"] or ()), None)
    found = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        raise ValueError(
            f"{folder} holds a {name}, which this version of transformers does not have: update "
            "it, or pass model=, the dense architecture"
        )
    return found


# The names that these two had at first.
save_compressed, load_compressed = save_pretrained, from_pretrained


def _attach_tokenizer(model: nn.Module, folder: Path) -> None:
    tokens = getattr(model, "pclora_recipe", {}).get("tokens")
    if tokens is not None and (folder / "tokenizer.json").is_file():
        # The plain class: it reads data only, whatever tokenizer_config.json names.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        set_metadata(model, pclora_text=text_preprocessing(model, tokenizer, tokens))


def _read_config(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """What was saved beside the weights; with ``architectures`` where they are transformers'."""
    for name, is_there in (
        ("config.json", (folder / "config.json").is_file()),
        ("model.safetensors", not weights or bool(weight_files(folder))),
    ):
        if not is_there:
            raise FileNotFoundError(f"no compressed model in {folder}: {name} is missing")
    values = read_json(folder / "config.json", folder / "config.json") or {}
    config = _saved_part(values)
    if config is None:
        raise ValueError(f"{folder / 'config.json'} is not of format {FORMAT!r}")
    version = config.get("version", 0)
    if isinstance(version, bool) or not isinstance(version, int):
        raise ValueError(f"{folder / 'config.json'}: version is {shown(version)}, no whole number")
    if version > VERSION:
        raise ValueError(
            f"{folder} was written by a newer version (format {version}, this one reads "
            f"up to {VERSION}): update pclora-lab"
        )
    if "architectures" in config:
        refuse_code(values, str(folder))
    missing = [key for key in ("model", "ranks") if key not in config]
    if missing:
        raise ValueError(f"{folder / 'config.json'} lacks {', '.join(missing)}")
    check_saved(config, str(folder / "config.json"))
    return config


def _saved_part(values: Any) -> dict[str, Any] | None:
    """The part of a config.json that is this package's; None where nothing is."""
    if not isinstance(values, dict):
        return None
    if values.get("format") == FORMAT:
        return values
    saved = values.get("quantization_config")
    if not isinstance(saved, dict) or saved.get("quant_method") != METHOD:
        return None
    recipe = saved.get("model")
    if isinstance(recipe, dict):
        config = {key: value for key, value in values.items() if key not in LOCAL_KEYS}
        saved = {**saved, "model": {**recipe, "config": config}}
    return {**saved, "architectures": values.get("architectures")}

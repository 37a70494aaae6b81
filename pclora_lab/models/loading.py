"""Models by name: the embedded ones, timm's, transformers', or a local folder.

What reads transformers' models is imported where one is asked for: it takes seconds.
"""

import dataclasses
from pathlib import Path

import timm
import torch
from torch import nn

from pclora_lab.files import data_dir
from pclora_lab.models.adapting import head_is_new, input_kind, reset_head
from pclora_lab.models.embedded import EMBEDDED, EMBEDDED_TASKS, check_embedded
from pclora_lab.models.folders import read_config, require_safetensors
from pclora_lab.models.hf.gguf_header import is_gguf
from pclora_lab.models.saved_layers import check_config, refuse_export, refuse_low_rank
from pclora_lab.models.timm_models import (
    check_timm_folder,
    check_timm_name,
    draw_timm_head,
    is_timm_name,
    load_timm,
)
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.nn.layers.tracing import try_input
from pclora_lab.nn.metadata import note_precision, pretrained_cfg_of, recipe_of, set_metadata
from pclora_lab.nn.split_qkv import split_qkv as split_fused
from pclora_lab.schema import whole
from pclora_lab.tensor_files import verify

__all__ = ["describe_model", "load_model", "local_model"]

_FOLDER = "local-dir:"

_MOST = {"num_classes": 2**20, "width": 2**16}


def load_model(
    name: str | Path,
    *,
    num_classes: int | None = None,
    img_size: int | None = None,
    max_tokens: int | None = None,
    split_qkv: bool = False,
    task: str | None = None,
    pretrained: bool = True,
    width: int | None = None,
    generator: torch.Generator | None = None,
    problem: str | None = None,
) -> nn.Module:
    """Build a model and load its weights, in float32 whatever the file's precision is.

    Args:
        name: ``vit_digits``, ``bert_glosses``, ``llama_glosses``, a timm name, the hub name of a
            transformers model (``owner/name``), ``config:TYPE`` for an untrained one, a ``.gguf``
            file, or a folder (also as ``local-dir:PATH``) with ``config.json`` and
            ``model.safetensors``: timm's, transformers' or a finished run's ``compressed``.
        num_classes: classes of the head; None keeps the model's own. Where they differ, the head
            is new.
        img_size: side of the input in pixels; None keeps the model's own.
        max_tokens: longest text in tokens; None takes 128, or what the model has room for.
        split_qkv: take fused query-key-value layers apart into three linear layers.
        task: of a transformers model, ``text-classification``, ``image-classification``,
            ``token-classification``, ``semantic-segmentation``, ``language-model``,
            ``masked-language-model`` or ``image-text``; None takes classification where there is
            one, and of a GGUF file its language model.
        pretrained: False builds the architecture only.
        width: another width of the embedding; such a model has no pre-trained weights.
        generator: draws a new head.
        problem: ``regression`` or ``multi_label_classification``, where the head of a transformers
            model is to be for that; one that is for something else is new then.

    Raises:
        ValueError: unknown name (with the nearest ones), a folder that is no model, a size that
            the model cannot take, code or pickled weights, a tokenizer of another model, weights
            that are damaged, NaN or infinite.
        ConnectionError: the weights are not in the local cache and the hub can't be reached.
        ImportError: a GGUF file, and the package gguf is missing.
    """
    name = _normalize(str(name) if isinstance(name, Path) else name)
    for what, given in (("num_classes", num_classes), ("width", width)):
        if given is not None:
            whole(0, _MOST[what])(f"load_model: {what}", given)
    if width is not None and pretrained:
        raise ValueError(f"{name!r} of width {width} has no weights: pass pretrained=False")
    sizes = num_classes, img_size, max_tokens
    model = _load(name, *sizes, split_qkv, task, pretrained, width, generator, problem)
    if pretrained:
        check_weights_finite(model, _WHERE_FROM.format(name=name))
    return model


_WHERE_FROM = (
    "the weights of {name!r} are damaged, or their training had failed. Fetch them again, or take "
    "an earlier checkpoint"
)


def _load(
    name: str,
    num_classes: int | None,
    img_size: int | None,
    max_tokens: int | None,
    split_qkv: bool,
    task: str | None,
    pretrained: bool,
    width: int | None,
    generator: torch.Generator | None,
    problem: str | None,
) -> nn.Module:
    folder = Path(name.removeprefix(_FOLDER))
    is_folder = name.startswith(_FOLDER)
    if is_folder and (saved := _saved_model(folder, pretrained)) is not None:
        _refuse_other_task(saved, name, task, num_classes)
        _set_tokens(saved, max_tokens)
        return _with_head(saved, name, num_classes, img_size, generator)
    is_theirs = _is_transformers(name, folder if is_folder else None, pretrained)
    for file in sorted(folder.glob("*.safetensors")) if is_folder and pretrained else ():
        verify(file)
    if is_theirs:
        from pclora_lab.models.hf_models import load_hf

        _refuse_width(name, width)
        if name in EMBEDDED and pretrained:
            check_embedded(name)
        source = str(data_dir(name)) if name in EMBEDDED else name.removeprefix(_FOLDER)
        if task is None and num_classes is None:
            task = EMBEDDED_TASKS.get(name)
        model = load_hf(
            source,
            task=task,
            num_classes=num_classes,
            tokens=max_tokens,
            img_size=img_size,
            pretrained=pretrained,
            generator=generator,
            problem=problem,
        )
    else:
        model = load_timm(name, num_classes, img_size, pretrained, width)
        if head_is_new(model):
            draw_timm_head(model, generator)
        if img_size is not None:
            _refuse_size(model, name, img_size)
    if split_qkv:
        split_fused(model)
    return model.eval()


def _is_transformers(name: str, folder: Path | None, pretrained: bool) -> bool:
    """Which library a name belongs to; refuses what neither can load."""
    if folder is not None:
        from pclora_lab.models.hf_config import refuse_code

        config = read_config(folder)
        check_config(config, str(folder / "config.json"))
        refuse_code(config, str(folder))
        if pretrained:
            require_safetensors(folder)
        if "model_type" in config:
            return True
        refuse_export(folder, config)
        check_timm_folder(folder, config)
        refuse_low_rank(folder)
        return False
    if name in EMBEDDED:
        return name in EMBEDDED_TASKS
    if is_gguf(name):
        return True
    if not is_timm_name(name):
        from pclora_lab.models.hf_config import is_hf_name

        if is_hf_name(name):
            return True
    check_timm_name(name)
    return False


def _refuse_width(name: str, width: int | None) -> None:
    if width is not None:
        raise ValueError(f"{name!r} can't be built narrower: only timm's models can")


def _refuse_size(model: nn.Module, name: str, img_size: int) -> None:
    """Some of timm's models are built for any size and run with their own only."""
    try:
        try_input(model)
    except (RuntimeError, ValueError, AssertionError, LookupError, ArithmeticError) as error:
        own = timm.get_pretrained_cfg(recipe_of(model)["architecture"])
        side = "" if own is None else f", {own.input_size[-1]}"
        raise ValueError(
            f"{name!r} can't take img_size={img_size} ({error}): leave img_size out for its own"
            f"{side}"
        ) from error


def _saved_model(folder: Path, pretrained: bool) -> nn.Module | None:
    """A finished model of an earlier run, if the folder is one; ready to be trained."""
    from pclora_lab.models.serialization import from_pretrained, has_recipe

    # Without a recipe it is read like any other folder of transformers.
    if not has_recipe(folder):
        return None
    saved = from_pretrained(folder, weights=pretrained)
    note_precision(saved, next(saved.parameters()).dtype)
    return saved.float()


def _refuse_other_task(
    model: nn.Module, name: str, task: str | None, num_classes: int | None
) -> None:
    """A finished model does what it was trained for; its own recipe speaks for it."""
    own = recipe_of(model).get("task")
    if task is not None and own is not None and task != own:
        raise ValueError(
            f"{name!r} was saved as {own!r}, and task is {task!r}: leave task out, or take the "
            "model that it was made from"
        )
    if num_classes is not None and getattr(model, "num_classes", None) is None:
        raise ValueError(
            f"{name!r} was saved as {own!r}, which has no classes, and {num_classes} are asked "
            "for: take the model that it was made from, or a classifier"
        )


def _set_tokens(model: nn.Module, max_tokens: int | None) -> None:
    if max_tokens is None or input_kind(model) != "text":
        return
    from pclora_lab.models.hf_config import resolve_tokens

    tokens = resolve_tokens(model, max_tokens)
    recipe_of(model)["tokens"] = tokens
    if (text := getattr(model, "pclora_text", None)) is not None:
        set_metadata(model, pclora_text=dataclasses.replace(text, max_tokens=tokens))


def _with_head(
    model: nn.Module,
    name: str,
    num_classes: int | None,
    img_size: int | None,
    generator: torch.Generator | None,
) -> nn.Module:
    recipe = recipe_of(model)
    if img_size not in (None, recipe["img_size"]) and img_size != _side(model):
        raise ValueError(f"{name!r} was saved for img_size={recipe['img_size']}, not {img_size}")
    own = getattr(model, "num_classes", None)  # a model of language has no classes
    if own is not None and num_classes not in (None, own):
        reset_head(model, num_classes, generator)
    return model.eval()


def _side(model: nn.Module) -> int | None:
    return pretrained_cfg_of(model).get("input_size", (None,))[-1]


def describe_model(
    name: str,
    *,
    num_classes: int | None = None,
    img_size: int | None = None,
    max_tokens: int | None = None,
    split_qkv: bool = False,
    task: str | None = None,
) -> nn.Module:
    """The same model as :func:`load_model` gives, without weights or storage (meta device)."""
    with torch.device("meta"):
        return load_model(
            name,
            num_classes=num_classes,
            img_size=img_size,
            max_tokens=max_tokens,
            split_qkv=split_qkv,
            task=task,
            pretrained=False,
        )


def local_model(name: str) -> Path | None:
    """The folder or GGUF file that a name stands for; None where it is the name of a model.

    Raises:
        ValueError: no name, or a path that leads nowhere.

    Example:
        >>> local_model("vit_digits") is None
        True
    """
    normal = _normalize(name)
    is_local = normal.startswith(_FOLDER) or is_gguf(normal)
    return Path(normal.removeprefix(_FOLDER)) if is_local else None


def _normalize(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(
            f"model {name!r} is no name: use {', '.join(EMBEDDED)}, a timm or transformers name, "
            "or a folder"
        )
    name = name.strip()
    if name in EMBEDDED or timm.is_model(name) or name.startswith(("config:", "hf-hub:")):
        return name
    is_named = name.startswith(_FOLDER)
    folder = Path(name.removeprefix(_FOLDER)).expanduser()
    if folder.is_file() and is_gguf(name):
        return str(folder)
    if is_named or folder.is_dir():
        return f"{_FOLDER}{folder}"
    if is_gguf(name):
        raise ValueError(f"model {name!r} is a GGUF file by its name, but there is no such file")
    if name.startswith(("/", "./", "../", "~")) or "\\" in name:
        raise ValueError(f"model {name!r} is a path, but there is no such folder")
    return name

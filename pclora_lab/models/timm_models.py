"""timm's vision transformers: by name, from the hub or from a folder."""

import difflib
import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import timm
import torch
from safetensors import SafetensorError
from torch import nn

from pclora_lab.models.embedded import EMBEDDED, build_vit_digits, load_vit_digits
from pclora_lab.nn.heads import draw_head
from pclora_lab.nn.metadata import pretrained_cfg_of, set_metadata

__all__ = [
    "check_timm_folder",
    "check_timm_name",
    "draw_timm_head",
    "is_timm_name",
    "load_timm",
    "reset_timm_head",
    "timm_recipe",
]


def is_timm_name(name: str) -> bool:
    """Whether timm itself knows the architecture (``vit_tiny``, ``timm/vit_tiny.tag``)."""
    return timm.is_model(name.removeprefix("timm/").split(".")[0])


def load_timm(
    name: str, num_classes: int | None, img_size: int | None, pretrained: bool, width: int | None
) -> nn.Module:
    """The embedded vision transformer, or one of timm's.

    Raises:
        ValueError: damaged weights, a size it can't take, no head.
        ConnectionError: the weights are not in the local cache and the hub can't be reached.
    """
    if name == "vit_digits":
        model = build_vit_digits(num_classes, img_size, width)
        if pretrained:
            load_vit_digits(model)
            if model.num_classes == 10:
                set_metadata(model, pclora_class_names=tuple(map(str, range(10))))
    else:
        model = _create(name, num_classes, img_size, pretrained, width)
    is_free = getattr(model, "pclora_takes_any_size", False)
    set_metadata(
        model,
        pclora_head_is_new=model.num_classes != pretrained_cfg_of(model).get("num_classes"),
        pclora_recipe=timm_recipe(model, None if is_free else img_size, width),
    )
    return model


def timm_recipe(model: nn.Module, img_size: int | None, width: int | None) -> dict[str, Any]:
    """What it takes to build the same architecture again."""
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    config = pretrained_cfg_of(model)
    return {
        "architecture": config["architecture"],
        "num_classes": model.num_classes,
        "img_size": img_size,
        "preprocessing": {key: config[key] for key in keys if config.get(key) is not None},
        **({} if width is None else {"width": width}),
    }


@runtime_checkable
class _Classifier(Protocol):
    """How timm's models hand out their classifier, which each calls by a name of its own."""

    def get_classifier(self) -> nn.Module: ...

    def reset_classifier(self, num_classes: int) -> None: ...


def _classifier(model: nn.Module) -> _Classifier:
    if not isinstance(model, _Classifier):
        raise ValueError(
            f"{type(model).__name__} has no reset_classifier, as timm's models have: its head "
            "can't be another one"
        )
    return model


def draw_timm_head(model: nn.Module, generator: torch.Generator | None) -> None:
    """New weights for the classifier, in place."""
    draw_head(_classifier(model).get_classifier(), generator)


def reset_timm_head(model: nn.Module, num_classes: int, generator: torch.Generator | None) -> None:
    """A new classifier for another number of classes, in place."""
    _classifier(model).reset_classifier(num_classes)
    draw_timm_head(model, generator)


def check_timm_name(name: str) -> None:
    """Refuse what timm does not have, with the nearest names it has.

    Raises:
        ValueError: unknown name.
    """
    bare = name.split(".")[0].removeprefix("timm/")
    if name.startswith("hf-hub:") or timm.is_model(bare):
        return
    names = [*EMBEDDED, *timm.list_models()]
    near = [n for n in names if n.startswith(bare)] or difflib.get_close_matches(bare, names)
    hint = f"did you mean {', '.join(near[:3])}?" if near else "timm.list_models() lists the names"
    raise ValueError(
        f"unknown model {name!r}: it is not embedded ({', '.join(EMBEDDED)}), not in timm and not "
        f"a folder; {hint} Names of transformers models are owner/name, such as "
        "google-bert/bert-base-uncased."
    )


def check_timm_folder(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a folder that is not timm's.

    Raises:
        ValueError: no architecture, or one that timm does not know.
    """
    if config.get("architecture") is None:
        raise ValueError(
            f"{folder / 'config.json'} names no architecture and no model_type: it is neither "
            "timm's nor transformers' format"
        )
    if not timm.is_model(config["architecture"]):
        raise ValueError(
            f"{folder / 'config.json'} names {config['architecture']!r}, unknown to timm"
        )


def _create(
    name: str, num_classes: int | None, img_size: int | None, pretrained: bool, width: int | None
) -> nn.Module:
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if img_size is not None:
        options["img_size"] = img_size
    if width is not None:
        options["embed_dim"] = width
    try:
        model = _create_of_any_size(name, pretrained, options)
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {name!r} can't be read ({error}): the file is damaged or cut short; "
            "fetch it again"
        ) from error
    except OSError as error:
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and the hub can't be reached. "
            "Offline, use vit_digits, local-dir:PATH, or a model that is in the local cache. "
            f"({error})"
        ) from error
    except (TypeError, AssertionError, RuntimeError) as error:
        if img_size is None or width is not None:
            wide = "" if width is None else f" {width} channels wide"
            raise ValueError(f"{name!r} can't be built{wide}: {error}") from error
        raise ValueError(f"{name!r} can't take img_size={img_size}: {error}") from error
    if getattr(getattr(model, "patch_embed", None), "num_patches", 1) == 0:
        raise ValueError(f"{name!r} can't take img_size={img_size}: that is smaller than one patch")
    if not getattr(model, "num_classes", 0):
        raise ValueError(f"model {name!r} has no classifier head: pass num_classes")
    return model


def _create_of_any_size(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Convolutional models take any size and know no ``img_size``."""
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        if "img_size" not in str(error) or "img_size" not in options:
            raise
        side = options.pop("img_size")
        model = timm.create_model(name, pretrained=pretrained, **options)
        config = pretrained_cfg_of(model)
        size = (config["input_size"][0], side, side)
        set_metadata(
            model, pretrained_cfg={**config, "input_size": size}, pclora_takes_any_size=True
        )
        return model


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's ``config.json``.

    Raises:
        ValueError: it is missing or no JSON, or the weights are pickled or missing.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"no model in {folder}: there is no config.json. A model folder holds config.json "
            "(timm's or transformers') and model.safetensors."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'} can't be read: it holds no JSON object")
    return config


def require_safetensors(folder: Path) -> None:
    """Refuse folders whose weights could run code when they are loaded.

    Raises:
        ValueError: no safetensors there; says how to convert pickled weights.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = [p.name for p in sorted(folder.iterdir()) if p.suffix in {".bin", ".pt", ".pth"}]
    source = pickled[0] if pickled else "weights.bin"
    raise ValueError(
        f"no model.safetensors in {folder}: pickled weights ({', '.join(pickled) or '.bin, .pt'}) "
        "are refused because loading them can run code. If you trust their source, convert them "
        "once, in a script of your own: safetensors.torch.save_file(torch.load("
        f"{source!r}, weights_only=True), 'model.safetensors')"
    )

"""Models by name: the embedded one, any timm vision transformer, or a local folder.

Every loaded model carries a *recipe*: what it takes to build the same architecture again without
its weights. Saved models keep the recipe, so that loading runs no code from the folder.
"""

import copy
import difflib
import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import VisionTransformer
from torch import nn

__all__ = [
    "EMBEDDED",
    "build_from_recipe",
    "checkpoint_dir",
    "describe_model",
    "load_model",
    "model_recipe",
]

_VIT_DIGITS = {
    "img_size": 8,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 96,
    "depth": 4,
    "num_heads": 3,
}
_DIGITS_CFG = {
    "architecture": "vit_digits",
    "input_size": (1, 8, 8),
    "mean": (0.5,),
    "std": (0.5,),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "num_classes": 10,
    "classifier": "head",
}
EMBEDDED = ("vit_digits",)


def checkpoint_dir(name: str) -> Path:
    """The folder of an embedded checkpoint, in a checkout (``data/``) or an installed package."""
    here = Path(__file__).parent
    places = (here.parent / "data" / name, here / "checkpoints" / name)
    return next((place for place in places if place.is_dir()), places[0])


def load_model(
    name: str,
    *,
    num_classes: int | None = None,
    img_size: int | None = None,
    pretrained: bool = True,
    width: int | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Build a model and load its weights.

    Args:
        name: ``vit_digits``, a timm name, ``local-dir:PATH`` or the path of a folder with
            ``config.json`` and ``model.safetensors``, timm's or a finished run's ``compressed``.
        num_classes: classes of the head; None keeps the model's own. Where they differ, the head
            is new.
        img_size: side of the input in pixels; None keeps the model's own.
        pretrained: False builds the architecture only.
        width: another width of the embedding; such a model has no pre-trained weights.
        generator: draws a new head.

    Raises:
        ValueError: unknown name (with the nearest ones), a folder that is no model, a size that
            the model cannot take.
        ConnectionError: the weights are not in the local cache and the hub can't be reached.
    """
    name = _normalise(name)
    if width is not None and pretrained:
        raise ValueError(f"{name!r} of width {width} has no weights: pass pretrained=False")
    if (saved := _saved_model(name, pretrained)) is not None:
        return _with_head(saved, name, num_classes, img_size, generator)
    if name in EMBEDDED:
        model = _build_embedded(name, num_classes, img_size, width)
        if pretrained:
            _load_embedded(model, name)
    else:
        _check_name(name)
        model = _create_timm(name, num_classes, img_size, pretrained, width)
    model.pclora_recipe = {
        "architecture": model.pretrained_cfg["architecture"],
        "num_classes": model.num_classes,
        "img_size": img_size,
        "preprocessing": _preprocessing(model),
        **({} if width is None else {"width": width}),
    }
    if head_is_new(model):
        _draw_head(model, generator)
    return model.eval()


def _saved_model(name: str, pretrained: bool) -> nn.Module | None:
    """A finished model of an earlier run, if the name is such a folder."""
    from pclora_lab.export import is_compressed, load_compressed  # it needs this module

    folder = Path(name.removeprefix("local-dir:"))
    is_saved = name.startswith("local-dir:") and is_compressed(folder)
    return load_compressed(folder, weights=pretrained) if is_saved else None


def _with_head(
    model: nn.Module,
    name: str,
    num_classes: int | None,
    img_size: int | None,
    generator: torch.Generator | None,
) -> nn.Module:
    recipe = model.pclora_recipe
    if img_size not in (None, recipe["img_size"], model.pretrained_cfg["input_size"][-1]):
        raise ValueError(f"{name!r} was saved for img_size={recipe['img_size']}, not {img_size}")
    if num_classes not in (None, model.num_classes):
        model.reset_classifier(num_classes)
        model.pclora_recipe = {**recipe, "num_classes": num_classes}
        _draw_head(model, generator)
    return model.eval()


def head_is_new(model: nn.Module) -> bool:
    """Whether the head does not come from the checkpoint, because the classes differ."""
    return model.num_classes != model.pretrained_cfg.get("num_classes")


def describe_model(
    name: str, *, num_classes: int | None = None, img_size: int | None = None
) -> nn.Module:
    """The same model as :func:`load_model` gives, without weights or storage (meta device)."""
    with torch.device("meta"):
        return load_model(name, num_classes=num_classes, img_size=img_size, pretrained=False)


def model_recipe(model: nn.Module) -> dict[str, Any] | None:
    """What :func:`build_from_recipe` needs, or None for a model that was not loaded by name."""
    recipe = getattr(model, "pclora_recipe", None)
    return copy.deepcopy(recipe)


def build_from_recipe(recipe: dict[str, Any]) -> nn.Module:
    """The architecture of a recipe, untrained.

    Raises:
        ValueError: the recipe names no known architecture.
    """
    missing = {"architecture", "num_classes", "img_size", "preprocessing"} - set(recipe)
    if missing:
        raise ValueError(f"the recipe of the saved model lacks {', '.join(sorted(missing))}")
    model = load_model(
        _bare_name(recipe["architecture"]),
        num_classes=recipe["num_classes"],
        img_size=recipe["img_size"],
        pretrained=False,
        width=recipe.get("width"),
    )
    classes = {"num_classes": recipe["num_classes"]}  # its saved head fits
    model.pretrained_cfg = {**model.pretrained_cfg, **recipe["preprocessing"], **classes}
    model.pclora_recipe = copy.deepcopy(recipe)
    return model


def _bare_name(architecture: object) -> str:
    # A saved file must not be able to point the loader at a path or the hub.
    if not isinstance(architecture, str) or not architecture.replace("_", "").isalnum():
        raise ValueError(f"saved model names no timm architecture: {architecture!r}")
    if architecture not in EMBEDDED and not timm.is_model(architecture):
        raise ValueError(f"unknown model {architecture!r}: update timm, or pass model=")
    return architecture


def _normalise(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"model {name!r} is no name: use vit_digits, a timm name or a folder")
    name = name.strip()
    is_known = name in EMBEDDED or timm.is_model(name)
    return f"local-dir:{name}" if not is_known and ":" not in name and Path(name).is_dir() else name


def _check_name(name: str) -> None:
    if name.startswith("local-dir:"):
        return _check_folder(Path(name.removeprefix("local-dir:")))
    bare = name.split(".")[0].removeprefix("timm/")
    if name.startswith("hf-hub:") or timm.is_model(bare):
        return None
    names = [*EMBEDDED, *timm.list_models()]
    near = [n for n in names if n.startswith(bare)] or difflib.get_close_matches(bare, names)
    hint = f"did you mean {', '.join(near[:3])}?" if near else "timm.list_models() lists the names"
    raise ValueError(
        f"unknown model {name!r}: it is not embedded ({', '.join(EMBEDDED)}), not in timm and not "
        f"a folder; {hint}"
    )


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"no model in {folder}: there is no config.json. A model folder holds config.json "
            "(timm's) and model.safetensors."
        )
    if not (folder / "model.safetensors").is_file():
        raise ValueError(
            f"no model.safetensors in {folder}: pickled weights (.bin, .pt) are refused because "
            "loading them can run code. Convert them with safetensors.torch.save_file."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} can't be read: {error}") from error
    if config.get("architecture") is None:
        raise ValueError(f"{folder / 'config.json'} names no architecture: it is not timm's format")
    if not timm.is_model(config["architecture"]):
        raise ValueError(
            f"{folder / 'config.json'} names {config['architecture']!r}, unknown to timm"
        )


def _create_timm(
    name: str, num_classes: int | None, img_size: int | None, pretrained: bool, width: int | None
) -> nn.Module:
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if img_size is not None:
        options["img_size"] = img_size
    if width is not None:
        options["embed_dim"] = width
    try:
        model = timm.create_model(name, pretrained=pretrained, **options)
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
            raise ValueError(f"{name!r} can't be built{_of_width(width)}: {error}") from error
        raise ValueError(f"{name!r} can't take img_size={img_size}: {error}") from error
    if getattr(getattr(model, "patch_embed", None), "num_patches", 1) == 0:
        raise ValueError(f"{name!r} can't take img_size={img_size}: that is smaller than one patch")
    _require_head(name, model)
    return model


def _of_width(width: int | None) -> str:
    return "" if width is None else f" {width} channels wide"


def _require_head(name: str, model: nn.Module) -> None:
    if not getattr(model, "num_classes", 0):
        raise ValueError(f"model {name!r} has no classifier head: pass num_classes")


def _build_embedded(
    name: str, num_classes: int | None, img_size: int | None, width: int | None
) -> nn.Module:
    if img_size not in (None, _VIT_DIGITS["img_size"]):
        raise ValueError(f"{name} takes {_VIT_DIGITS['img_size']} px images, not {img_size}")
    classes = _DIGITS_CFG["num_classes"] if num_classes is None else num_classes
    sizes = _VIT_DIGITS if width is None else {**_VIT_DIGITS, "embed_dim": width}
    model = VisionTransformer(**sizes, num_classes=classes)
    model.pretrained_cfg = dict(_DIGITS_CFG)
    return model


def _load_embedded(model: nn.Module, name: str) -> None:
    path = checkpoint_dir(name) / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: reinstall, or run data/{name}/recipe.py")
    state = load_file(path)
    if head_is_new(model):
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
    model.load_state_dict(state, strict=not head_is_new(model))


def _preprocessing(model: nn.Module) -> dict[str, Any]:
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    config = model.pretrained_cfg
    return {key: config[key] for key in keys if config.get(key) is not None}


@torch.no_grad()
def _draw_head(model: nn.Module, generator: torch.Generator | None) -> None:
    head = model.get_classifier()
    if isinstance(head, nn.Linear) and not head.weight.is_meta:
        nn.init.trunc_normal_(head.weight, std=0.02, generator=generator)
        if head.bias is not None:
            nn.init.zeros_(head.bias)

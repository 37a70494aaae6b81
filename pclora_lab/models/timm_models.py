"""timm's vision transformers: by name, from the hub or from a folder."""

import contextlib
import difflib
import inspect
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pclora_lab.models.embedded import EMBEDDED, EMBEDDED_VITS, HEAD_DETAIL, build_vit, load_vit
from pclora_lab.models.folders import read_config
from pclora_lab.models.saved_layers import refuse_too_large
from pclora_lab.nn.forward import example_input
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.heads import draw_head
from pclora_lab.nn.metadata import pretrained_cfg_of, recipe_of, set_metadata
from pclora_lab.nn.patch_head import attach_patch_head, has_patch_head
from pclora_lab.wording import listed

__all__ = [
    "check_timm_folder",
    "check_timm_name",
    "draw_timm_head",
    "is_timm_name",
    "load_timm",
    "reset_timm_head",
    "timm_output_layers",
    "timm_recipe",
]


def is_timm_name(name: str) -> bool:
    """Whether timm itself knows the architecture (``vit_tiny``, ``timm/vit_tiny.tag``)."""
    return timm.is_model(name.removeprefix("timm/").split(".")[0])


def load_timm(
    name: str,
    num_classes: int | None,
    img_size: int | None,
    pretrained: bool,
    width: int | None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """An embedded vision transformer, or one of timm's.

    Args:
        name: of :data:`EMBEDDED_VITS`, timm's, or ``local-dir:PATH``.
        num_classes: of the head; None keeps the model's own.
        img_size: side of the input in pixels.
        pretrained: whether to read weights.
        width: of the embedding.
        options: more of timm's, as a recipe has them.

    Raises:
        ValueError: damaged weights, a size it can't take, no head.
        ConnectionError: the weights are not in the local cache and the hub can't be reached.
    """
    if name in EMBEDDED_VITS:
        model = build_vit(name, num_classes, img_size, width)
    else:
        name = name.removeprefix("timm/") if is_timm_name(name) else name
        given = {"num_classes": num_classes, "img_size": img_size, "embed_dim": width}
        given = {key: value for key, value in given.items() if value is not None}
        model = _create(name, pretrained, {**_safe_options(options or {}), **given})
        _note_saved_options(model, name, given)
    is_free = getattr(model, "pclora_takes_any_size", False)
    set_metadata(model, pclora_recipe=timm_recipe(model, None if is_free else img_size, width))
    if name in HEAD_DETAIL:
        attach_patch_head(model, recipe_of(model)["num_classes"], detail=HEAD_DETAIL[name])
    is_new = model.num_classes != pretrained_cfg_of(model).get("num_classes")
    set_metadata(model, pclora_head_is_new=is_new)
    if name in EMBEDDED_VITS and pretrained:
        load_vit(name, model)
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
        **({"options": options} if (options := getattr(model, "pclora_options", None)) else {}),
    }


@runtime_checkable
class _Classifier(Protocol):
    """How timm's models hand out their classifier, which each calls by a name of its own."""

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]: ...

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
    heads = _classifier(model).get_classifier()
    for head in (heads,) if isinstance(heads, nn.Module) else heads:  # distilled models have two
        draw_head(head, generator)


def timm_output_layers(model: nn.Module) -> list[str]:
    """Full names of the classifier; of a distilled model, of both."""
    heads = _classifier(model).get_classifier()
    modules = (heads,) if isinstance(heads, nn.Module) else heads
    return [name for name, module in model.named_modules() if any(module is h for h in modules)]


def reset_timm_head(model: nn.Module, num_classes: int, generator: torch.Generator | None) -> None:
    """A new classifier for another number of classes, in place."""
    if has_patch_head(model):
        attach_patch_head(model, num_classes, generator)
        return
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
    if config.get("architecture") is None or not isinstance(config["architecture"], str):
        raise ValueError(
            f"{folder / 'config.json'} names no architecture and no model_type: it is neither "
            "timm's nor transformers' format"
        )
    if not timm.is_model(config["architecture"]):
        raise ValueError(
            f"{folder / 'config.json'} names {config['architecture']!r}, unknown to timm"
        )


def _safe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an architecture, none of those by which timm reads files.

    Raises:
        ValueError: names what a saved model must not say.
    """
    own = set(inspect.signature(timm.create_model).parameters) - {"kwargs"}
    if refused := sorted(own & set(options)):
        raise ValueError(
            f"the saved model sets {listed(refused)}, which no architecture has: remove it from "
            "its config.json"
        )
    return dict(options)


def _note_saved_options(model: nn.Module, name: str, given: Mapping[str, Any]) -> None:
    """Keep what a folder's config.json says beyond name and classes (timm's ``model_args``)."""
    used = dict(getattr(model, "_model_args", given))
    if name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        used = {**(read_config(folder).get("model_args") or {}), **used}
    options = {key: value for key, value in used.items() if key not in {"num_classes", *given}}
    set_metadata(model, pclora_options=_safe_options(options))
    config = pretrained_cfg_of(model)
    if (side := options.get("img_size")) is not None:
        size = (side, side) if isinstance(side, int) else tuple(side)
        channels = config["input_size"][0]
        set_metadata(model, pretrained_cfg={**config, "input_size": (channels, *size)})
    labels = config.get("label_names")
    if isinstance(labels, list | tuple) and len(labels) == model.num_classes:
        set_metadata(model, pclora_class_names=tuple(map(str, labels)))


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    img_size, width = options.get("img_size"), options.get("embed_dim")
    try:
        with _without_pickles(name) as source:
            _refuse_large(name, source, pretrained, options)
            model = _create_of_any_size(source, pretrained, options)
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {name!r} can't be read ({error}): the file is damaged or cut short; "
            "fetch it again"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"what the hub's cache holds of {name!r} can't be read ({error}): a file is damaged or "
            "cut short; delete the model there and fetch it again"
        ) from error
    except OSError as error:
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and the hub can't be reached. "
            "Offline, use vit_digits, local-dir:PATH, or a model that is in the local cache. "
            f"({error})"
        ) from error
    except (
        TypeError, AssertionError, RuntimeError, LookupError, AttributeError, ArithmeticError,
    ) as error:  # fmt: skip
        if img_size is None or width is not None:
            wide = "" if width is None else f" {width} channels wide"
            raise ValueError(f"{name!r} can't be built{wide}: {error}") from error
        raise ValueError(f"{name!r} can't take img_size={img_size}: {error}") from error
    if getattr(getattr(model, "patch_embed", None), "num_patches", 1) == 0:
        raise ValueError(f"{name!r} can't take img_size={img_size}: that is smaller than one patch")
    if not getattr(model, "num_classes", 0):
        raise ValueError(f"model {name!r} has no classifier head: pass num_classes")
    return model


def _refuse_large(name: str, source: str, pretrained: bool, options: dict[str, Any]) -> None:
    """Compare sizes with the weights and with the memory, before any of it is taken."""
    if torch.get_default_device().type == "meta":
        return
    folder = Path(source.removeprefix("local-dir:"))
    is_read = pretrained and source.startswith("local-dir:")
    files = sorted(folder.glob("*.safetensors")) if is_read else ()
    with torch.device("meta"), generators_kept():
        described = _create_of_any_size(source, False, options)
    refuse_too_large(described, files, name)


@contextlib.contextmanager
def _without_pickles(name: str) -> Iterator[str]:
    """A folder as timm may read it, which takes pytorch_model.bin before some safetensors."""
    folder = Path(name.removeprefix("local-dir:"))
    is_plain = not name.startswith("local-dir:") or (folder / "model.safetensors").is_file()
    weights = [] if is_plain else sorted(folder.glob("*.safetensors"))
    if not weights:
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="pclora_lab_") as place:
        (Path(place) / "config.json").symlink_to((folder / "config.json").absolute())
        (Path(place) / "model.safetensors").symlink_to(weights[0].absolute())
        yield f"local-dir:{place}"


def _create_of_any_size(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Convolutional models take any size and know no ``img_size``, or take it and forget it."""
    try:
        model = timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        if "img_size" not in str(error) or "img_size" not in options:
            raise
        others = {key: value for key, value in options.items() if key != "img_size"}
        model = timm.create_model(name, pretrained=pretrained, **others)
    side, example = options.get("img_size"), example_input(model, "meta")
    if isinstance(side, int) and isinstance(example, Tensor) and example.shape[-1] != side:
        config = pretrained_cfg_of(model)
        size = (config["input_size"][0], side, side)
        set_metadata(
            model, pretrained_cfg={**config, "input_size": size}, pclora_takes_any_size=True
        )
    return model

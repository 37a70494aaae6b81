"""The small pre-trained models and the texts that come with the package."""

from pathlib import Path
from typing import TypedDict

from torch import nn

from pclora_lab.files import data_dir
from pclora_lab.json_files import read_json
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.tensor_files import DamagedFile, hash_of_file, load_tensors, verify

__all__ = ["EMBEDDED", "EMBEDDED_VITS", "HEAD_DETAIL", "build_vit", "check_embedded", "load_vit"]
__all__ += ["EMBEDDED_TASKS", "vit_classes", "vit_options"]

EMBEDDED = ("vit_digits", "bert_glosses", "llama_glosses", "vit_scenes")
# Of transformers', what they were trained for.
EMBEDDED_TASKS = {"bert_glosses": "text-classification", "llama_glosses": "language-model"}


class ViTOptions(TypedDict):
    """Those of timm's ``VisionTransformer`` that are not its defaults."""

    img_size: int
    patch_size: int
    in_chans: int
    embed_dim: int
    depth: int
    num_heads: int


_DIGITS = tuple(map(str, range(10)))
_SHAPE: ViTOptions = {
    "img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 96, "depth": 4, "num_heads": 3,
}  # fmt: skip
_VITS: dict[str, tuple[ViTOptions, tuple[str, ...]]] = {
    "vit_digits": (_SHAPE, _DIGITS),
    "vit_scenes": ({**_SHAPE, "img_size": 32, "patch_size": 4}, ("background", *_DIGITS)),
}
EMBEDDED_VITS = tuple(_VITS)
# Of the models that answer for pixels: how finely a patch of theirs does.
HEAD_DETAIL = {"vit_scenes": 2}

_PIXELS = {"mean": (0.5,), "std": (0.5,), "interpolation": "bilinear", "crop_pct": 1.0}


def vit_classes(name: str) -> tuple[str, ...]:
    """Names of the classes that an embedded vision transformer was trained for."""
    return _VITS[name][1]


def vit_options(name: str, width: int | None = None) -> ViTOptions:
    """What timm's ``VisionTransformer`` is built with.

    Args:
        name: one of :data:`EMBEDDED_VITS`.
        width: another width of the embedding.
    """
    options = _VITS[name][0].copy()
    if width is not None:
        options["embed_dim"] = width
    return options


def build_vit(
    name: str,
    num_classes: int | None = None,
    img_size: int | None = None,
    width: int | None = None,
) -> nn.Module:
    """The architecture with a classifier, untrained.

    Args:
        name: one of :data:`EMBEDDED_VITS`.
        num_classes: of the classifier; None takes the model's own.
        img_size: None, or its own.
        width: another width of the embedding.

    Raises:
        ValueError: another size of image than it was made for, or a width that its heads can't
            share.
    """
    options, classes = _VITS[name]
    side, heads = options["img_size"], options["num_heads"]
    if img_size not in (None, side):
        raise ValueError(f"{name} takes {side} px images, not {img_size}")
    if width is not None and (width < 1 or width % heads):
        raise ValueError(
            f"{name} has {heads} heads, which can't share a width of {width}: use a multiple "
            f"of {heads}"
        )
    from timm.models import VisionTransformer  # which takes seconds, and the names above do not

    wanted = len(classes) if num_classes is None else num_classes
    model = VisionTransformer(**vit_options(name, width), num_classes=wanted)
    config = {"architecture": name, "input_size": (options["in_chans"], side, side), **_PIXELS}
    config |= {"num_classes": len(classes), "classifier": "head"}
    set_metadata(model, pretrained_cfg=config)
    return model


def check_embedded(name: str) -> Path:
    """The file of a built-in model's weights, once it is the one that its record names.

    Args:
        name: one of :data:`EMBEDDED`.

    Raises:
        FileNotFoundError: it is not there.
        DamagedFile: it is another one, or damaged.
    """
    path = data_dir(name) / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: reinstall, or run data/{name}/recipe.py")
    # One that was made again may be sealed, or have a record of its own beside it.
    if verify(path) is None:
        record = read_json(path.with_name("result.json")) or {}
        if hash_of_file(path) != record.get("sha256"):
            raise DamagedFile(
                f"{path} is not the file that the result.json beside it was written for: it is "
                f"damaged or was replaced. Reinstall, or run data/{name}/recipe.py"
            )
    return path


def load_vit(name: str, model: nn.Module) -> None:
    """Read the trained weights; a head of another number of classes is left as it is.

    Args:
        name: one of :data:`EMBEDDED_VITS`.
        model: of its architecture, with its kind of head.

    Raises:
        FileNotFoundError: the checkpoint is not there.
        DamagedFile: it is not the one that belongs to the package.
    """
    state = load_tensors(check_embedded(name), remark=False)
    classes = vit_classes(name)
    is_new = model.num_classes != len(classes)
    if is_new:
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
    else:
        set_metadata(model, pclora_class_names=classes)
    model.load_state_dict(state, strict=not is_new)

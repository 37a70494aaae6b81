"""The small pre-trained models and the texts that come with the package."""

from pathlib import Path
from typing import TypedDict

from torch import nn

from pclora_lab.files import data_dir
from pclora_lab.json_files import read_json
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.tensor_files import DamagedFile, hash_of_file, load_tensors, verify

__all__ = ["EMBEDDED", "build_vit_digits", "check_embedded", "load_vit_digits"]

EMBEDDED = ("vit_digits", "bert_glosses")


class ViTOptions(TypedDict):
    """Those of timm's ``VisionTransformer`` that are not its defaults."""

    img_size: int
    patch_size: int
    in_chans: int
    embed_dim: int
    depth: int
    num_heads: int


_VIT_DIGITS: ViTOptions = {
    "img_size": 8,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 96,
    "depth": 4,
    "num_heads": 3,
}


_CLASSES = 10


_DIGITS_CFG = {
    "architecture": "vit_digits",
    "input_size": (1, 8, 8),
    "mean": (0.5,),
    "std": (0.5,),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "num_classes": _CLASSES,
    "classifier": "head",
}


def build_vit_digits(
    num_classes: int | None = None, img_size: int | None = None, width: int | None = None
) -> nn.Module:
    """The architecture, untrained; ``width`` is another width of the embedding.

    Raises:
        ValueError: another size of image than it was made for, or a width that its heads can't
            share.
    """
    if img_size not in (None, _VIT_DIGITS["img_size"]):
        raise ValueError(f"vit_digits takes {_VIT_DIGITS['img_size']} px images, not {img_size}")
    heads = _VIT_DIGITS["num_heads"]
    if width is not None and (width < 1 or width % heads):
        raise ValueError(
            f"vit_digits has {heads} heads, which can't share a width of {width}: use a multiple "
            f"of {heads}"
        )
    from timm.models import VisionTransformer  # which takes seconds, and the names above do not

    classes = _CLASSES if num_classes is None else num_classes
    model = VisionTransformer(**vit_digits_options(width), num_classes=classes)
    set_metadata(model, pretrained_cfg=dict(_DIGITS_CFG))
    return model


def vit_digits_options(width: int | None = None) -> ViTOptions:
    """What timm's ``VisionTransformer`` is built with."""
    options = _VIT_DIGITS.copy()
    if width is not None:
        options["embed_dim"] = width
    return options


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


def load_vit_digits(model: nn.Module) -> None:
    """Read the trained weights; a head of another number of classes is left as it is.

    Raises:
        FileNotFoundError: the checkpoint is not there.
        DamagedFile: it is not the one that belongs to the package.
    """
    state = load_tensors(check_embedded("vit_digits"), remark=False)
    is_new = model.num_classes != _CLASSES
    if is_new:
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
    model.load_state_dict(state, strict=not is_new)

"""A model folder: its ``config.json``, and weights that run no code when they are read."""

from pathlib import Path
from typing import Any

from pclora_lab.json_files import read_json
from pclora_lab.wording import listed

__all__ = ["read_config", "require_safetensors"]

_PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".tar"}


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
    return read_json(folder / "config.json", folder / "config.json") or {}


def require_safetensors(folder: Path) -> None:
    """Refuse folders without weights, or whose weights could run code when they are loaded.

    Raises:
        ValueError: no safetensors there; says what needs none, or how to convert pickled weights.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = [p.name for p in sorted(folder.iterdir()) if p.suffix in _PICKLED]
    if not pickled:
        raise ValueError(
            f"no model.safetensors in {folder}: it holds a configuration without weights, from "
            "which `pclora-lab plan` counts and load_model(…, pretrained=False) builds; to train "
            "or export, put the model's weights there"
        )
    raise ValueError(
        f"no model.safetensors in {folder}: pickled weights ({listed(pickled)}) "
        "are refused because loading them can run code. If you trust their source, convert them "
        "once, in a script of your own: safetensors.torch.save_file(torch.load("
        f"{pickled[0]!r}, weights_only=True), 'model.safetensors')"
    )

"""``timm.create_model("local-dir:…")`` for folders that this package has saved.

Their config.json names an architecture of this package's own. timm refuses it as unknown where the
package was not imported; otherwise it calls the function here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import is_model, register_model
from torch import nn

__all__ = ["register"]


def register() -> None:
    """Let timm know the architecture; calling it again changes nothing."""
    if not is_model(_NAME):
        register_model(pclora_lab)


def pclora_lab(
    pretrained: bool = False,
    pretrained_cfg: Mapping[str, Any] | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    num_classes: int | None = None,
    img_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """A model that :func:`pclora_lab.save_pretrained` wrote; called by timm, under this name.

    As timm does it, the weights are in float32 and nothing is read without ``pretrained``.

    Args:
        pretrained: whether the weights are read.
        pretrained_cfg: what config.json says, and where timm has found it.
        pretrained_cfg_overlay: what is otherwise about the input, such as mean and deviation.
        cache_dir: of files from the hub.
        num_classes: of the head; where they are not those that were saved, the head is new.
        img_size: side of the input in pixels, which must be the one that was saved.
        **options: of other architectures, which a saved model has no room for.

    Raises:
        ValueError: no folder, options, or what :func:`pclora_lab.load_model` refuses.
    """
    from pclora_lab.models.loading import load_model
    from pclora_lab.nn.metadata import pretrained_cfg_of, set_metadata

    if options:
        raise ValueError(
            f"a saved model is built as it was saved, without {', '.join(sorted(options))}: leave "
            "them out"
        )
    folder = _folder(pretrained_cfg or {}, cache_dir)
    model = load_model(folder, num_classes=num_classes, img_size=img_size, pretrained=pretrained)
    if pretrained_cfg_overlay:
        set_metadata(model, pretrained_cfg={**pretrained_cfg_of(model), **pretrained_cfg_overlay})
    return model


_NAME = pclora_lab.__name__


def _folder(found: Mapping[str, Any], cache_dir: str | Path | None) -> Path:
    if found.get("source") == "local-dir":
        return Path(found["file"])
    if found.get("source") == "hf-hub":
        return _from_hub(found["hf_hub_id"], cache_dir)
    raise ValueError(
        f"{_NAME} is the architecture of a saved model: give its folder, "
        'timm.create_model("local-dir:…", pretrained=True), or take '
        "pclora_lab.from_pretrained(folder)"
    )


def _from_hub(name: str, cache_dir: str | Path | None) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    files = ["config.json", "model.safetensors"]
    return Path(
        snapshot_download(
            repository, revision=revision or None, cache_dir=cache_dir, allow_patterns=files
        )
    )

"""The text of the ``load.py`` beside an export: it needs timm or transformers and nothing else."""

from typing import Any

from pclora_lab.models.embedded import EMBEDDED_VITS

__all__ = ["loader_text"]

_SIDE_BY_SIDE = '''

class SideBySide(nn.ModuleDict):
    """Query, key and value, which were one layer in the original."""

    def forward(self, x):
        return torch.cat([self[part](x) for part in "qkv"], dim=-1)
'''


_PAIR = '''

class Pair(nn.Sequential):
    """Two layers in place of one, whose weight some models read (T5, ConViT)."""

    @property
    def weight(self):
        return self[1].weight @ self[0].weight
'''


_PATCH_HEAD = '''

class PatchHead(nn.Module):
    """A linear layer per patch, then bilinear upsampling: classes of pixels."""

    def __init__(self, width, num_classes, grid, size, detail):
        super().__init__()
        self.linear = nn.Linear(width, num_classes * detail**2)
        self.grid, self.size, self.detail = tuple(grid), tuple(size), detail

    def forward(self, tokens):
        height, width = self.grid
        patches = self.linear(tokens[:, -height * width :]).float()
        coarse = patches.transpose(1, 2).unflatten(2, (height, width))
        parts = nn.functional.pixel_shuffle(coarse, self.detail)
        return nn.functional.interpolate(parts, size=self.size, mode="bilinear")
'''


_PUT_HEAD = """
    # Every token passes on to the head, where one or their mean did.
    model.global_pool, model.head = "", PatchHead(**config["patch_head"])"""


_LOAD = 'load_model(model, Path(folder) / "model.safetensors")'


_LOAD_ROUNDED = """tensors = load_file(Path(folder) / "model.safetensors")
    for name in [name.removesuffix(".int8") for name in tensors if name.endswith(".int8")]:
        tensors[name] = tensors.pop(name + ".int8") * tensors.pop(name + ".scale")
    # Two layers that share a weight have it once in the file.
    missing, unknown = model.load_state_dict(tensors, strict=False)
    shared = {{p.data_ptr() for name, p in model.state_dict().items() if name in tensors}}
    if unknown or any(model.state_dict()[name].data_ptr() not in shared for name in missing):
        raise ValueError(f"the weights are of another model: {{[*missing, *unknown]}}")"""


# What ends a text, and how one is continued, where the model itself was told.
_GENERATION = """
    if (Path(folder) / "generation_config.json").is_file():
        model.generation_config = type(model.generation_config).from_pretrained(folder)"""


_LOADER = '''"""Load this model with {library} and safetensors alone."""

import hashlib
import json
from pathlib import Path

{imports}
{classes}

def check(file, expected):
    """Refuse weights that are not those which were exported."""
    with open(file, "rb") as data:
        digest = hashlib.sha256()
        while block := data.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ValueError(f"{{file}} is not what was exported: fetch or export it again")


def load(folder=Path(__file__).parent):
    config = json.loads((Path(folder) / "config.json").read_text())
    check(Path(folder) / "model.safetensors", config["sha256"])
    model = {build}{head}
    for name, layer in config["low_rank"].items():
        width, rank, out = layer["in"], layer["rank"], layer["out"]
        first = nn.Embedding(width, rank) if layer["table"] else nn.Linear(width, rank, bias=False)
        kind = nn.Sequential if layer["table"] else Pair
        pair = kind(first, nn.Linear(rank, out, bias=layer["bias"]))
        {put}
    {load}{generation}
    return model.eval()


if __name__ == "__main__":
    model = load()
    print(f"{{sum(p.numel() for p in model.parameters()):,}} parameters")
'''


_PUT = "model.set_submodule(name, pair)"


_PUT_SPLIT = """parent, _, part = name.rpartition(".")
        if part in ("q", "k", "v") and not isinstance(model.get_submodule(parent), SideBySide):
            model.set_submodule(parent, SideBySide())
        model.get_submodule(parent).add_module(part, pair)"""


def loader_text(recipe: dict[str, Any], has_split: bool, int8: bool) -> str:
    """A loader for one model.

    Args:
        recipe: how it is built.
        has_split: whether query, key and value, one layer once, are three in it.
        int8: whether its matrices are written in 8 bits.
    """
    if recipe.get("library") == "transformers":
        from pclora_lab.models.hf_models import HF_TASKS  # timm's models need no transformers

        library, auto = "transformers", HF_TASKS[recipe["task"]].__name__
        build = f'{auto}.from_config(AutoConfig.for_model(**config["transformers"]))'
        third = f"from transformers import AutoConfig, {auto}"
    elif recipe["architecture"] in EMBEDDED_VITS:
        library, build = "timm", 'VisionTransformer(**config["options"])'
        third = "from timm.models import VisionTransformer"
    else:
        library, build = "timm", 'timm.create_model(config["architecture"], **config["options"])'
        third = "import timm"
    reads = "load_file" if int8 else "load_model"
    lines = [f"from safetensors.torch import {reads}", "from torch import nn", third]
    lines += ["import torch"] if has_split else []
    has_head = recipe.get("head") is not None
    lines.sort(key=lambda line: (line.startswith("from"), line))
    return _LOADER.format(
        library=library,
        imports="\n".join(lines),
        build=build,
        head=_PUT_HEAD if has_head else "",
        classes=_PAIR + (_SIDE_BY_SIDE if has_split else "") + (_PATCH_HEAD if has_head else ""),
        put=_PUT_SPLIT if has_split else _PUT,
        load=_LOAD_ROUNDED.format() if int8 else _LOAD,
        generation=_GENERATION if recipe.get("task") == "language-model" else "",
    )

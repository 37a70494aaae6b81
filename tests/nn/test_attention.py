"""Maps of attention: of transformers' models, against what these give themselves."""

from types import SimpleNamespace

import pytest
import timm
import torch
from light import imported_without
from tiny_hf import config, image_side
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

from pclora_lab.nn.attention import attention_maps


@pytest.mark.parametrize(("kind", "prefix"), [("vit", 1), ("deit", 2)])
def test_the_map_is_how_the_class_token_looks_at_the_patches(kind, prefix):
    torch.manual_seed(0)
    made = config(kind, attention_probs_dropout_prob=0.5)
    model = AutoModelForImageClassification.from_config(made, attn_implementation="eager").eval()
    images = torch.randn(2, made.num_channels, image_side(made), image_side(made))
    with torch.no_grad():
        weights = model(pixel_values=images, output_attentions=True).attentions[-1]
    looked = weights.mean(1)[:, 0, prefix:]
    expected = looked / looked.sum(-1, keepdim=True)
    side = made.image_size // made.patch_size

    model.set_attn_implementation("sdpa")
    found = attention_maps(model.train(), images)
    assert found.shape == (2, side, side) and model.training
    torch.testing.assert_close(found.flatten(1), expected)
    assert model.config._attn_implementation == "sdpa"


def test_without_a_class_token_it_is_how_all_patches_look_at_one():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, class_token=False, global_pool="avg", depth=2,
        no_embed_class=True,
    ).eval()  # fmt: skip
    images, seen = torch.randn(2, 3, 48, 48), {}
    block = model.blocks[-1].attn
    block.fused_attn = False
    block.attn_drop.register_forward_hook(lambda m, args, y: seen.update(weights=y))
    with torch.no_grad():
        model(images)
    looked = seen["weights"].mean((1, 2))  # over heads, and over who looks
    expected = looked / looked.sum(-1, keepdim=True)
    torch.testing.assert_close(attention_maps(model, images).flatten(1), expected)


class Attention(nn.Module):
    """Two heads of width 3, perhaps with norms of queries and keys."""

    def __init__(self, *, norms: bool = False) -> None:
        super().__init__()
        self.num_heads, self.qkv = 2, nn.Linear(6, 18)
        if norms:
            self.q_norm, self.k_norm = nn.LayerNorm(3), nn.LayerNorm(3)
            nn.init.normal_(self.q_norm.weight)
            nn.init.normal_(self.k_norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.qkv(x)[..., :6]


class Vision(nn.Module):
    """Shaped as timm's are: patches in rows of three, and ``prefix`` tokens before them."""

    def __init__(self, prefix: int, *, rows: int = 2, norms: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.prefix = nn.Parameter(torch.randn(prefix, 6))
        self.patch_embed = SimpleNamespace(grid_size=(rows, 3))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"attn": Attention(norms=norms)}).requires_grad_(False) for _ in range(2)
        )
        for block in self.blocks:
            block.attn = block["attn"]
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.prefix.expand(len(x), -1, -1), self.drop(x)), dim=1)
        for block in self.blocks:
            x = x + block["attn"](x)
        return x.mean(1)


def looked_at(model: Vision, x: Tensor) -> Tensor:
    """How much each patch is looked at, head by head and token by token."""
    prefix, patches = len(model.prefix), x.shape[1]
    maps = torch.zeros(len(x), patches)
    for row, tokens in enumerate(torch.cat((model.prefix.expand(len(x), -1, -1), x), dim=1)):
        tokens = tokens + model.blocks[0].attn(tokens)
        attn = model.blocks[1].attn
        q, k = attn.qkv(tokens)[:, :6], attn.qkv(tokens)[:, 6:12]
        for head in (slice(0, 3), slice(3, 6)):
            one, other = q[:, head], k[:, head]
            if hasattr(attn, "q_norm"):
                one, other = attn.q_norm(one), attn.k_norm(other)
            weights = torch.softmax(one @ other.T / 3**0.5, dim=1)
            looks = weights[:1] if prefix else weights  # the class token, or every patch
            maps[row] += looks[:, prefix:].sum(0)
    return maps / maps.sum(1, keepdim=True)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("norms", [False, True])
def test_it_is_what_the_last_block_computes_head_by_head(prefix, norms):
    model, x = Vision(prefix, norms=norms).train(), torch.randn(3, 6, 6)
    found = attention_maps(model, x)
    assert found.shape == (3, 2, 3) and not found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(found.flatten(1), looked_at(model, x))
    assert all(m.training and not m._forward_hooks for m in model.modules())


def without(place: str, name: str) -> nn.Module:
    model = Vision(1)
    delattr(model.get_submodule(place) if place else model, name)
    return model


class InWindows(Vision):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2 * len(x), 3, 6))


NONE = {
    "no blocks": lambda: without("", "blocks"),
    "no block": lambda: setattr(model := Vision(1), "blocks", nn.ModuleList()) or model,
    "no attention": lambda: without("blocks.1", "attn"),
    "no heads": lambda: without("blocks.1.attn", "num_heads"),
    "no fused layer": lambda: without("blocks.1.attn", "qkv"),
    "no grid": lambda: without("", "patch_embed"),
    "another": lambda: nn.Linear(6, 6),
    "fewer tokens than patches": lambda: Vision(1, rows=5),
    "windows": lambda: InWindows(0, rows=1),
}


@pytest.mark.parametrize("build", NONE.values(), ids=NONE)
def test_a_model_without_such_attention_is_refused_with_what_has_it(build):
    model = build()
    message = f"^{type(model).__name__} has no attention over a grid .* a ViT or DeiT has$"
    with pytest.raises(ValueError, match=message):
        attention_maps(model, torch.randn(2, 6, 6))


class Transformer(nn.Module):
    """As transformers' are, with given attention."""

    def __init__(self, attentions: object, **config: object) -> None:
        super().__init__()
        self.attentions, self.seen = attentions, []
        sizes = {"image_size": 6, "patch_size": 2, **config}
        self.config = SimpleNamespace(**sizes, _attn_implementation="sdpa")

    def set_attn_implementation(self, name: str) -> None:
        self.config._attn_implementation = name

    def forward(self, pixel_values: Tensor, *, output_attentions: bool) -> object:
        self.seen.append((self.config._attn_implementation, output_attentions, self.training))
        if isinstance(self.attentions, Exception):
            raise self.attentions
        return SimpleNamespace(attentions=self.attentions)


def forgets(name: str) -> nn.Module:
    model = Transformer((torch.ones(2, 1, 10, 10),))
    delattr(model.config, name)
    return model


def test_of_transformers_models_the_last_block_is_asked_in_eval_mode():
    first, last = torch.rand(2, 2, 4, 10, 10)
    model = Transformer((first.half(), last.half())).train()
    found = attention_maps(model, torch.zeros(2, 3, 6, 6))
    looked = last.half().float().mean(1)[:, 0, 1:]
    torch.testing.assert_close(found.flatten(1), looked / looked.sum(1, keepdim=True))
    assert found.dtype is torch.float32 and found.shape == (2, 3, 3)
    assert model.seen == [("eager", True, False)] and model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "build",
    [
        lambda: Transformer(None),
        lambda: Transformer(()),
        lambda: Transformer((torch.ones(1, 1, 10, 10), None)),
        lambda: Transformer(TypeError("output_attentions")),
        lambda: Transformer((torch.ones(2, 1, 10, 10),), image_size=(6, 6)),
        lambda: Transformer((torch.ones(2, 1, 10, 10),), patch_size=(2, 2)),
        lambda: Transformer((torch.ones(2, 1, 10, 10),), image_size=8),
        lambda: forgets("patch_size"),
        lambda: forgets("image_size"),
    ],
    ids="none empty last_none unknown sides patches fewer no_patch no_side".split(),
)
def test_a_transformers_model_that_tells_no_such_attention_is_refused(build):
    model = build()
    with pytest.raises(ValueError, match="^Transformer has no attention over a grid"):
        attention_maps(model, torch.zeros(2, 3, 6, 6))
    assert model.config._attn_implementation == "sdpa"


def test_another_error_of_the_model_is_not_hidden_and_the_kernels_are_restored():
    model = Transformer(KeyError("own"))
    with pytest.raises(KeyError, match="own"):
        attention_maps(model, torch.zeros(2, 3, 6, 6))
    assert model.config._attn_implementation == "sdpa"


def test_who_imports_the_maps_pays_for_no_transformers():
    assert imported_without("pclora_lab.nn.attention", "transformers").attention_maps

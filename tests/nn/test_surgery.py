"""Finding, proving and replacing layers; a refusal leaves the model as it was."""

import pytest
import torch
import torch.nn.functional as F
from state import snapshot
from timm.models import SwinTransformer
from timm.models.beit import Beit
from torch import nn

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model
from pclora_lab.nn.forward import call_model, eval_mode, example_input
from pclora_lab.nn.surgery import (
    block_names,
    count_inputs,
    deepcopy_sharing,
    find_targets,
    meta_copy,
)

BLOCK_LINEARS = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]


class ReadsWeight(nn.Module):
    """Uses one layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.called(x), self.read.weight, self.read.bias)


class Shared(nn.Module):
    """One layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.free = (nn.Linear(16, 16) for _ in range(3))
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.free(self.second(self.first(x)))


class Encoder(nn.Module):
    """torch's own encoder: in eval mode its fast path reads ``linear1.weight``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x.mean(1)


def test_blocks_are_the_linears_inside_the_transformer_blocks(vit):
    want = [f"blocks.{i}.{name}" for i in range(2) for name in BLOCK_LINEARS]
    assert list(find_targets(vit)) == want
    assert all(find_targets(vit)[name] is vit.get_submodule(name) for name in want)


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (r"mlp", [f"blocks.{i}.mlp.fc{j}" for i in range(2) for j in (1, 2)]),
        (r"^blocks\.1\.attn", ["blocks.1.attn.qkv", "blocks.1.attn.proj"]),
        (r"^head$", ["head"]),
    ],
)
def test_targets_may_be_a_regular_expression(vit, targets, names):
    assert list(find_targets(vit, targets)) == names


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lambda vit: vit, {"targets": "nope"}, "'nope' finds no linear.*blocks.0.attn.qkv.*head"),
        (lambda vit: nn.Sequential(nn.Conv2d(1, 1, 1)), {}, "it has no nn.Linear at all"),
        (lambda vit: nn.Sequential(nn.Linear(4, 4)), {}, "its linear layers are: 0"),
        (lambda vit: vit, {"targets": "("}, r"targets '\(' is no regular expression"),
        (lambda vit: vit, {"rank": 500}, "rank 500"),
        (lambda vit: vit, {"rank": 4, "init": "activation_svd"}, "pass calibration="),
        (lambda vit: ReadsWeight(), {"targets": ""}, "ReadsWeight never calls read in a forward"),
        (lambda vit: Shared(), {"targets": ""}, "first.weight and second.weight are one"),
        (lambda vit: Tied(), {"targets": ""}, "first.weight and second.weight are one"),
        (lambda vit: Encoder(), {"targets": "out_proj"}, "'out_proj' finds no linear layer"),
    ],
    ids="nothing conv mlp regex rank calibration bypassed shared tied attention".split(),
)
def test_a_refusal_says_why_and_leaves_the_model_unchanged(vit, build, options, message):
    model = build(vit).train()
    example = None if model is vit else torch.zeros(1, 16)
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        get_pclora_model(model, PCLoRAConfig(**{"rank": 2, **options}), example=example)
    assert snapshot(model) == before


def test_timm_models_that_read_the_weight_are_refused():
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    model = Beit(**sizes, num_classes=3)
    with pytest.raises(ValueError, match="Beit never calls blocks.0.attn.qkv"):
        count_inputs(model, find_targets(model), torch.zeros(1, 3, 16, 16))


def test_torchs_encoder_is_refused_or_its_student_works():
    model, x = Encoder().eval(), torch.randn(2, 3, 16)
    try:
        student = get_pclora_model(model, PCLoRAConfig(rank=2), example=x[:1])
    except ValueError as error:
        assert "linear1" in str(error)
        return
    with torch.no_grad():
        torch.testing.assert_close(student(x), model(x))


def test_every_vector_that_enters_a_layer_is_counted(vit):
    tokens = count_inputs(vit, find_targets(vit, "fc1|head"), torch.zeros(3, 3, 16, 16))
    assert tokens == {"blocks.0.mlp.fc1": 15, "blocks.1.mlp.fc1": 15, "head": 3}


def test_block_names_follow_the_deepest_numbered_parent():
    swin = SwinTransformer(
        img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(1, 2), num_heads=(2, 2)
    )
    names = [name for name in find_targets(swin) if "downsample" not in name]
    assert block_names(names) == ["layers.0.blocks.0", "layers.1.blocks.0", "layers.1.blocks.1"]
    assert block_names(["fc", "blocks.0.fc1"]) == ["fc", "blocks.0.fc1"]


def test_evaluating_restores_the_mode_of_every_module_even_after_an_error(vit):
    vit.train()
    vit.blocks[0].eval()
    modes = [m.training for m in vit.modules()]
    with pytest.raises(KeyError), eval_mode(vit):
        assert not any(m.training for m in vit.modules()) and not torch.is_grad_enabled()
        raise KeyError
    assert [m.training for m in vit.modules()] == modes and torch.is_grad_enabled()


def test_a_sharing_copy_shares_only_what_it_is_told_to(vit):
    shared = vit.blocks[0].mlp.fc1.weight
    twin = deepcopy_sharing(vit, [shared])
    same = [n for n, p in twin.named_parameters() if p is vit.get_parameter(n)]
    assert same == ["blocks.0.mlp.fc1.weight"]
    assert twin.head.weight.data_ptr() != vit.head.weight.data_ptr()


def test_a_meta_copy_has_the_shapes_and_no_storage(vit):
    twin = meta_copy(vit)
    shapes = {name: t.shape for name, t in vit.state_dict().items()}
    assert {name: t.shape for name, t in twin.state_dict().items()} == shapes
    assert all(t.is_meta for t in twin.state_dict().values())
    assert not any(t.is_meta for t in vit.state_dict().values())


@pytest.mark.parametrize(
    "output", [lambda y: y, lambda y: (y, 0), lambda y: type("Output", (), {"logits": y})()]
)
def test_logits_are_found_in_whatever_a_model_returns(output):
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return output(2 * x)

    for inputs in (torch.ones(3), {"x": torch.ones(3)}):
        assert torch.equal(call_model(Model(), inputs), torch.full((3,), 2.0))


def test_a_model_that_does_not_say_its_input_needs_an_example():
    with pytest.raises(ValueError, match="Linear does not say what input it takes: pass example="):
        example_input(nn.Linear(2, 2))

"""Which layers are found by which name, what is refused, and what is put in their place."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.surgery import (
    as_linear,
    block_names,
    bypassed_attention,
    count_inputs,
    find_embeddings,
    find_targets,
    frozen_view,
    get_linear,
    is_linear,
    refuse_attention,
    replace_modules,
)


class Encoder(nn.Module):
    """torch's own encoder layers, numbered."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32) for _ in range(2))


def test_a_layer_is_written_as_torch_writes_it_or_refused_by_its_kind():
    linear, table = nn.Linear(2, 2), nn.Embedding(2, 2)
    assert as_linear(linear) is linear and as_linear(table) is table
    assert is_linear(linear) and not is_linear(table) and not is_linear(nn.Identity())
    with pytest.raises(TypeError, match="^Identity is neither a linear layer nor an embedding"):
        as_linear(nn.Identity())


def test_a_layer_is_got_by_its_name_or_refused_by_it():
    model = nn.ModuleDict({"fc": nn.Linear(2, 2), "table": nn.Embedding(2, 2), "odd": Odd(2, 2)})
    assert get_linear(model, "fc") is model["fc"]
    with pytest.raises(TypeError, match="^table is Embedding, not a linear layer"):
        get_linear(model, "table")
    with pytest.raises(ValueError, match="^odd can't be replaced: Odd, a subclass.*targets"):
        get_linear(model, "odd")


class Odd(nn.Linear):
    """Computes something else than a matrix does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).abs()


class Words(nn.Module):
    """A language model that says which module reads its words."""

    def __init__(self, table: nn.Module | None, *, tied: bool = False) -> None:
        super().__init__()
        self.body, self.other = nn.ModuleDict({"table": table}), nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        if tied:
            self.head.weight = table.weight

    def get_input_embeddings(self) -> nn.Module | None:
        return self.body["table"]


def test_the_word_embedding_is_the_one_that_the_model_names():
    model = Words(nn.Embedding(4, 3))
    assert find_embeddings(model) == {"body.table": model.body["table"]}
    for without in (Words(nn.Linear(4, 3)), Words(None), nn.Sequential(nn.Embedding(4, 3))):
        with pytest.raises(ValueError, match=f"^{type(without).__name__} has no word embedding"):
            find_embeddings(without)
    with pytest.raises(ValueError, match="^body.table is tied or shared: body.table.weight and he"):
        find_embeddings(Words(nn.Embedding(4, 3), tied=True))


def test_one_weight_in_two_places_is_refused_wherever_it_stands():
    model = Words(nn.Embedding(4, 3))
    model.own = model.head.weight
    with pytest.raises(ValueError, match="^head is tied or shared: own and head.weight are one"):
        find_targets(model, "head")


def test_the_factors_of_a_layer_are_no_layers_to_replace():
    model = nn.ModuleDict({"fc": LowRankLinear(8, 8, 2), "fc2": nn.Linear(8, 8)})
    assert list(find_targets(model, ".")) == ["fc2"], "nor is a name that begins alike a part"
    model = nn.ModuleDict({"fc": Holder(8, 8), "fc2": nn.Linear(8, 8)})
    assert list(find_targets(model, ".")) == ["fc", "fc2"]


class Holder(nn.Linear):
    """A linear layer that has another one inside, as an adapter's has."""

    def __init__(self, *widths: int) -> None:
        super().__init__(*widths)
        self.inner = nn.Linear(*widths)


def blocks(*widths: tuple[int, int]) -> nn.Module:
    """Two blocks of such layers, without storage."""
    with torch.device("meta"):
        return nn.Sequential(*(nn.Sequential(*(nn.Linear(*w) for w in widths)) for _ in range(2)))


@pytest.mark.parametrize(
    ("widest", "narrow", "is_left_out"),
    [
        ((768, 768), (768, 48), True),
        ((768, 768), (48, 768), True),
        ((767, 768), (768, 48), False),
        ((784, 784), (784, 49), False),
        ((784, 784), (784, 48), True),
        ((16, 16), (16, 1), True),
        ((32, 32), (32, 3), False),
    ],
)
def test_what_has_a_number_per_head_is_as_narrow_as_heads_are_and_a_share_of_its_block(
    widest, narrow, is_left_out
):
    kept = ["0.0", "1.0"] if is_left_out else ["0.0", "0.1", "1.0", "1.1"]
    assert list(find_targets(blocks(widest, narrow))) == kept


def test_each_block_has_its_own_measure_and_other_layers_are_in_none():
    model = nn.Sequential(blocks((768, 768), (768, 48)), blocks((48, 48), (48, 48)))
    model.append(nn.Linear(768, 768, device="meta"))
    assert list(find_targets(model)) == ["0.0.0", "0.1.0", "1.0.0", "1.0.1", "1.1.0", "1.1.1"]


def test_a_block_is_numbered_and_has_two_layers_or_more():
    assert block_names(["a.0.x", "a.0.y", "a.1.x"]) == ["a.0", "a.1.x"]
    assert block_names(["0.1.x", "0.1.y", "0.2.z"]) == ["0.1", "0"], "the deepest that has two"
    assert block_names(["a.1.x", "a.10.x"]) == ["a.1.x", "a.10.x"], "1 is no part of 10"
    assert block_names(["0", "1"]) == ["0", "1"], "a layer is not its own block"


def test_what_there_is_instead_is_listed():
    model = nn.ModuleDict({f"l{i:02}": nn.Linear(1, 1) for i in range(22)})
    with pytest.raises(ValueError, match="l18, l19 .*2 more") as error:
        find_targets(model, "nope")
    assert "l20" not in str(error.value) and "convolutions" not in str(error.value)
    mixed = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv1d(1, 1, 1), nn.Linear(1, 1))
    with pytest.raises(ValueError, match="layers are: 2, and its 2 convolutions are not replaced"):
        find_targets(mixed, "nope")


def test_attention_of_torch_is_found_where_the_targets_reach_it():
    model = nn.ModuleDict({"layers": Encoder().layers, "extra": nn.MultiheadAttention(4, 1)})
    inside = ["layers.0.self_attn", "layers.1.self_attn"]
    assert bypassed_attention(model) == inside, "blocks are numbered"
    assert bypassed_attention(model, "self_attn$") == inside
    assert bypassed_attention(model, r"1\.self_attn\.out_proj") == inside[1:]
    assert bypassed_attention(model, "extra") == ["extra"]
    assert bypassed_attention(model, "linear") == []


def test_the_cure_for_attention_of_torch_leaves_it_out_and_keeps_the_rest():
    model = Encoder()
    refuse_attention(model, "linear")
    with pytest.raises(ValueError, match="^layers.0.self_attn, layers.1.self_attn: ") as error:
        refuse_attention(model)
    cure = re.search(r"targets='(.*)'$", str(error.value))[1]
    assert "\\" not in cure, "as it stands, for Python and for a shell"
    assert find_targets(model, cure).keys() == find_targets(model).keys()
    assert bypassed_attention(model, cure) == []


def test_an_expression_is_shown_as_it_was_typed():
    with pytest.raises(ValueError, match="^targets=") as error:
        find_targets(Encoder(), r"mlp\.fc\d")
    assert str(error.value).startswith(r"targets='mlp\.fc\d' finds no linear layer")


def test_torchs_encoder_is_refused_wherever_it_is_and_nothing_beside_it():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    x = torch.zeros(1, 3, 16)
    with pytest.raises(ValueError, match="^linear1, linear2 are inside nn.TransformerEncoder"):
        count_inputs(layer, {n: getattr(layer, n) for n in ("linear1", "linear2")}, x)
    others = [nn.Linear(16, 16) for _ in range(10)]
    model = nn.Sequential(others[0], layer, *others[1:])
    with pytest.raises(ValueError, match="^1.linear1 are inside nn.TransformerEncoderLayer"):
        count_inputs(model, {"1.linear1": layer.linear1, "10": model[10]}, x)
    assert count_inputs(model, {"10": model[10], "0": model[0]}, x) == {"10": 3, "0": 3}


def test_words_are_counted_one_by_one_and_vectors_by_their_rows():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Dropout()).train()
    ids = torch.zeros(2, 5, dtype=torch.long)
    assert count_inputs(model, {"0": model[0], "1": model[1]}, ids) == {"0": 10, "1": 10}
    assert model.training and not model[0]._forward_hooks
    twice = nn.Sequential(shared := nn.Linear(4, 4), nn.ReLU(), shared)
    assert count_inputs(twice, {"0": shared}, torch.zeros(3, 4)) == {"0": 6}


def test_modules_are_put_at_their_full_names_and_nothing_else_moves(vit):
    kept, new = vit.blocks[1].mlp.fc2, nn.Identity()
    assert replace_modules(vit, {"blocks.1.mlp.fc1": new, "head": new}) is vit
    assert vit.blocks[1].mlp.fc1 is new is vit.head and vit.blocks[1].mlp.fc2 is kept
    assert isinstance(vit.blocks[0].mlp.fc1, nn.Linear)


@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_view_reads_the_very_weight_and_neither_trains_nor_hears(bias):
    base, heard = nn.Linear(4, 2, bias=bias), []
    base.register_forward_hook(lambda *args: heard.append(1))
    x = torch.ones(1, 4)
    view = frozen_view(base)
    assert torch.equal(view(x), F.linear(x, base.weight, base.bias)) and not heard
    assert view.weight.data_ptr() == base.weight.data_ptr()
    assert not view(x).requires_grad


class Packed(nn.Module):
    """A layer of a quantizer: its whole numbers are no matrix of floats, and may not be there."""

    def __init__(self, weight: torch.Tensor | None) -> None:
        super().__init__()
        self.in_features = self.out_features = 64
        self.weight = weight


Packed.__module__ = "awq.modules"


@pytest.mark.parametrize("shape", [None, (1,), (2, 3, 4)])
def test_a_layer_in_a_block_that_holds_no_matrix_is_refused_by_its_name(shape):
    weight = None if shape is None else torch.zeros(shape)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), Packed(weight)) for _ in range(2)))
    with pytest.raises(ValueError, match=r"^0.1 can't be replaced: it is quantized .awq.modules"):
        find_targets(model)

"""Where layers that share weights are moved, the model whose weights they are goes along."""

import copy

import pytest
import torch
from torch import nn

from pclora_lab.nn.layers.sharing import bring_together, is_spread, note_owner, owner_follows


class Layer(nn.Module):
    """Shares a layer's weight as its base, and says so when it is moved."""

    def __init__(self, base: nn.Module | None) -> None:
        super().__init__()
        if base is not None:
            self.base = base

    def _apply(self, function, recurse: bool = True) -> nn.Module:
        with owner_follows(self):
            return super()._apply(function, recurse)


def owned() -> tuple[nn.Module, Layer]:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    layer = Layer(model[0])
    note_owner([layer], model)
    return model, layer


def test_the_owner_takes_the_precision_of_what_it_shares():
    model, layer = owned()
    layer.double()
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_without_storage_or_without_a_change_the_owner_stays():
    model, layer = owned()
    model[1].double()
    layer.float()
    assert model[1].weight.dtype is torch.float64, "nothing has changed"
    layer.to("meta")
    assert not model[1].weight.is_meta
    model, layer = owned()
    model[1].to("meta")
    layer.float()
    assert model[1].weight.is_meta, "nor does it follow where nothing went"


@pytest.mark.parametrize("values", [True, False])
def test_on_the_way_to_a_device_only_a_changed_precision_is_taken_along(monkeypatch, values):
    model, layer = owned()
    asked = []
    monkeypatch.setattr(model, "to", lambda *args: asked.append(args))
    layer.base.to("meta")
    with owner_follows(layer):
        layer.base.to_empty(device="cpu")
        if values:
            layer.base.half()
    assert asked == [(torch.device("cpu"), torch.float16 if values else None)]


def test_a_model_on_several_devices_is_left_where_accelerate_put_it():
    model, layer = owned()
    model.hf_device_map = {"": 0}
    assert is_spread(model) and not is_spread(layer)
    layer.double()
    assert model[1].weight.dtype is torch.float32


def test_a_layer_that_shares_with_nobody_is_moved_alone():
    model, layer = owned()
    twin = copy.deepcopy(layer)
    twin.double()
    assert twin.base.weight.dtype is torch.float64
    assert model[1].weight.dtype is torch.float32, "a copy shares nothing"
    Layer(None).double()
    note_owner([nothing := Layer(None)], model)
    nothing.double()
    assert model[1].weight.dtype is torch.float32


def test_an_owner_is_not_kept_alive():
    layer = owned()[1]
    assert layer.double().base.weight.dtype is torch.float64


def pair(here: str, there: str) -> tuple[nn.Module, nn.Module]:
    """A student and a teacher with no weight in common."""
    return nn.Linear(2, 2).to(here), nn.Sequential(nn.Linear(2, 2)).to(there)


def places(*models: nn.Module) -> list[str]:
    return [next(model.parameters()).device.type for model in models]


def test_a_teacher_that_was_left_behind_comes_along():
    student, teacher = pair("meta", "cpu")
    bring_together(student, teacher)
    assert places(student, teacher) == ["meta", "meta"]


def test_a_student_whose_shared_weights_were_taken_follows_them():
    teacher = nn.Sequential(nn.Linear(2, 2).requires_grad_(False)).to("meta")
    student = nn.ModuleDict({"base": teacher[0], "adapter": nn.Linear(2, 2)})
    bring_together(student, teacher)
    assert places(student["adapter"], teacher) == ["meta", "meta"]


def test_weights_of_its_own_beside_the_teacher_do_not_make_it_torn():
    teacher = nn.Sequential(nn.Linear(2, 2))
    frozen = nn.Linear(2, 2).requires_grad_(False)
    student = nn.ModuleDict({"frozen": frozen, "adapter": nn.Linear(2, 2).to("meta")})
    bring_together(student, teacher)
    assert places(teacher, student["adapter"], student["frozen"]) == ["meta", "meta", "cpu"]


@pytest.mark.parametrize("spread", [0, 1])
def test_who_is_on_several_devices_is_not_moved_and_moves_nobody(spread):
    models = pair("meta", "cpu")
    models[spread].hf_device_map = {"": 0}
    bring_together(*models)
    assert places(*models) == ["meta", "cpu"]


def test_who_trains_nothing_or_has_nothing_moves_nobody():
    student, teacher = pair("meta", "cpu")
    bring_together(student.requires_grad_(False), teacher)
    assert places(student, teacher) == ["meta", "cpu"]
    bring_together(nn.Linear(2, 2, device="meta"), nn.Identity())
    bring_together(nn.Identity(), teacher)
    assert places(teacher) == ["cpu"]

"""A new kind of layer is one entry: everything that replaces linear layers takes it then."""

import pytest
import torch
from odd_linears import Doubled, Squared
from torch import Tensor, nn
from torch.nn.utils import prune

from pclora_lab import compress, plan
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pela.model import factorize_model
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.method import SNELLA
from pclora_lab.nn.layers import types
from pclora_lab.nn.layers.types import LAYER_TYPES, LayerType, layer_type, plain_linear
from pclora_lab.nn.surgery import find_targets

X = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))


class InTimesOut(nn.Module):
    """A linear layer of somebody's own, whose weight is (in, out) and has another name."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(32, 32) / 6)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel


@pytest.fixture
def net(monkeypatch):
    entry = LayerType(
        "InTimesOut",
        lambda module: isinstance(module, InTimesOut),
        lambda module: plain_linear(nn.Parameter(module.kernel.detach().T), None),
    )
    monkeypatch.setattr(types, "LAYER_TYPES", (*LAYER_TYPES, entry))
    torch.manual_seed(0)
    return nn.Sequential(InTimesOut(), nn.ReLU(), nn.Linear(32, 3)).eval()


def test_a_layer_of_another_kind_goes_through_every_method(net):
    assert list(find_targets(net, "^0$")) == ["0"] and layer_type(net[0]).name == "InTimesOut"
    assert plan(net, 4, targets="^0$", example=X).replaced.params_before == 32 * 32
    student = get_pclora_model(net, PCLoRAConfig(rank=4, targets="^0$"), example=X)
    torch.testing.assert_close(student(X), net(X))
    own = net[0].kernel.untyped_storage().data_ptr()
    assert student[0].base.weight.untyped_storage().data_ptr() == own, "no second copy"
    set_progress(student, 1.0)
    assert compress(student)(X).shape == (2, 3)
    small = factorize_model(net, targets="^0$", rank=15, example=X)
    assert (small[0].weight - net[0].kernel.T).norm() < net[0].kernel.norm()
    tuned = SNELLA(SNELLAConfig(targets="^0$")).apply(net, MethodContext(example=X))
    assert tuned(X).shape == (2, 3)


def test_a_module_without_a_matrix_is_of_no_kind():
    for module in (nn.Bilinear(2, 2, 2), nn.Identity(), nn.Conv1d(2, 2, 1), nn.Embedding(2, 2)):
        assert layer_type(module) is None
    attention = nn.MultiheadAttention(4, 1)
    assert layer_type(attention.out_proj) is None, "it is never called"


def test_a_step_of_power_iteration_is_not_taken_to_look_at_a_weight():
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    linear = find_targets(net, "0")["0"]
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) and net[0].training
    torch.testing.assert_close(linear(X[:, :8]), net.eval()(X[:, :8]))


def test_a_pruned_layer_is_taken_as_it_will_compute_next():
    layer = nn.Linear(8, 8)
    prune.l1_unstructured(layer, "weight", 0.5)
    held = layer.weight
    layer.weight_orig.data.mul_(2)  # an optimizer's step; ``weight`` follows in the next forward
    linear = find_targets(nn.Sequential(layer), "0")["0"]
    assert layer.weight is held
    torch.testing.assert_close(linear(X[:, :8]), layer(X[:, :8]))


def test_a_subclass_is_known_by_what_it_computes():
    layer = Doubled(8, 8)
    found = layer_type(layer).as_linear(layer)
    torch.testing.assert_close(found(X[:, :8]), layer(X[:, :8]))


def test_a_subclass_that_is_no_matrix_is_refused_by_name():
    layer = Squared(8, 8)
    with pytest.raises(ValueError, match="Squared, a subclass of nn.Linear, computes something"):
        layer_type(layer).as_linear(layer)

"""Mean and covariance of what enters a layer: exact far from 0, of words only, in eval mode."""

import numpy as np
import pytest
import torch
from tiny import batch, tiny
from torch import nn

from pclora_lab.methods.input_moments import InputMoments, double, measure_inputs
from pclora_lab.nn.surgery import find_targets

FEATURES = 6


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_moments_are_those_of_all_rows_wherever_they_lie(far, dtype):
    batches = [drawn(5, FEATURES), drawn(2, 7, FEATURES), drawn(FEATURES), drawn(3, 1, 2, FEATURES)]
    batches = [(x * torch.linspace(0.5, 2, FEATURES) + far).to(dtype) for x in batches]
    moments = InputMoments(FEATURES)
    for x in batches:
        moments.update(x)
    rows = np.concatenate([x.double().reshape(-1, FEATURES).numpy() for x in batches])
    assert moments.count == len(rows) == 5 + 14 + 1 + 6
    assert moments.mean.dtype == moments.covariance.dtype == torch.float64
    np.testing.assert_allclose(moments.mean.numpy(), rows.mean(0), atol=1e-5, rtol=1e-6)
    wanted = np.cov(rows, rowvar=False, bias=True)
    np.testing.assert_allclose(moments.covariance.numpy(), wanted, atol=5e-3 if far else 1e-5)


def test_updating_leaves_the_inputs_and_keeps_no_graph():
    x = drawn(4, FEATURES).requires_grad_()
    kept, moments = x.detach().clone(), InputMoments(FEATURES)
    moments.update(x)
    moments.update(x)
    assert torch.equal(x, kept) and not moments.mean.requires_grad
    assert not moments.covariance.requires_grad


class OnApple:
    """A tensor of a GPU that has no float64."""

    device = torch.device("mps")

    def detach(self):
        return self

    def to(self, device):
        assert device == torch.device("cpu")
        return torch.ones(2)


def test_float64_is_taken_where_it_can_be():
    assert double(OnApple()).dtype == torch.float64
    assert double(torch.ones(2, device="meta")).device.type == "meta"
    assert double(torch.ones(2, requires_grad=True)).requires_grad is False
    made = InputMoments(3, "meta")
    assert {t.device.type for t in (made.origin, made.total, made.products)} == {"meta"}


def test_every_layer_is_measured_on_its_own_inputs_and_modes_stay():
    net = nn.Sequential(nn.Linear(FEATURES, 4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 2))
    net.train()
    net[2].eval()
    x = [drawn(50, FEATURES, seed=1), drawn(9, FEATURES, seed=2)]
    found = measure_inputs(net, {"3": net[3], "0": net[0]}, iter(x))
    rows = torch.cat(x)
    assert [m.training for m in net] == [True, True, False, True]
    assert list(found) == ["3", "0"] and {m.count for m in found.values()} == {59}
    with torch.no_grad():
        inside = net[0](rows).relu()  # dropout is off
    for name, values in (("0", rows), ("3", inside)):
        wanted = np.cov(values.double().numpy(), rowvar=False, bias=True)
        np.testing.assert_allclose(found[name].covariance.numpy(), wanted, atol=1e-5)
        torch.testing.assert_close(found[name].mean, values.double().mean(0), atol=1e-5, rtol=1e-5)
    assert all(p.grad is None for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_padding_is_not_counted_in_any_batch(kind):
    model = tiny(kind)
    layers = find_targets(model, "blocks")
    first = batch(model)
    whole = {**first, "attention_mask": torch.ones_like(first["attention_mask"])}
    found = measure_inputs(model, layers, [first, whole])
    words = int(first["attention_mask"].sum() + whole["attention_mask"].sum())
    assert words < 2 * first["input_ids"].numel()
    assert {moments.count for moments in found.values()} == {words}


def test_what_stands_in_the_padding_changes_nothing():
    model = tiny("bert")
    layers = find_targets(model, "blocks")
    one = batch(model)
    other = {**one, "input_ids": one["input_ids"].where(one["attention_mask"] > 0, 7)}
    assert not torch.equal(one["input_ids"], other["input_ids"])
    for ours, theirs in zip(
        *(measure_inputs(model, layers, [x]).values() for x in (one, other)), strict=True
    ):
        torch.testing.assert_close(ours.mean, theirs.mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.covariance, theirs.covariance, atol=1e-5, rtol=1e-5)


def test_no_batch_and_broken_batches_are_refused_by_name():
    net = nn.Sequential(nn.Linear(FEATURES, 4), nn.Linear(4, 2)).train()
    layers = {"0": net[0], "1": net[1]}
    with pytest.raises(ValueError, match="no input reached 0, 1: .*pass calibration="):
        measure_inputs(net, layers, [])
    aside = {**layers, "aside": nn.Linear(3, 3)}
    with pytest.raises(ValueError, match="no input reached aside: "):
        measure_inputs(net, aside, [drawn(2, FEATURES)])
    for odd in (float("nan"), float("inf")):
        x = drawn(2, FEATURES)
        x[1, 0] = odd
        with pytest.raises(ValueError, match="inputs of 0, 1 are not finite.*check them for NaN"):
            measure_inputs(net, layers, [drawn(2, FEATURES), x])
    with torch.no_grad():
        net[0].bias[0] = torch.nan
    with pytest.raises(ValueError, match="inputs of 1 are not finite"):
        measure_inputs(net, layers, [drawn(2, FEATURES)])
    assert net.training

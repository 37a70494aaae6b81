"""What was trained is put back as it was, under its old names too, or refused as a whole."""

import pytest
import torch
from torch import nn

from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.training.state import (
    load_trained,
    load_training_state,
    trained_tensors,
    training_state,
)


def student() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(LowRankLinear(4, 3, 2), nn.ReLU(), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_weights_and_moments_under_the_old_names_are_put_back():
    model, optimizer = student()
    before = {"0.down.weight": "0.A", "0.up.weight": "0.B", "0.up.bias": "0.C"}
    state = training_state(model, optimizer)
    old = {}
    for name, value in state.items():
        kind, _, rest = name.partition("/")
        old[f"{kind}/{before.get(rest, rest)}"] = value
    assert "trained/0.A" in old and "exp_avg/0.C" in old
    other, its = student()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    its.state.clear()
    load_training_state(other, its, old)
    again = training_state(other, its)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_buffers_are_put_back_as_they_were():
    """Running means of a BatchNorm are no parameters, and a student computes with them."""
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        model(torch.randn(8, 4))
        states.append((model, torch.optim.AdamW(model.parameters())))
    (first, its), (other, others) = states
    assert not torch.equal(other[1].running_mean, first[1].running_mean)
    load_training_state(other, others, training_state(first, its))
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), other.buffers(), strict=True))
    assert int(other[1].num_batches_tracked) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.down.weight"), "lacks 0.down.weight: it was made with other settings"),
        (lambda t: t.update({"9.A": torch.zeros(2)}), r"9.A \(2,\) does not fit the student"),
        (
            lambda t: t.update({"0.down.weight": torch.zeros(2, 9)}),
            r"0.down.weight \(2, 9\) does not fit the student",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(change, message):
    model, _ = student()
    tensors = {name: torch.zeros_like(value) for name, value in trained_tensors(model).items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    change(tensors)
    with pytest.raises(ValueError, match=f"the snapshot('s)? {message}"):
        load_trained(model, tensors)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

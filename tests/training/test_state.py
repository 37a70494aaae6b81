"""A checkpoint from before a low-rank layer was two linear layers is taken up as it was."""

import torch
from torch import nn

from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.training.state import load_training_state, training_state


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

"""A step and what is told of it: means of a loss, dropout that its seed alone draws."""

import weakref

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.training.config import RunConfig
from pclora_lab.training.optimizer import Meter, optimization_steps, rise_again


def test_a_mean_is_over_the_steps_that_had_the_term():
    meter = Meter(torch.device("cpu"), "lr=0.1")
    for step, loss in enumerate([1.0, 2.0, 6.0]):
        terms = {"loss": torch.tensor(loss)}
        if step:
            terms["feature"] = torch.tensor(10.0 * loss)
        meter.add(step, terms)
    assert meter.means() == {"loss": 3.0, "feature": 40.0}
    meter.add(3, {"loss": torch.tensor(5.0)})
    assert meter.means() == {"loss": 5.0}


class Same(Batches):
    """Examples that do not differ."""

    def inputs(self, indices, device=None):
        return torch.ones(len(indices), 8, 8)


def losses(net, seed):
    """Of three steps at a learning rate of nearly 0, so that dropout alone makes them differ."""
    found = []

    def terms(inputs, labels):
        loss = net(inputs).square().mean()
        found.append(loss.item())
        return {"loss": loss}

    config = RunConfig(batch_size=4, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    batches, device = Same(torch.arange(4) % 2), Accelerator(cpu=True)
    steps = optimization_steps(net, terms, batches, config, device, steps=3, peak_lr=1e-12,
                               log_every=1, generator=generator,
                               before_step=lambda step: False)  # fmt: skip
    assert len(list(steps)) == 3
    return found


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_drawn_from_the_seed_and_leaves_the_callers_generator_alone(dropout):
    net = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 2))
    before = torch.get_rng_state()
    first = losses(net, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert losses(net, 0) == pytest.approx(first, rel=1e-6)
    # Steps and seeds differ where there is dropout, and only there.
    assert (max(first) > 1.001 * min(first)) == (dropout > 0)
    assert (losses(net, 1) != pytest.approx(first, rel=1e-6)) == (dropout > 0)


def test_after_moments_were_cleared_the_rate_rises_over_the_warm_up_and_no_longer():
    assert [rise_again(40 + i, i, 100, 0.03) for i in range(4)] == [1 / 3, 2 / 3, 1.0, 1.0]
    assert rise_again(5, 0, 10, 0.0) == 1.0, "without a warm-up there is nothing to rise over"
    assert rise_again(7, 7, 10, 0.5) == 1.0, "they never were"


def test_the_graph_of_a_step_is_gone_when_the_step_is_told():
    net, kept = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), []

    def terms(inputs, labels):
        loss = net(inputs).square().mean()
        kept.append(weakref.ref(loss))
        return {"loss": loss}

    batches = Same(torch.arange(4) % 2)
    steps = optimization_steps(
        net, terms, batches, RunConfig(batch_size=4), Accelerator(cpu=True), steps=3, peak_lr=1e-3,
        log_every=1, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert [kept[-1]() for _ in steps] == [None] * 3

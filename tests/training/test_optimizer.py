"""A step and what is told of it: means of a loss, dropout that its seed alone draws."""

import weakref

import pytest
import torch
from accelerate import Accelerator
from plain_training import rate
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.training.config import RunConfig
from pclora_lab.training.optimizer import (
    LossDiverged,
    Meter,
    learning_rate,
    make_optimizer,
    optimization_steps,
    rise_again,
)
from pclora_lab.training.precision import LossScaler


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
                               logged=range(99), generator=generator,
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
        logged=range(99), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert [kept[-1]() for _ in steps] == [None] * 3


NAN = float("nan")


def metered(losses, norms=None):
    meter = Meter(torch.device("cpu"), "lr=0.5")
    for step, loss in enumerate(losses):
        norm = None if norms is None else torch.tensor(norms[step])
        meter.add(step, {"loss": torch.tensor(loss)}, norm)
    return meter


@pytest.mark.parametrize(
    ("losses", "norms", "said"),
    [
        ([1.0, NAN, 1.0, NAN], None, "the loss was not finite at step 1"),
        ([NAN, 1.0], None, "the loss was not finite at step 0"),
        ([1.0, 1.0], [1.0, float("inf")], "the gradient was not finite at step 1"),
        ([1.0, 1.0], [NAN, 1.0], "the gradient was not finite at step 0"),
        # A loss that is NaN makes its gradient NaN too.
        ([1.0, NAN], [1.0, NAN], "the loss was not finite at step 1"),
        ([1.0, 1.0, NAN], [1.0, NAN, NAN], "the gradient was not finite at step 1"),
        ([NAN, NAN], None, "the loss was not finite at step 0"),
        ([1.0, 1.0], [NAN, NAN], "the gradient was not finite at step 0"),
        ([1.0, NAN], [NAN, NAN], "the gradient was not finite at step 0"),
        ([NAN], [1.0], "the loss was not finite at step 0"),
        ([1.0, NAN, NAN], [1.0, 1.0, NAN], "the loss was not finite at step 1"),
    ],
)
def test_the_first_step_that_was_not_finite_is_named_with_its_cause_and_what_to_try(
    losses, norms, said
):
    meter = metered(losses, norms)
    with pytest.raises(LossDiverged, match=f"^{said}. Try a smaller .* than lr=0.5"):
        meter.means()
    later = Meter(torch.device("cpu"), "lr=0.5")
    later.load_state_dict(meter.state_dict())
    with pytest.raises(LossDiverged, match=said):
        later.means()


def test_a_meter_that_is_put_back_goes_on_with_sums_and_counts_of_its_own():
    meter = metered([1.0, 3.0])
    kept = meter.state_dict()
    assert kept["loss"].tolist() == [4.0, 2.0] and kept["loss"].dtype == torch.float64
    # As checkpoints have it: -1 where all was finite, in the losses and in the gradients.
    assert kept["bad_step"].tolist() == metered([]).state_dict()["bad_step"].tolist() == [-1, -1]
    meter.add(2, {"loss": torch.tensor(NAN)})
    later = Meter(torch.device("cpu"), "lr=0.5")
    later.load_state_dict(kept)
    later.add(2, {"loss": torch.tensor(8.0)})
    assert later.means() == {"loss": 4.0}


def test_the_time_of_a_step_is_the_mean_since_it_was_asked_for_in_milliseconds():
    meter = metered([])
    assert meter.reset_time() is None
    meter.time(0.5)
    meter.time(0.25)
    assert meter.reset_time() == 375.0 and meter.reset_time() is None
    first = metered([])
    first.time(0.5)
    assert first.reset_time() == 500.0


def test_a_weight_that_is_not_finite_after_the_last_step_is_named():
    model = nn.Linear(2, 1)
    metered([]).check_weights(model, 7)
    nn.init.constant_(model.bias, NAN)
    with pytest.raises(LossDiverged, match="bias was not finite after step 7, the last one"):
        metered([]).check_weights(model, 7)


@pytest.mark.parametrize("warmup", [0.0, 0.04, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_the_rate_rises_in_a_line_and_falls_along_half_a_cosine(steps, warmup):
    found = [learning_rate(step, steps, 0.3, warmup) for step in range(steps + 1)]
    assert found == pytest.approx([rate(step, steps, 0.3, warmup) for step in range(steps + 1)])
    assert all(0 <= value <= 0.3 + 1e-12 for value in found)


def test_matrices_decay_vectors_do_not_and_what_is_frozen_is_in_no_group():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm(4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    decays, plain = make_optimizer(model, 0.2).param_groups
    assert [id(p) for p in decays["params"]] == [id(model[2].weight)]
    vectors = (model[0].bias, model[1].weight, model[1].bias, model[2].bias)
    assert [id(p) for p in plain["params"]] == [id(p) for p in vectors]
    assert (decays["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)


def taken(steps=5, logged=(2, 4), *, loss=lambda y: y.square().mean(), seed=0, **options):
    """The model and what each step told."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    config = RunConfig(batch_size=4, warmup=0.4)
    told = optimization_steps(
        net, lambda x, labels: {"loss": loss(net(x))}, Same(torch.arange(8) % 2), config,
        Accelerator(cpu=True), steps=steps, peak_lr=1e-2, logged=logged,
        generator=torch.Generator().manual_seed(seed), **options,
    )  # fmt: skip
    return net, told


def test_every_so_many_steps_and_after_the_last_the_means_are_told_with_rate_and_time():
    net, steps = taken()
    told = list(steps)
    assert [row is not None for row in told] == [False, True, False, True, True]
    rows = [row for row in told if row]
    assert [row["lr"] for row in rows] == pytest.approx([rate(s, 5, 1e-2, 0.4) for s in (1, 3, 4)])
    assert all(row["step_ms"] > 0 for row in rows)
    assert all(p.grad is None for p in net.parameters()) and net.training


def test_the_first_step_of_all_is_not_timed():
    rows = list(taken(steps=3, logged=range(99))[1])
    assert [row["step_ms"] is None for row in rows] == [True, False, False]
    rows = list(taken(steps=3, logged=range(99), first=1)[1])
    assert [row["step_ms"] is None for row in rows] == [True, False]


def test_before_a_step_its_number_is_told_and_after_the_backward_pass_gradients_are_there():
    numbers, grads = [], []
    net, steps = taken(
        before_step=numbers.append, after_backward=lambda: grads.append(net[1].weight.grad.norm()),
        loss=lambda y: 1e4 * y.square().mean(),
    )  # fmt: skip
    list(steps)
    assert numbers == [0, 1, 2, 3, 4] and len(grads) == 5
    assert grads[0] > 1, "they are not clipped yet"


def test_cleared_moments_let_the_rate_rise_again():
    _, steps = taken(steps=10, logged=range(99), before_step=lambda step: step == 6)
    lrs = [row["lr"] for row in steps]
    usual = [rate(step, 10, 1e-2, 0.4) for step in range(10)]
    shares = [lr / other for lr, other in zip(lrs, usual, strict=True)]
    assert shares == pytest.approx([1.0] * 6 + [0.25, 0.5, 0.75, 1.0])


def test_a_training_that_is_taken_up_while_the_rate_rises_again_goes_on_rising():
    _, steps = taken(steps=10, logged=range(99), before_step=lambda step: step == 6)
    whole = [row["lr"] for row in steps]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    optimizer = make_optimizer(model, 0.01)
    for parameter in model.parameters():  # two steps since the moments were cleared
        optimizer.state[parameter] = {
            "step": torch.tensor(2.0), "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.ones_like(parameter),
        }  # fmt: skip
    _, rest = taken(steps=10, logged=range(99), first=8, optimizer=optimizer)
    assert [row["lr"] for row in rest] == pytest.approx(whole[8:])


def test_steps_that_float16_left_out_are_steps_that_were_taken():
    """AdamW does not count them, and the moments were never cleared."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    optimizer, scaler = make_optimizer(model, 0.01), LossScaler(Accelerator(cpu=True))
    for parameter in model.parameters():
        optimizer.state[parameter] = {"step": torch.tensor(1.0)}
    scaler.skipped = 1
    _, steps = taken(steps=10, logged=range(99), first=2, optimizer=optimizer, scaler=scaler)
    assert next(steps)["lr"] == pytest.approx(rate(2, 10, 1e-2, 0.4))


def test_the_error_of_a_teacher_names_the_teachers_rate():
    with pytest.raises(LossDiverged, match="than teacher_lr=0.01"):
        list(taken(loss=lambda y: y.sum() * NAN, lr_name="teacher_lr")[1])


@pytest.mark.parametrize("layer", ["p", "drop_prob", "zero", "none"])
def test_a_model_draws_where_a_layer_of_it_drops_something(layer, monkeypatch):
    """timm's and transformers' layers call their share ``drop_prob``."""

    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            share = {"zero": 0.0}.get(layer, 0.5)
            if layer != "none":
                setattr(self, "p" if layer == "zero" else layer, share)

        def forward(self, x):
            return x * torch.rand(())

    net, found = nn.Sequential(nn.Flatten(), Drops(), nn.Linear(64, 2)), []
    for _ in range(2):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        found.append(losses(net, 0)[0])
        # Where nothing says that it draws, a draw is the caller's.
        assert torch.equal(torch.get_rng_state(), before) == (layer in ("p", "drop_prob"))


@pytest.mark.parametrize(
    ("seed", "seen"), [(0, [1.02759, 1.05054, 0.83789]), (3, [0.98486, 0.98559, 1.04199])]
)
def test_a_seed_drops_what_it_always_dropped(seed, seen):
    """A run that is taken up by a later version goes on with the same numbers."""
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 1, bias=False))
    nn.init.constant_(net[2].weight, 1 / 64)
    assert losses(net, seed) == pytest.approx(seen, rel=1e-4)


class Breaks(torch.optim.SGD):
    """Makes a weight NaN in its last step, which no loss comes after."""

    def __init__(self, parameters, last):
        super().__init__(parameters, lr=0.1)
        self.left = last

    def step(self):
        super().step()
        self.left -= 1
        if not self.left:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(NAN)


def test_weights_are_looked_at_after_the_last_step_and_only_there(monkeypatch):
    looked = []
    check = Meter.check_weights
    monkeypatch.setattr(
        Meter, "check_weights", lambda *given: looked.append(given[2]) or check(*given)
    )
    model = nn.Linear(2, 2)
    _, steps = taken(steps=3, optimizer=Breaks(model.parameters(), 9))
    list(steps)
    assert looked == [2]


def test_a_weight_that_breaks_in_the_last_step_ends_the_training(monkeypatch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    steps = optimization_steps(
        net, lambda x, labels: {"loss": net(x).square().mean()}, Same(torch.arange(8) % 2),
        RunConfig(batch_size=4), Accelerator(cpu=True), steps=3, peak_lr=1e-2, logged=(),
        generator=torch.Generator().manual_seed(0), optimizer=Breaks(net.parameters(), 3),
    )  # fmt: skip
    next(steps)
    next(steps)
    with pytest.raises(LossDiverged, match="1.weight was not finite after step 2, the last one"):
        next(steps)

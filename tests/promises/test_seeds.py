"""Every draw depends on its own seed and on nothing else, and takes nothing from the caller's.

One seed repeats whatever was drawn before; two seeds differ; dropout differs from step to step.
"""

import dataclasses
import random

import numpy as np
import pytest
import torch
from marked import MarkedCache, Spy, marked_digits
from safetensors.torch import load_file
from torch import nn

from pclora_lab import load_model
from pclora_lab.data.batches import Batches
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.registry import METHODS, make_method, method_class
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator
from pclora_lab.training.events import PhaseStart, RunEnd
from pclora_lab.training.loop import train
from pclora_lab.training.optimizer import optimization_steps

DATA = marked_digits(train=120, validation=20, test=20)
BASE = RunConfig(steps=3, batch_size=16, evaluations=1, eval_images=10, device="cpu", snapshots=0)
TRAINED = [name for name in METHODS if METHODS[name].trains]


def scramble(number):
    """Another state of every generator that a library could draw from by accident."""
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002  # the global one is meant
    random.seed(number)


def states():
    numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
    return torch.get_rng_state().tolist(), numpy, random.getstate()


def ran(folder, name, before=0, **changed):
    """Passes and finished weights of a run, and whether the caller's generators stood still."""
    method = method_class(name).default_config()
    config = dataclasses.replace(BASE, method=method, **{"lr": None, **changed})
    scramble(before)
    spy, kept = Spy(), states()
    with spy.watching():
        for event in train(config, folder, cache=MarkedCache(DATA)):
            if isinstance(event, PhaseStart):
                spy.phase = event.name
            if isinstance(event, RunEnd):
                weights = event.model.state_dict()
    assert states() == kept, "the caller's generators were drawn from"
    return spy, weights


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def order(spy, phase="fade"):
    return [p.numbers for p in spy.of(phase) if p.grad]


@pytest.mark.parametrize("name", TRAINED)
def test_one_seed_repeats_whatever_was_drawn_before_and_two_differ(name, tmp_path):
    (spy, weights), (again, repeated), (other_spy, other) = (
        ran(tmp_path, name, before, seed=seed) for before, seed in ((1, 0), (2, 0), (1, 5))
    )
    assert same(weights, repeated) and order(spy) == order(again)
    assert not same(weights, other) and order(spy) != order(other_spy)
    # What a start is calibrated on, what is probed and what is evaluated are no matter of luck.
    looked, looked_again = ([p.numbers for p in s.passes if not p.grad] for s in (spy, other_spy))
    if name == "full":
        assert looked == looked_again


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in ("full", "pela", "svd_kd")])
def test_a_start_is_drawn_from_the_seed_alone(name):
    model = load_model("vit_digits")

    def start(before, seed):
        scramble(before)
        generator = torch.Generator().manual_seed(seed)
        options = {"init": "zeros"} if name == "pclora" else {}
        method = make_method(method_class(name).Config(**options))
        student = method.apply(model, MethodContext(generator=generator))
        return {n: p.detach() for n, p in student.named_parameters() if p.requires_grad}

    one, repeated, other = start(1, 0), start(2, 0), start(1, 7)
    assert same(one, repeated)
    drawn = [n for n in one if not torch.equal(one[n], other[n])]
    layers = {n.rpartition(".")[0] for n in drawn}
    assert len(layers) >= 16, "some layers begin alike for every seed"
    # No two layers of one shape begin alike.
    for n in drawn:
        alike = [m for m in drawn if m != n and one[m].shape == one[n].shape]
        assert not any(torch.equal(one[n], one[m]) for m in alike)


def taught(folder, **changed):
    config = dataclasses.replace(BASE, teacher="finetune", teacher_steps=3, **changed)
    spy = Spy()
    with spy.watching():
        for event in train(config, folder, cache=MarkedCache(DATA)):
            if isinstance(event, PhaseStart):
                spy.phase = event.name
    (path,) = (folder / "teachers").glob("*/model.safetensors")
    return load_file(path), order(spy, "teacher")


def test_a_teacher_depends_on_its_own_seed_only(tmp_path):
    one, batches = taught(tmp_path / "a", seed=0)
    scramble(9)
    repeated, batches_again = taught(tmp_path / "b", seed=4)
    other, others = taught(tmp_path / "c", teacher_seed=1)
    assert same(one, repeated) and batches == batches_again
    assert not same(one, other) and batches != others


def test_a_new_head_is_drawn_from_the_seed_it_is_given():
    def head(before, seed):
        scramble(before)
        generator = torch.Generator().manual_seed(seed)
        return load_model("vit_digits", num_classes=3, generator=generator).head.weight

    assert torch.equal(head(1, 0), head(2, 0)) and not torch.equal(head(1, 0), head(1, 1))
    assert head(1, 0).std() > 0


class Ones(Batches):
    """The same ones for every index."""

    def inputs(self, indices, device=None):
        return torch.ones(len(indices), 64)


def masks(seed, before=0, first=0, steps=4):
    """What dropout left of a batch of ones, step by step."""
    seen = []
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 2))
    model[0].register_forward_hook(lambda module, args, output: seen.append(output > 0))
    config = dataclasses.replace(BASE, batch_size=4)
    scramble(before)
    batches = optimization_steps(
        model,
        lambda x, y: {"loss": model(x).square().mean()},
        Ones(torch.zeros(16, dtype=torch.long)),
        config,
        make_accelerator(config, model),
        steps=steps,
        peak_lr=1e-3,
        logged=range(99),
        generator=torch.Generator().manual_seed(seed),
        first=first,
    )
    assert len(list(batches)) == steps - first
    return seen


def test_dropout_differs_from_step_to_step_and_repeats_with_its_seed():
    one = masks(0)
    assert all(not torch.equal(a, b) for i, a in enumerate(one) for b in one[:i])
    assert all(map(torch.equal, one, masks(0, before=5)))
    assert not any(map(torch.equal, one, masks(1)))


def test_a_training_that_is_taken_up_draws_what_comes_next():
    assert all(map(torch.equal, masks(0)[2:], masks(0, before=3, first=2)))

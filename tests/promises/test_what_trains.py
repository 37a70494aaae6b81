"""What trains, what must not, and what may not share its memory with what does."""

import dataclasses
import re

import pytest
import torch
from marked import MarkedCache, marked_digits

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, make_method, method_class
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, StepEnd
from pclora_lab.training.fit import Fit
from pclora_lab.training.lambda_override import LambdaDriver, LambdaOverride
from pclora_lab.training.measuring.metrics import MetricTracker
from pclora_lab.training.setup import prepare

DATA = marked_digits(train=120, validation=20, test=20)
LAYER = r"blocks\.\d\.(attn\.(qkv|proj)|mlp\.fc[12])"
HEAD = r"head\.(weight|bias)"
NORM = r"(blocks\.\d\.)?norm\d?\.(weight|bias)"
# What the papers and the docs promise, as patterns over full names.
PROMISED = {
    "pclora": rf"{LAYER}\.[ABC]|{HEAD}",
    "svd_kd": rf"{LAYER}\.[ABC]|{HEAD}",
    "snella": rf"{LAYER}\.[AB]|{HEAD}|cls_token",
    "lora": rf".*\.({LAYER}\.lora_[AB]\.default\.weight|head\.modules_to_save\.default\..*)",
    "full": ".*",
    "small": ".*",
    "pela": ".*",
}
TRAINED = [name for name in METHODS if METHODS[name].trains]


class Training:
    """A short training, with all that it consists of."""

    def __init__(self, method):
        config = RunConfig(
            method=method, steps=6, batch_size=16, evaluations=2, eval_images=10, device="cpu",
            snapshots=3, layer_metrics=True, warmup=0.0,
        )  # fmt: skip
        self.method = make_method(config.method)
        self.setup = prepare(config, self.method, MarkedCache(DATA), None)
        generator = torch.Generator().manual_seed(0)
        self.teacher = {n: x.clone() for n, x in self.setup.model.state_dict().items()}
        self.student = self.setup.make_student(generator)
        self.start = {n: p.detach().clone() for n, p in self.student.named_parameters()}
        driver = LambdaDriver(self.method, self.student, config.steps, LambdaOverride())
        tracker = MetricTracker(self.setup, self.student, driver)
        self.fit = Fit(self.setup, self.student, driver, tracker, generator)

    def run(self, steps=6):
        """The checkpoint after some steps, and the snapshots until then."""
        kept, events = [], self.fit.events()
        for event in events:
            if isinstance(event, AdapterSnapshot):
                kept.append(event)
            if isinstance(event, StepEnd) and event.step == steps:
                checkpoint = event.checkpoint()
                events.close()
                return checkpoint, kept
        raise AssertionError("the training ended before")


@pytest.mark.parametrize(
    ("method", "promised"),
    [
        *((method_class(name).default_config(), PROMISED[name]) for name in TRAINED),
        (PCLoRAConfig(rank=2, init="zeros"), PROMISED["pclora"]),
        (PCLoRAConfig(rank=2, train_norms=True), rf"{PROMISED['pclora']}|{NORM}"),
    ],
    ids=[*TRAINED, "pclora from zeros", "pclora with norms"],
)
def test_exactly_what_is_promised_changes(method, promised):
    training = Training(method)
    training.run()
    after = dict(training.student.named_parameters())
    moved = {n for n, x in training.start.items() if n in after and not torch.equal(after[n], x)}
    wanted = {n for n in training.start if re.fullmatch(promised, n)}
    assert sum("head" in n for n in wanted) == 2
    assert moved == wanted == {n for n in training.start if training_of(training, n)}
    teacher = training.setup.model.state_dict()
    assert all(torch.equal(teacher[n], x) for n, x in training.teacher.items())
    assert not any(m.training for m in training.setup.model.modules())


def training_of(training, name):
    """Whether the optimizer was given it."""
    groups = training.fit.optimizer.param_groups
    given = {id(p) for group in groups for p in group["params"]}
    parameter = dict(training.student.named_parameters()).get(name)
    return parameter is not None and id(parameter) in given


def places(tensors):
    return {t.untyped_storage().data_ptr() for t in tensors if t is not None and t.numel()}


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_kept_shares_nothing_with_what_trains(name):
    training = Training(method_class(name).default_config())
    student, method = training.student, training.method
    checkpoint, kept = training.run(steps=3)
    learned = [p for p in student.parameters() if p.requires_grad]
    moments = [x for state in training.fit.optimizer.state.values() for x in state.values()]
    live = places([*learned, *moments])
    assert not live & places(checkpoint.tensors.values())
    assert not live & places(x for e in kept for x in e.tensors.values())
    assert not live & places(method.state_dict(student).values())
    assert not places(learned) & places(student.buffers()), "a residual start"
    assert not places(learned) & places(training.setup.model.parameters())
    method.set_progress(student, 1.0)
    small = method.finalize(student)
    assert not places(p for p in student.parameters()) & places(small.parameters())
    assert not places(learned) & places(small.buffers())


def test_two_students_of_one_model_share_only_what_is_frozen():
    training = Training(PCLoRAConfig(rank=2, init="svd"))
    other = training.method.apply(training.setup.model)
    shared = places(training.student.parameters()) & places(other.parameters())
    frozen = places(p for p in other.parameters() if not p.requires_grad)
    assert shared and shared <= frozen


def test_a_config_does_not_follow_what_it_was_made_from():
    points, moves = [(0.0, 1.0), (0.5, 0.0)], [[2, 0.5]]
    config = RunConfig(method=PCLoRAConfig(rank=2, schedule=points), overrides=moves)
    before = dataclasses.replace(config)
    points.append((0.9, 0.0))
    moves[0][1] = 0.9
    told = config.to_dict()
    told["method"]["rank"] = 99
    told["overrides"] = ()
    assert config == before and config.method.rank == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3

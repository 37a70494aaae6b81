"""A student is tried before it is handed out; a refusal names module and cause, nothing changes."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from state import snapshot
from torch import Tensor, nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.methods.trial import ensure_tried, try_student, unchanged_on_failure

X = torch.randn(2, 16, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """Two layers, of which ``body`` is replaced; some of its kind look at more than the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))

    def inner(self, x: Tensor) -> Tensor:
        return self.body(x)


class ReadsScale(Net):
    """Reads what only its own kind of layer has."""

    def inner(self, x: Tensor) -> Tensor:
        return self.body(x) * self.body.own_scale


class NoGradients(Net):
    """Its forward can't teach anything."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Detached(Net):
    """What it would train is cut off."""

    def inner(self, x: Tensor) -> Tensor:
        return self.body(x).detach()


class Masked(Net):
    """One class can never be the answer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).masked_fill(torch.tensor([False, True, False]), -torch.inf)


class Restless(Net):
    """Changes a buffer and itself and draws random numbers, also in eval mode."""

    def inner(self, x: Tensor) -> Tensor:
        if x.is_meta:  # it is only counted
            return self.body(x)
        self.calls += 1
        self.seen += 1
        random.random(), np.random.rand()  # noqa: NPY002
        return self.body(x) + torch.rand(()) * 0


def with_scale() -> nn.Module:
    net = ReadsScale()
    net.body.own_scale = 2.0
    return net


def with_a_hook() -> nn.Module:
    net = Net()
    net.body.register_forward_hook(lambda module, args, output: output + 1)
    return net


def with_nan() -> nn.Module:
    net = Net()
    net.head.weight.data[1, 2] = torch.nan
    return net


def generator_states() -> tuple:
    numpy = np.random.get_state()[1]  # noqa: NPY002
    return random.getstate(), numpy.tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (with_scale, "body fails with AttributeError.*own_scale.*leave the layer out"),
        (
            with_a_hook,
            r"body \(Linear\) does not give W x \+ b.* whose hooks are no part of a student",
        ),
        (with_nan, "head.weight of Net holds values that are not finite"),
        (NoGradients, "no output of NoGradients has a gradient"),
    ],
    ids=["attribute", "hook", "nan", "no_grad"],
)
def test_a_student_that_would_not_run_is_refused_and_nothing_changes(build, message):
    net = build().train()
    before = snapshot(net)
    with pytest.raises(ValueError, match=message):
        get_pclora_model(net, PCLoRAConfig(rank=2, targets="body"), example=X)
    assert snapshot(net) == before


def test_what_the_model_itself_leaves_infinite_is_no_difference():
    student = get_pclora_model(Masked(), PCLoRAConfig(rank=2, targets="body"), example=X)
    assert student(X)[:, 1].isneginf().all()


def test_a_student_whose_layers_get_no_gradient_is_refused():
    net = Detached()
    net.head.requires_grad_(False)
    student = Detached()
    student.load_state_dict(net.state_dict())
    student.head.requires_grad_(False)
    with pytest.raises(ValueError, match="no output of Detached has a gradient"):
        try_student(student, net, X)


class Beside(Net):
    """Gives something that has a gradient, but what would be trained has none."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach() + torch.ones(3, requires_grad=True)


@pytest.mark.parametrize("stale", [False, True])
def test_a_student_whose_gradients_end_before_its_layers_is_refused(stale):
    net = Beside()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter) if stale else None
    with pytest.raises(ValueError, match="reaches what a student of it would train.*detached"):
        try_student(net, net, X)
    assert all((p.grad is not None) == stale for p in net.parameters())


def test_a_start_need_not_be_the_models_unless_it_is_exact():
    net, student = Net(), Net()
    assert try_student(student, net, X) is student
    student.head.weight.data.fill_(torch.inf)
    with pytest.raises(ValueError, match="gives outputs that are not finite.*Load it in float32"):
        try_student(student, net, X)
    student.head = nn.Linear(16, 4)
    with pytest.raises(ValueError, match=r"outputs of shapes \[\(2, 4\)\] instead of \[\(2, 3\)\]"):
        try_student(student, net, X)


@pytest.mark.parametrize(("share", "is_refused"), [(1e-4, False), (1e-2, True)])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_rounding_is_a_share_of_the_largest_output(share, is_refused, size):
    net = Net()
    net.head.bias.data.fill_(size)
    student = copy.deepcopy(net)
    student.head.bias.data += share * size
    if is_refused:
        with pytest.raises(ValueError, match="not begin at the model's outputs") as error:
            try_student(student, net, X, exact=True)
        told = f"they differ by up to {share * size:.2g}, first at head. Nothing was changed"
        assert told in str(error.value)
    else:
        assert try_student(student, net, X, exact=True) is student


def test_a_gap_of_just_the_rounding_is_none():
    net = Net().double()
    for parameter in net.parameters():
        parameter.data.zero_()
    student = copy.deepcopy(net)
    student.head.bias.data += 1e-4
    assert try_student(student, net, X.double(), exact=True) is student
    student.head.bias.data += 1e-9
    with pytest.raises(ValueError, match="first at head"):
        try_student(student, net, X.double(), exact=True)


def test_where_a_model_with_hooks_of_its_own_differs_they_are_told():
    net, student = Net(), Net()
    student.load_state_dict(net.state_dict())
    net.body.register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(ValueError, match="first at body, whose hooks are no part of a student"):
        try_student(student, net, X, exact=True)


def test_a_frozen_student_is_run_and_compared_but_not_differentiated():
    net = NoGradients().requires_grad_(False)
    assert try_student(net, net, X, exact=True) is net


def test_memory_that_runs_out_is_no_fault_of_the_student(monkeypatch):
    class Large(Net):
        """Takes more memory than there is, from its nth pass on."""

        passes = 0

        def inner(self, x: Tensor) -> Tensor:
            Large.passes -= 1
            if Large.passes < 0:
                raise torch.OutOfMemoryError("out of memory")
            return self.body(x)

    net = Large()
    for passes in (0, 1):  # in the model, in the student
        Large.passes = passes
        with pytest.raises(torch.OutOfMemoryError):
            try_student(net, net, X)


def test_an_input_of_the_models_own_that_it_does_not_take_is_not_tried(vit):
    class Picky(type(vit)):
        """Wants more than its input."""

        def forward(self, x: Tensor) -> Tensor:
            raise TypeError("what is asked of the picture?")

    vit.__class__ = Picky
    assert try_student(vit, vit) is vit
    with pytest.raises(ValueError, match="Picky itself fails on the example .TypeError: what is"):
        try_student(vit, vit, torch.zeros(1, 3, 16, 16))


def test_what_is_made_under_inference_mode_can_be_trained_and_the_mode_comes_back():
    net = Net()
    with torch.inference_mode():
        with unchanged_on_failure(net):
            made = nn.Linear(2, 2)
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        assert torch.is_inference_mode_enabled()
    assert not made.weight.is_inference()
    with torch.no_grad(), unchanged_on_failure(net):
        assert not torch.is_grad_enabled(), "only that mode is left"


def test_after_a_failure_each_weight_trains_or_not_as_before():
    net = Net()
    net.head.requires_grad_(False)
    with pytest.raises(KeyboardInterrupt), unchanged_on_failure(net):
        net.body.requires_grad_(False)
        net.head.requires_grad_(True)
        raise KeyboardInterrupt
    assert all(p.requires_grad for p in net.body.parameters())
    assert not any(p.requires_grad for p in net.head.parameters())
    with unchanged_on_failure(net):
        net.body.requires_grad_(False)
    assert not any(p.requires_grad for p in net.body.parameters()), "it did not fail"


def test_recurrent_layers_are_tried_in_training_mode_and_left_in_theirs():
    seen = []

    class Recurrent(nn.Module):
        """An LSTM, which has no backward pass in eval mode on a GPU."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.drop, self.head = nn.LSTM(16, 4), nn.Dropout(), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.lstm.training, self.drop.training))
            return self.head(self.drop(self.lstm(x)[0]))

    net = Recurrent()
    try_student(net, net, X, exact=True)
    assert set(seen) == {(True, False)} and net.drop.training


def test_the_first_module_that_differs_is_named_past_those_that_only_the_model_has():
    class Doubled(Net):
        """Goes through a module that the student does not have."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.before(x))

    model, student = Doubled(), Net()
    model.before = nn.Identity()
    student.head.load_state_dict(model.head.state_dict())
    with pytest.raises(ValueError, match="does not begin at the model's outputs.*, first at body"):
        try_student(student, model, X, exact=True)


def test_a_trial_leaves_nothing_behind():
    net = Restless().train()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    states = generator_states()
    student = get_pclora_model(
        net, PCLoRAConfig(rank=2, targets="body"), example=X, generator=torch.Generator()
    )
    assert generator_states() == states
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters())
    for model in (net, student):
        assert model.calls == 0 and model.seen == 0
        assert all(module.training for module in model.modules())
    assert all(p.grad is None for n, p in student.named_parameters() if n[-1] in "ABC")
    assert student.body.trained_lam.isnan()


def test_a_model_is_tried_inside_no_grad_too():
    with torch.no_grad():
        student = get_pclora_model(Net(), PCLoRAConfig(rank=2, targets="body"), example=X)
    student(X).sum().backward()
    assert student.body.B.grad is not None


def test_an_example_that_the_model_itself_does_not_take_is_named():
    with pytest.raises(ValueError, match="Net itself fails on the example .*pass example="):
        try_student(Net(), Net(), torch.zeros(1, 9))


def test_a_model_without_values_or_input_of_its_own_is_not_tried():
    broken = with_scale()
    del broken.body.own_scale
    assert try_student(broken, broken) is broken
    assert try_student(broken.to("meta"), broken, X) is broken


@pytest.mark.parametrize("name", [n for n in METHODS if n != "small"])  # it is another model
def test_every_method_tries_its_student(name):
    net = with_nan()
    before = snapshot(net)
    options = {"rank": 2} if hasattr(METHODS[name].Config(), "rank") else {}
    config = replace(METHODS[name].default_config(), targets="body", **options)
    with pytest.raises(ValueError, match="holds values that are not finite|finite everywhere"):
        make_method(config).apply(net, MethodContext(example=X, calibration=[X]))
    assert snapshot(net) == before


def test_a_student_of_another_package_is_tried_in_a_run_and_ours_once():
    net = Net()
    student = get_pclora_model(net, PCLoRAConfig(rank=2, targets="body"), example=X)
    del student.body.B  # it would not run any more
    assert ensure_tried(student, net, X) is student
    with pytest.raises(ValueError, match="body fails with AttributeError.*'B'"):
        ensure_tried(copy.deepcopy(student), net, X)


def test_rounding_of_small_outputs_on_the_way_is_not_taken_for_the_difference():
    net = Net()
    for parameter in net.body.parameters():
        parameter.data.zero_()
    student = copy.deepcopy(net)
    student.body.bias.data += 1e-6
    student.head.bias.data += 0.1
    with pytest.raises(ValueError, match="differ by up to 0.1, first at head. Nothing was"):
        try_student(student, net, X, exact=True)

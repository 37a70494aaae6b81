"""PC-LoRA behind the verbs: what moves λ, when the base leaves, and what is told of both."""

import pytest
import torch
from small_net import TARGETS, SmallNet, small_batch

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import DistillationTerms
from pclora_lab.methods.pclora.method import PCLoRA
from pclora_lab.methods.pclora.model import pclora_layers
from pclora_lab.methods.pclora.removal import base_shares

X = small_batch()


def pair(**options):
    method = PCLoRA(PCLoRAConfig(**{"rank": 2, "schedule": "linear", **options}))
    return method, method.apply(SmallNet(), MethodContext(example=X))


def lams(student) -> set[float]:
    return {float(layer.lam) for layer in pclora_layers(student).values()}


def held(student) -> set[bool]:
    return {layer.base is not None for layer in pclora_layers(student).values()}


def test_progress_moves_lambda_and_the_base_leaves_where_it_is_0_for_good():
    method, student = pair(fade_end=0.5)
    for progress, lam in ((0.0, 1.0), (0.25, 0.5), (0.375, 0.25)):
        assert method.set_progress(student, progress) == {"lam": lam}
        assert lams(student) == {lam} and held(student) == {True}
    assert method.set_progress(student, 0.5) == {"lam": 0.0} and held(student) == {False}
    assert method.set_progress(student, 0.9) == {"lam": 0.0}


def test_a_curve_that_comes_back_keeps_its_base_at_0():
    curve = [(0, 1), (0.2, 0), (0.4, 0.5), (0.6, 0)]
    method, student = pair(schedule=curve, may_rise=True)
    assert method.set_progress(student, 0.2) == {"lam": 0.0} and held(student) == {True}
    assert method.set_progress(student, 0.4) == {"lam": 0.5}
    method.set_progress(student, 0.6)
    assert held(student) == {False}


def test_a_schedule_that_jumps_lets_the_base_go_at_once_and_says_so():
    method, student = pair(schedule="identity", fade_end=0.5)
    method.set_progress(student, 0.4)
    student.train()(X).sum().backward()
    assert method.set_progress(student, 0.5) == {"lam": 0.0} and held(student) == {False}
    (note,) = method.notes(student)
    assert note.startswith("the last step was trained at λ = 1.00: the base was removed all the")
    student(X).sum().backward()
    assert method.notes(student) == []


def test_a_hand_may_hold_lambda_and_take_it_up_again_until_the_base_is_gone():
    method, student = pair()
    for lam in (0.0, 0.75):
        assert method.override_lambda(student, lam) == {"lam": lam}
        assert lams(student) == {lam} and held(student) == {True}
    method.set_progress(student, 1.0)
    assert method.override_lambda(student, 0.75) == {"lam": 0.0}
    assert lams(student) == {0.0} and held(student) == {False}


def test_shares_are_told_by_layer_and_as_their_mean():
    method, student = pair()
    for name, layer in pclora_layers(student).items():
        torch.nn.init.constant_(layer.C, 1.0 + len(name))
    method.override_lambda(student, 0.5)
    told, shares = method.measure(student, X), base_shares(student, X)
    assert told["layer_base_share"] == shares and list(shares) == TARGETS
    assert told["base_share"] == pytest.approx(sum(shares.values()) / 4)
    assert len(set(shares.values())) > 1, "or their mean says nothing"


def test_what_it_would_be_without_its_base_can_be_looked_at_as_long_as_there_is_one():
    method, student = pair()
    with torch.no_grad():
        whole = student.eval()(X)
        with method.without_base(student):
            alone = student(X)
        assert torch.equal(student(X), whole) and not torch.equal(alone, whole)
    pclora_layers(student)[TARGETS[0]].lam.zero_()
    pclora_layers(student)[TARGETS[0]].drop_base()
    assert method.without_base(student) is not None, "the others still have theirs"
    method.set_progress(student, 1.0)
    assert method.without_base(student) is None


def test_a_run_that_ended_unfaded_is_finished_all_the_same():
    method, student = pair()
    method.set_progress(student, 0.0)
    student.train()(X).sum().backward()
    method.override_lambda(student, 0.0)
    small = method.finalize(student)
    torch.testing.assert_close(small(X), student.eval()(X), rtol=1e-4, atol=1e-5)
    assert held(student) == {True} and not hasattr(small.get_submodule(TARGETS[0]), "lam")


def test_it_learns_from_its_teacher_and_starts_as_it_is_asked():
    method, student = pair(init="svd")
    terms = method.loss_terms(student, SmallNet())
    assert isinstance(terms, DistillationTerms)
    terms.close()
    assert all(layer.start_A is not None for layer in pclora_layers(student).values())
    config = PCLoRA.default_config()
    assert (config.rank, config.init) == (8, "activation_svd")


def test_everything_that_is_told_of_a_step_is_described():
    method, student = pair()
    told = method.set_progress(student, 0.3) | method.measure(student, X)
    known = {metric.key for metric in method.metrics}
    assert {name for name in told if not name.startswith("layer_")} <= known
    assert {"accuracy_if_base_removed", "task", "feature", "logit"} <= known

"""λ and weights belong to one step: a base that the weights lean on does not leave unsaid."""

import copy

import pytest
import torch

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers, set_progress
from pclora_lab.methods.pclora.removal import (
    base_removed,
    base_share,
    base_shares,
    compress,
    drop_base,
    trained_lambda,
)
from pclora_lab.methods.registry import make_method
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.training.measuring.metrics import held_tensors


@pytest.fixture
def student(vit):
    return get_pclora_model(vit, PCLoRAConfig(rank=2))


def step(student, images, progress):
    set_progress(student, progress)
    student(images).sum().backward()
    set_progress(student, 1.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("act", [compress, drop_base])
def test_weights_that_lean_on_the_base_do_not_lose_it_unasked(student, images, act, training):
    step(student.train(training), images, 0.15)
    with pytest.raises(ValueError, match=r"last trained at λ = 0.62.*allow_unfaded=True"):
        act(student)
    assert all(layer.base is not None for layer in pclora_layers(student).values())
    assert act(student, allow_unfaded=True) is not None


def test_a_run_says_where_its_base_was_removed_from_weights_that_leaned_on_it(student, images):
    method = make_method(PCLoRAConfig(rank=2))
    assert method.notes(student) == []
    step(student.train(), images, 0.15)
    (note,) = method.notes(student)
    assert "trained at λ = 0.62: the base was removed all the same" in note
    step(student, images, 0.45)
    assert method.notes(student) == []


@pytest.mark.parametrize("act", [compress, drop_base])
def test_a_small_rest_is_no_reason_to_refuse(student, images, act):
    step(student.train(), images, 0.45)
    assert 0 < trained_lambda(student) < 0.1
    act(student)


def test_who_only_looks_has_not_trained(student, images):
    student(images)  # with gradients, but in eval mode and without a backward pass
    with torch.no_grad():
        student.train()(images)
    assert trained_lambda(student) is None
    set_progress(student, 1.0)
    assert compress(student) is not None


def test_the_last_training_step_counts_also_without_a_base(student, images):
    step(student.train(), images, 0.15)
    drop_base(student, allow_unfaded=True)
    with pytest.raises(ValueError, match="last trained at λ = 0.62"):
        compress(student)
    step(student, images, 1.0)
    assert trained_lambda(student) == 0 and compress(student) is not None


def test_it_travels_with_the_weights(student, images):
    other = copy.deepcopy(student)
    step(student.train(), images, 0.15)
    set_progress(other, 1.0)
    other.load_state_dict(student.state_dict())
    set_progress(other, 1.0)
    for model in (other, copy.deepcopy(student), student.to(torch.bfloat16)):
        with pytest.raises(ValueError, match="last trained at"):
            compress(model)


def test_weights_that_were_saved_without_it_belong_to_their_own_lambda(student):
    set_progress(student, 0.15)
    old = {n: t for n, t in student.state_dict().items() if not n.endswith("trained_lam")}
    student.load_state_dict(old)
    set_progress(student, 1.0)
    with pytest.raises(ValueError, match="last trained at λ = 0.62"):
        compress(student)


def test_it_counts_under_reentrant_checkpointing(student, images):
    from torch.utils.checkpoint import checkpoint

    set_progress(student.train(), 0.15)
    checkpoint(student, images.requires_grad_(), use_reentrant=True).sum().backward()
    assert trained_lambda(student) == pytest.approx(0.617, abs=1e-3)


def test_a_record_does_not_count_it(student):
    notes = len(pclora_layers(student))
    everything = [*student.parameters(), *student.buffers()]
    assert len(held_tensors(student)) == len(everything) - notes


def test_the_distillers_steps_are_training_steps(vit, student, images):
    set_progress(student, 0.15)
    labels = torch.zeros(8, dtype=torch.long)
    sum(Distiller(student, vit).terms(images, labels).values()).backward()
    assert trained_lambda(student) == pytest.approx(0.617, abs=1e-3)


def test_one_layer_that_still_fades_is_enough_and_the_largest_is_named(student):
    set_progress(student, 1.0)
    layers = pclora_layers(student)
    names = list(layers)
    layers[names[2]].lam.fill_(0.5)
    layers[names[5]].lam.fill_(0.25)
    told = rf"λ is 0.5 in 2 of 8 layers \(first: {names[2]}\): 50.0% of the base's output"
    for act in (compress, drop_base):
        with pytest.raises(ValueError, match=told):
            act(student, allow_unfaded=True)
    for name in (names[2], names[5]):
        layers[name].drop_base()
    assert compress(student) is not None, "what was let go does not count"


def test_the_layer_that_was_trained_at_the_largest_lambda_is_named(student):
    set_progress(student, 1.0)
    layers = pclora_layers(student)
    names = list(layers)
    assert trained_lambda(student) is None
    layers[names[4]].trained_lam.fill_(0.05)
    assert trained_lambda(student) == pytest.approx(0.05)
    layers[names[1]].trained_lam.fill_(0.75)
    assert trained_lambda(student) == 0.75
    told = f"weights of {names[1]} were last trained at λ = 0.75, so they lean.*train on at λ ≤ 0.1"
    for act in (compress, drop_base):
        with pytest.raises(ValueError, match=told):
            act(student)


def test_a_base_that_is_gone_may_be_dropped_again_whatever_was_trained(student):
    set_progress(student, 1.0)
    assert drop_base(student) is student
    for layer in pclora_layers(student).values():
        layer.trained_lam.fill_(0.9)
    assert drop_base(student) is student


def test_a_compressed_model_forgets_that_it_was_a_student_and_the_student_does_not(student):
    set_progress(student, 1.0)
    random, given = torch.get_rng_state(), torch.nn.DataParallel(student.train())
    small = compress(given)
    assert torch.equal(torch.get_rng_state(), random), "nothing is drawn"
    for name in ("pclora_config", "pclora_targets"):
        assert hasattr(student, name) and not hasattr(small, name)
    assert student.training and all(m.base is not None for m in pclora_layers(student).values())


def test_weights_that_are_not_finite_are_no_result(student):
    set_progress(student, 1.0)
    student.blocks[0].mlp.fc1.A.data[0, 0] = torch.nan
    with pytest.raises(NotFinite, match="blocks.0.mlp.fc1.*compress an earlier student"):
        compress(student)


def test_without_its_base_for_a_while_each_layer_gets_its_own_lambda_and_parts_back(vit, images):
    student = get_pclora_model(vit, PCLoRAConfig(rank=2, init="svd"))
    layers = list(pclora_layers(student).values())
    for i, layer in enumerate(layers):
        layer.lam.fill_(i / 8)
    before = [{n: getattr(layer, n) for n in layer.base_parts} for layer in layers]
    with base_removed(student):
        assert all(getattr(m, n) is None for m in layers for n in m.base_parts)
        assert all(float(layer.lam) == 0 for layer in layers)
    assert [float(layer.lam) for layer in layers] == [i / 8 for i in range(8)]
    for layer, parts in zip(layers, before, strict=True):
        assert all(getattr(layer, name) is part for name, part in parts.items())


class Twice(torch.nn.Module):
    """Calls its layer twice, on tokens of which some may be padding."""

    def __init__(self):
        super().__init__()
        self.body, self.out = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask=None):
        x = torch.eye(4)[input_ids]
        return self.out(self.body(self.body(x)))


def test_shares_are_taken_over_all_calls_and_all_tokens_that_are_no_padding():
    net, ids = Twice(), torch.tensor([[0, 1, 2], [3, 1, 0]])
    config = PCLoRAConfig(rank=1, targets="body", init="zeros")
    student = get_pclora_model(net, config, example={"input_ids": ids}).train()
    layer = student.body
    torch.nn.init.normal_(layer.B), torch.nn.init.normal_(layer.C)
    layer.lam.fill_(0.5)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    x = torch.eye(4)[ids]
    base, adapter = [], []
    for _ in range(2):
        base.append(layer.base_output(x)[mask.bool()])
        adapter.append(layer.adapter_output(x)[mask.bool()])
        x = layer.base_output(x) + layer.adapter_output(x)
    norms = [torch.cat(parts).norm().item() for parts in (base, adapter)]
    found = base_shares(student, {"input_ids": ids, "attention_mask": mask})
    assert found == {"body": pytest.approx(norms[0] / sum(norms), rel=1e-5)}
    assert student.training, "measured in eval mode, and back"


def test_a_layer_without_its_base_has_no_share_and_the_mean_is_over_all(student, images):
    names = list(pclora_layers(student))
    student.get_submodule(names[0]).drop_base()
    shares = base_shares(student, images)
    assert list(shares) == names and shares[names[0]] == 0.0
    assert all(shares[name] == pytest.approx(1.0) for name in names[1:]), "B and C are 0"
    assert base_share(student, images) == pytest.approx(7 / 8)
    set_progress(student, 1.0)
    assert set(base_shares(drop_base(student), images).values()) == {0.0}


def test_where_nothing_at_all_comes_out_the_share_is_0(student, images):
    set_progress(student, 1.0)
    assert set(base_shares(student, images).values()) == {0.0}


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e5])
def test_a_share_is_the_same_however_large_the_outputs_are(size):
    net = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 2))
    x = torch.eye(4)
    config = PCLoRAConfig(rank=1, targets="^0$", init="zeros")
    student = get_pclora_model(net, config, example=x[:1])
    torch.nn.init.normal_(student[0].B)
    share = base_share(student, x)
    assert 0 < share < 1 and base_share(student, size * x) == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_at_a_tenth_itself_the_weights_do_not_lean_on_the_base_yet(student, dtype):
    set_progress(student.to(dtype), 1.0)
    method, layers = make_method(PCLoRAConfig(rank=2)), list(pclora_layers(student).values())
    layers[0].trained_lam.fill_(0.1)  # which is a little more than 0.1 where it is rounded
    assert method.notes(student) == [] and compress(student) is not None
    layers[0].trained_lam.fill_(0.102)
    assert len(method.notes(student)) == 1
    with pytest.raises(ValueError, match="last trained at λ = 0.10.*train on at λ ≤ 0.1"):
        compress(student)

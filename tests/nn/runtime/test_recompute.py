"""What is computed twice is kept once, and nothing else differs."""

from contextlib import contextmanager

import pytest
import torch
from tiny import batch, tiny
from torch import nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.runtime.plain_attention import plain_attention
from pclora_lab.nn.runtime.recompute import recomputed
from pclora_lab.nn.surgery import transformer_blocks

BLOCKS = {"vit_digits": 4, "deit": 12, "swin": 4, "bert": 2}
TRAINED = [name for name, method in METHODS.items() if method.trains]


@contextmanager
def kept_bytes(found):
    """Adds up what the autograd graph saves, each storage once, parameters left out."""
    seen = {}

    def save(x):
        if not isinstance(x, nn.Parameter):
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
        yield
    found.append(sum(seen.values()))


def gradients(model, loss, blocks, seed=5, held=None):
    torch.manual_seed(seed)
    model.zero_grad(set_to_none=True)
    with recomputed(blocks):
        if held is None:
            value = loss()
        else:
            with kept_bytes(held):
                value = loss()
    value.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return value.detach(), grads


def assert_same(first, second):
    assert torch.equal(first[0], second[0])
    assert first[1].keys() == second[1].keys() and first[1]
    assert all(torch.equal(g, second[1][name]) for name, g in first[1].items())


@pytest.mark.parametrize("kind", BLOCKS)
def test_loss_and_gradients_are_the_same_with_less_kept(kind):
    model = tiny(kind).train()
    inputs = batch(model)
    blocks = transformer_blocks(model)
    assert len(blocks) == BLOCKS[kind]
    held = []

    def loss():
        return call_model(model, inputs).square().mean()

    assert_same(gradients(model, loss, []), gradients(model, loss, blocks))
    gradients(model, loss, [], held=held)
    gradients(model, loss, blocks, held=held)
    # Some is outside of the blocks, and dropout's masks are too.
    assert held[1] < 0.6 * held[0]


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("half", [False, True])
def test_every_method_learns_the_same(name, half):
    model = tiny("vit_digits")
    x = batch(model)
    y = torch.arange(len(x)) % 3
    method = make_method(METHODS[name].default_config())
    student = method.apply(model, MethodContext(calibration=[x]))
    losses = method.loss_terms(student, model)
    method.set_progress(student, 0.3)
    student.train()

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=half), plain_attention():
            return losses(x, y, 0.3)["loss"]

    plain = gradients(student, loss, [])
    again = gradients(student, loss, transformer_blocks(student))
    losses.close()
    assert_same(plain, again)


def test_dropout_is_drawn_once():
    block = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5), nn.Linear(64, 64)).train()
    x = torch.randn(8, 64)

    def loss():
        return block(x).square().mean()

    assert_same(gradients(block, loss, []), gradients(block, loss, [block]))


def test_a_batch_is_counted_once_where_it_is_normalized():
    block = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).train()
    gradients(block, lambda: block(torch.randn(3, 2, 4, 4)).sum(), [block])
    assert block[1].num_batches_tracked == 1


def test_a_forward_of_the_instance_is_what_runs_and_comes_back_after_an_error():
    block, calls = nn.Linear(2, 2), []
    own = block.forward = lambda x: calls.append(1) or nn.functional.linear(x, block.weight)
    with pytest.raises(KeyError), recomputed([block]):
        block(torch.ones(1, 2)).sum().backward()
        raise KeyError
    assert len(calls) == 2 and vars(block)["forward"] is own


def test_a_second_pass_attends_as_the_first_did():
    seen = []

    class Block(nn.Linear):
        def forward(self, x):
            seen.append(torch.backends.cuda.flash_sdp_enabled())
            return super().forward(x)

    block, before = Block(2, 2), torch.backends.cuda.flash_sdp_enabled()
    with plain_attention(), recomputed([block]):
        y = block(torch.ones(1, 2)).sum()
    y.backward()
    assert seen == [False, False] and torch.backends.cuda.flash_sdp_enabled() == before

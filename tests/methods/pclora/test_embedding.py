"""A table of words that fades, against float64 numpy and torch's own embedding."""

import numpy as np
import pytest
import torch
from tiny import batch, tiny
from torch import nn

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.initialization import init_residual
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress, drop_base
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.low_rank import LowRankEmbedding
from pclora_lab.nn.sizes import plan
from pclora_lab.nn.surgery import find_embeddings

IDS = torch.tensor([[3, 0, 7], [7, 1, 1]])


def layer(start: bool = False) -> PCLoRAEmbedding:
    torch.manual_seed(0)
    made = PCLoRAEmbedding(nn.Embedding(9, 6, padding_idx=0), rank=2)
    if start:
        init_residual(made, None)
    with torch.no_grad():
        made.A += 0.1 * torch.randn(made.A.shape)
        made.B += 0.1 * torch.randn(made.B.shape)
    return made


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("lam", [1.0, 0.3, 0.0])
def test_the_formula(start, lam):
    made = layer(start)
    made.lam.fill_(lam)
    names = ("A", "B", "start_A", "start_B")
    A, B, A0, B0 = (
        np.zeros_like(made.A.detach().numpy() if name.endswith("A") else made.B.detach().numpy())
        if getattr(made, name) is None
        else getattr(made, name).detach().double().numpy()
        for name in names
    )
    table, ids = made.base.weight.detach().double().numpy(), IDS.numpy()
    wanted = lam * (table[ids] - A0[ids] @ B0.T) + A[ids] @ B.T
    np.testing.assert_allclose(made(IDS).detach().numpy(), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made.weight[IDS].detach().numpy(), wanted, rtol=1e-4, atol=1e-6)
    if lam == 0:
        torch.testing.assert_close(made.to_low_rank()(IDS), made(IDS))


@pytest.mark.parametrize("start", [False, True])
def test_at_the_start_it_is_the_table(start):
    base = nn.Embedding(9, 6)
    made = PCLoRAEmbedding(base, rank=2)
    if start:
        init_residual(made, None)
    torch.testing.assert_close(made(IDS), base(IDS), atol=1e-6, rtol=0)
    assert made.base.weight is base.weight


def test_the_residual_start_is_the_best_of_its_rank():
    base = nn.Embedding(40, 6)
    made = PCLoRAEmbedding(base, rank=3)
    init_residual(made, None)
    table = base.weight.detach().double().numpy()
    values = np.linalg.svd(table, compute_uv=False)
    left = table - made.A.detach().double().numpy() @ made.B.detach().double().numpy().T
    assert np.linalg.norm(left) == pytest.approx(np.sqrt((values[3:] ** 2).sum()), rel=1e-5)


def test_no_gradient_reaches_the_table():
    made = layer()
    made(IDS).sum().backward()
    assert made.base.weight.grad is None and made.A.grad is not None and made.B.grad is not None


def test_the_dropped_table_is_gone():
    made = layer(start=True)
    made.lam.zero_()
    before = made(IDS)
    made.drop_base()
    assert set(made.state_dict()) == {"A", "B", "lam", "trained_lam"}
    torch.testing.assert_close(made(IDS), before)


def test_a_model_with_low_rank_words_shrinks_as_planned():
    teacher = tiny("bert")
    config = PCLoRAConfig(rank=4, init="svd", embeddings="low_rank")
    student = get_pclora_model(teacher, config)
    inputs = batch(teacher)
    torch.testing.assert_close(
        call_model(student.eval(), inputs), call_model(teacher, inputs), atol=1e-4, rtol=1e-4
    )
    set_progress(student, 1.0)
    small = compress(drop_base(student))
    words = small.get_submodule("bert.embeddings.word_embeddings")
    assert isinstance(words, LowRankEmbedding) and words.rank == 4
    sizes = plan(count_model(teacher, embeddings="low_rank"), 4).whole_model
    assert sum(p.numel() for p in small.parameters()) == sizes.params_after
    dense = plan(count_model(teacher), 4).whole_model
    assert dense.params_after - sizes.params_after == 99 * 32 - 4 * (99 + 32)


@pytest.mark.parametrize(
    ("kind", "task", "message"),
    [
        ("gpt2", "language-model", "wte is tied or shared"),
        ("vit_digits", None, "has no word embedding: leave embeddings at 'dense'"),
    ],
)
def test_what_has_no_table_of_its_own_is_refused(kind, task, message):
    with pytest.raises(ValueError, match=message):
        find_embeddings(tiny(kind, task))


def test_energy_can_not_weigh_a_table_against_layers():
    with pytest.raises(ValueError, match="no common scale.*uniform"):
        PCLoRAConfig(embeddings="low_rank", rank_allocation="energy")

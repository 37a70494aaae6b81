"""Causal models on their whole way: what is replaced, what stays tied, and the cache of keys."""

import pytest
import torch
from causal import CAUSAL, causal, continued, is_tied, token_by_token
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pclora_lab import compress, from_pretrained, get_pclora_model, save_pretrained
from pclora_lab.export.standalone import export_standalone, open_standalone
from pclora_lab.methods.full import Full, FullConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import set_base_weight_factor, set_progress
from pclora_lab.models.recipes import dense_twin
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.forward import example_input
from pclora_lab.nn.surgery import deepcopy_sharing, find_targets
from pclora_lab.tasks.losses import language_model_loss

IDS = torch.tensor([[7, 30, 11, 52], [9, 9, 60, 41]])
CONFIG = PCLoRAConfig(rank=4, init="svd")
GPT2 = {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}
LLAMA = {f"self_attn.{part}_proj" for part in "qkvo"}
LLAMA |= {f"mlp.{part}_proj" for part in ("gate", "up", "down")}


@pytest.fixture(scope="module", params=CAUSAL)
def way(request, tmp_path_factory):
    """A model at each of its stations."""
    folder, teacher = tmp_path_factory.mktemp("way"), causal(request.param)
    half = get_pclora_model(teacher, CONFIG)
    set_base_weight_factor(half, 0.3)
    student = get_pclora_model(teacher, CONFIG)
    set_progress(student, 1.0)
    small = compress(student)
    report = export_standalone(small, folder / "plain")
    assert report.max_logit_difference < 1e-4
    return {
        "teacher": teacher,
        "λ = 0.3": half.eval(),
        "compressed": small,
        "saved": from_pretrained(save_pretrained(small, folder / "small")),
        "standalone": open_standalone(folder / "plain"),
        "saved dense": from_pretrained(save_pretrained(teacher, folder / "dense")),
    }


def test_the_cache_changes_nothing(way):
    for name, model in way.items():
        text = continued(model, IDS, 6)
        with torch.no_grad():
            whole = model(text).logits
        torch.testing.assert_close(token_by_token(model, text), whole, atol=1e-4, rtol=1e-4)
        asked = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": 6, "do_sample": False}
        said = model.generate(IDS, eos_token_id=None, pad_token_id=0, **asked)
        assert torch.equal(said, text), name
        assert len({tuple(row) for row in text[:, 4:].tolist()}) == 2


def test_what_is_saved_and_exported_says_the_same(way):
    small = continued(way["compressed"], IDS, 6)
    for name in ("saved", "standalone"):
        assert torch.equal(continued(way[name], IDS, 6), small)
    assert torch.equal(continued(way["saved dense"], IDS, 6), continued(way["teacher"], IDS, 6))


def test_words_stay_tied_or_untied_at_every_station(way):
    assert {is_tied(model) for model in way.values()} == {is_tied(way["teacher"])}
    assert is_tied(way["teacher"]) is way["teacher"].config.tie_word_embeddings


def test_the_blocks_are_replaced_and_what_reads_and_says_words_is_not(way):
    teacher = way["teacher"]
    replaced = {".".join(name.split(".")[-2:]) for name in find_targets(teacher)}
    assert replaced == (GPT2 if teacher.config.model_type == "gpt2" else LLAMA)
    twin = dense_twin(way["compressed"])
    assert type(twin) is type(teacher) and twin.num_parameters() == teacher.num_parameters()
    assert twin.state_dict().keys() == teacher.state_dict().keys()


def test_multiply_adds_are_those_that_torch_counts(way):
    # The counter stumbles over parameters that want a gradient.
    model = deepcopy_sharing(way["teacher"], ()).requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example_input(model)["input_ids"])
    assert count_model(way["teacher"]).macs == counter.get_total_flops() // 2


@pytest.mark.parametrize("kind", [kind for kind in CAUSAL if kind != "llama"])
def test_a_weight_that_is_used_twice_is_trained_as_one(kind, tmp_path):
    method = Full(FullConfig())
    student = method.apply(causal(kind))
    before = student.get_input_embeddings().weight.detach().clone()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    language_model_loss(student(IDS).logits, IDS).backward()
    optimizer.step()
    assert is_tied(student) and not torch.equal(student.get_input_embeddings().weight, before)
    small = method.finalize(student)
    again = from_pretrained(save_pretrained(small, tmp_path / "small"))
    assert is_tied(small) and is_tied(again)
    assert torch.equal(again.get_input_embeddings().weight, student.lm_head.weight)

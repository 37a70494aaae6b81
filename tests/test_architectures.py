"""Every architecture through the whole way: count, apply, train, fade, compress, save, export."""

import pytest
import torch
from tiny import batch, tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pclora_lab import from_pretrained, save_pretrained
from pclora_lab.export.standalone import export_standalone
from pclora_lab.export.torch_export import export_torch_program
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.nn.flops import count_flops
from pclora_lab.nn.forward import call_model, example_input
from pclora_lab.nn.sizes import plan
from pclora_lab.nn.surgery import find_targets
from pclora_lab.nn.task_losses import classification_loss, contrastive_loss, language_model_loss

LOW_RANK_WORDS = {"embeddings": "low_rank"}
TABLE = {
    "vit_digits": ("vit_digits", None, {}, {}),
    "vit_digits_split": ("vit_digits", None, {"split_qkv": True}, {}),
    "deit": ("deit", None, {}, {}),
    "swin": ("swin", None, {}, {}),
    "swin_split": ("swin", None, {"split_qkv": True}, {}),
    "convnext": ("convnext", None, {}, {}),
    "vit_of_transformers": ("vit", None, {}, {}),
    "bert": ("bert", None, {}, {}),
    "bert_words": ("bert", None, {}, LOW_RANK_WORDS),
    "distilbert": ("distilbert", None, {}, LOW_RANK_WORDS),
    "roberta": ("roberta", None, {}, LOW_RANK_WORDS),
    "electra": ("electra", None, {}, LOW_RANK_WORDS),
    "modernbert": ("modernbert", None, {}, {}),
    "gpt2": ("gpt2", None, {}, {}),
    "gpt2_language": ("gpt2", "language-model", {}, {}),
    "gpt2_split": ("gpt2", "language-model", {"split_qkv": True}, {}),
    "llama": ("llama", None, {}, LOW_RANK_WORDS),
    "llama_language": ("llama", "language-model", {}, LOW_RANK_WORDS),
    "clip": ("clip", None, {}, {}),
}
LOSSES = {"language-model": language_model_loss, "image-text": contrastive_loss}


@pytest.fixture(params=TABLE, scope="module")
def trained(request):
    """Teacher, student after three steps at λ = 0, the batch, and whether every A has moved."""
    kind, task, options, more = TABLE[request.param]
    teacher = tiny(kind, task, **options)
    inputs = batch(teacher)
    config = PCLoRAConfig(rank=2, init="svd", **more)
    student = get_pclora_model(teacher, config)
    before = call_model(teacher, inputs).detach()
    torch.testing.assert_close(call_model(student.eval(), inputs), before, atol=1e-4, rtol=1e-4)
    loss = LOSSES.get(teacher.pclora_recipe.get("task"), classification_loss)
    labels = inputs["input_ids"] if loss is language_model_loss else torch.tensor([0, 1, 2, 0])
    distiller = Distiller(student, teacher, task_loss=loss)
    factors = {n: p.clone() for n, p in student.named_parameters() if n.rpartition(".")[2] in "AB"}
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=1e-3)
    for step in range(3):
        set_progress(student, step / 3)
        total_loss(distiller.terms(inputs, labels), config).backward()
        optimizer.step()
        optimizer.zero_grad()
    set_progress(student, 1.0)
    distiller.close()
    torch.testing.assert_close(call_model(teacher, inputs), before, msg="the teacher has changed")
    still = [n for n, p in student.named_parameters() if n in factors and p.equal(factors[n])]
    return teacher, student.eval(), inputs, still, config


def test_every_factor_learns(trained):
    assert not trained[3]


def test_the_compressed_model_is_the_student_and_holds_no_base(trained):
    teacher, student, inputs, _, config = trained
    small = compress(student)
    torch.testing.assert_close(call_model(small, inputs), call_model(student, inputs))
    sizes = plan(count_model(teacher, embeddings=config.embeddings), 2).whole_model
    assert sum(p.numel() for p in small.parameters()) == sizes.params_after < sizes.params_before
    assert count_macs(small) == sizes.macs_after


def test_the_count_is_what_torch_counts_on_the_real_module(trained):
    teacher, _, _, _, config = trained
    example = example_input(teacher)
    # Torch 2.14 counts nothing for the fused attention of a CPU: as plain products it does.
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter, torch.no_grad():
        call_model(teacher, example)
    counted = count_model(teacher, embeddings=config.embeddings).macs
    assert counted == counter.get_total_flops() // 2
    assert count_flops(teacher).products == 2 * counted


def test_it_can_be_saved_and_loaded(trained, tmp_path):
    _, student, inputs, _, _ = trained
    small = compress(student)
    again = from_pretrained(save_pretrained(small, tmp_path / "small"))
    assert torch.equal(call_model(again, inputs), call_model(small, inputs))


def test_the_plain_checkpoint_computes_the_same(trained, tmp_path):
    _, student, _, _, _ = trained
    report = export_standalone(compress(student), tmp_path / "plain")
    assert report.max_logit_difference < 1e-4 and report.bytes > 0
    assert {p.name for p in (tmp_path / "plain").iterdir()} >= {"load.py", "model.safetensors"}
    assert "pclora" not in (tmp_path / "plain" / "load.py").read_text()


def test_torch_export_computes_the_same(trained, tmp_path):
    _, student, _, _, _ = trained
    report = export_torch_program(compress(student), tmp_path / "model.pt2")
    assert report.max_logit_difference < 1e-4


@pytest.mark.parametrize(
    ("kind", "task"),
    [("gpt2", "language-model"), ("llama", "language-model"), ("clip", None), ("bert", None)],
)
def test_the_frozen_weights_are_the_teachers_own(kind, task):
    teacher = tiny(kind, task)
    student = get_pclora_model(teacher, PCLoRAConfig(rank=2))
    for name in find_targets(teacher):
        own = teacher.get_submodule(name).weight.untyped_storage().data_ptr()
        assert student.get_submodule(name).base.weight.untyped_storage().data_ptr() == own

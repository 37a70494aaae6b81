"""Every architecture through the whole way: count, apply, train, fade, compress, save, export."""

import functools
import re
from pathlib import Path

import pytest
import timm
import torch
from timm_rows import TIMM
from tiny import tiny
from tiny_configs import IMAGES, TEXTS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from zoo import STEPS, WORKS, Walk, row

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.flops import count_flops
from pclora_lab.nn.forward import call_model, example_input
from pclora_lab.nn.surgery import deepcopy_sharing, find_targets
from pclora_lab.quiet import quiet

ROOT = Path(__file__).parents[1]
LOW_RANK_WORDS = {"embeddings": "low_rank"}
# Models that the tests elsewhere use, with what is particular to them.
VARIANTS = {
    "vit_digits": ("vit_digits", None, {}, {}),
    "vit_digits_split": ("vit_digits", None, {"split_qkv": True}, {}),
    "swin_split": ("swin", None, {"split_qkv": True}, {}),
    "bert_words": ("bert", None, {}, LOW_RANK_WORDS),
    "distilbert_words": ("distilbert", None, {}, LOW_RANK_WORDS),
    "roberta_words": ("roberta", None, {}, LOW_RANK_WORDS),
    "electra_words": ("electra", None, {}, LOW_RANK_WORDS),
    "gpt2_language": ("gpt2", "language-model", {}, {}),
    "gpt2_split": ("gpt2", "language-model", {"split_qkv": True}, {}),
    "llama_words": ("llama", None, {}, LOW_RANK_WORDS),
    "llama_language": ("llama", "language-model", {}, LOW_RANK_WORDS),
    "bert_hidden_words": ("bert", "masked-language-model", {}, {}),
    "modernbert_hidden_words": ("modernbert", "masked-language-model", {}, {}),
    "clip_pairs": ("clip", None, {}, {}),
}
# One of each kind of timm's blocks, and the convolutional one that is refused.
OF_TIMM = (
    "cait", "convnext", "deepseek_vit", "deit", "edgenext", "efficientnet", "gemma4_vit",
    "mambaout", "swin_transformer_v2", "vision_transformer", "vision_transformer_relpos", "xcit",
)  # fmt: skip
REFUSED = {
    ("efficientnet", "count"): "finds no linear layer in EfficientNet.* 17 convolutions are not",
    ("swin_transformer_v2", "count"): r"SwinTransformerV2 never calls layers.0.blocks.0.attn.qkv",
}
# torch.export takes longer than all the rest; `make zoo` does it with every row.
EXPORTED = (
    "vit_digits_split", "swin_split", "bert_words", "gpt2_language", "gpt2_split", "llama_words",
    "clip_pairs", "modernbert", "electra", "vit", "timm_convnext", "timm_deit",
)  # fmt: skip
ROWS = [*VARIANTS, *TEXTS, *IMAGES, *(f"timm_{module}" for module in OF_TIMM)]


@pytest.fixture(params=ROWS, scope="module")
def walked(request, tmp_path_factory):
    """How far one of them comes, with its models."""
    name, folder = request.param, tmp_path_factory.mktemp("walk")
    load, more = row(name, folder), {}
    if name in VARIANTS:
        kind, task, options, more = VARIANTS[name]
        load = functools.partial(tiny, kind, task, **options)
    config = PCLoRAConfig(rank=2, init="svd", **more)
    steps = STEPS if name in EXPORTED else STEPS[:-1]
    return name.removeprefix("timm_"), Walk(load, folder, config, steps).run()


def test_it_works_or_is_refused_by_name(walked):
    name, walk = walked
    refused = {step: text for step, text in walk.steps.items() if text != WORKS}
    expected = {step: text for (row, step), text in REFUSED.items() if row == name}
    assert refused.keys() == expected.keys(), refused
    assert all(re.search(expected[step], refused[step]) for step in refused)
    assert expected or set(walk.steps) == set(walk.wanted)


def test_the_page_of_the_docs_says_the_same(walked, page):
    name, walk = walked
    if name in VARIANTS:
        pytest.skip("a variant has no line of its own")
    (cells,) = [line for line in page if line[0].split(":")[0] == name and is_of(name, line, walk)]
    facts = walk.facts
    if walk.steps["count"] == WORKS:
        assert cells[1] == f"{facts['replaced']} of {facts['linear']}"
        assert cells[2] == f"{facts['replaced_share']:.0%}"
    for step, cell in zip(STEPS, cells[3:], strict=True):
        if step in walk.steps:
            assert (cell == "✓") == (walk.steps[step] == WORKS), (step, cell)


def is_of(name, line, walk):
    """timm's rows name module and model; transformers' have the type alone."""
    is_timm = walk.teacher.pclora_recipe.get("library") != "transformers"
    return (":" in line[0]) == is_timm


def test_the_page_has_a_line_for_every_row(page):
    modules = {line[0].split(":")[0] for line in page if ":" in line[0]}
    assert modules == set(TIMM) == set(modules_of_timm())
    assert {line[0] for line in page if ":" not in line[0]} == {*TEXTS, *IMAGES}
    assert not [line[0] for line in page if "FAILS" in " ".join(line)]


def modules_of_timm():
    """Those that register a model; the tests' own one is not timm's."""
    places = (timm.models.model_entrypoint(name).__module__ for name in timm.list_models())
    return {place.split(".")[-1] for place in places if place.startswith("timm.models.")}


@pytest.fixture(scope="module")
def page():
    """The rows of docs/architectures.md as cells; `make zoo` writes it."""
    text = (ROOT / "docs" / "architectures.md").read_text(encoding="utf8")
    assert "FAILS" not in text
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line[:2] == "| "]
    return [cells for line in lines if (cells := [c.strip() for c in line])[0] != "model"]


def test_the_count_is_what_torch_counts_on_the_real_module(walked):
    _, walk = walked
    if walk.steps["count"] != WORKS:
        pytest.skip("its count is refused")
    # Torch's tracker stumbles over parameters that are handed on as inputs.
    model = deepcopy_sharing(walk.teacher, ()).requires_grad_(False)
    example = example_input(model)
    # Torch 2.14 counts nothing for the fused attention of a CPU: as plain products it does.
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, quiet(), FlopCounterMode(display=False) as counter, torch.no_grad():
        call_model(model, example)
    counted = count_model(model, embeddings=walk.config.embeddings).macs
    assert counted == counter.get_total_flops() // 2
    assert count_flops(model).products == 2 * counted


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

"""Sizes in a foreign config.json are compared with weights and memory before any of it is taken."""

import json
import resource
from contextlib import nullcontext

import psutil
import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, BertConfig, BertForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from pclora_lab.models import hf_models, saved_layers, timm_models
from pclora_lab.models.hf_config import config_of
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.models.saved_layers import check_config, refuse_too_large

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 32, "vocab_size": 100, "max_position_embeddings": 40}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    BertForSequenceClassification(BertConfig(**SMALL)).save_pretrained(folder)
    return folder


def changed(saved, tmp_path, **sizes):
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **sizes}))
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    return str(tmp_path)


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


HUGE = [
    {"hidden_size": 10**7}, {"hidden_size": 2**21}, {"num_hidden_layers": 10**6},
    {"vocab_size": 10**12}, {"max_position_embeddings": 10**9}, {"num_labels": 10**12},
    {"type_vocab_size": 10**8}, {"intermediate_size": 2**22}, {"num_attention_heads": 10**9},
    {"vocab_size": -(10**12)}, {"deep": [[[[10**12]]]] * 2, "dim": 10**12},
]  # fmt: skip


@pytest.mark.parametrize("sizes", HUGE, ids=str)
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_size_that_is_a_typo_is_refused_without_its_memory(saved, tmp_path, sizes, pretrained):
    if not pretrained and "intermediate_size" in sizes:
        pytest.skip("it fits into some memories")
    folder, before = changed(saved, tmp_path, **sizes), megabytes()
    said = "must be a whole number|describes .* numbers, its weights hold|GB in float32"
    with pytest.raises(ValueError, match=said):
        load_model(folder, pretrained=pretrained)
    assert megabytes() - before < 100


def test_the_message_names_tensor_and_shapes(saved, tmp_path):
    folder = changed(saved, tmp_path, max_position_embeddings=10**7)
    said = "position_embeddings.weight would be 10000000x16 and is 40x16"
    with pytest.raises(ValueError, match=said):
        load_model(folder)
    assert describe_model(folder).config.max_position_embeddings == 10**7  # takes no memory


def test_looking_at_sizes_draws_nothing(saved):
    state = torch.get_rng_state()
    config = config_of(str(saved))
    hf_models._refuse_large(str(saved), "text-classification", config, True)
    timm_models._refuse_large("vit", "vit_tiny_patch16_224", True, {"num_classes": 3})
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"embed_dim": 10**9}, "embed_dim is 1000000000"),
        ({"depth": 10**6}, "depth is 1000000"),
        ({"embed_dim": 2**16, "num_heads": 2}, "describes .* numbers, its weights hold"),
    ],
)
def test_a_folder_of_timm_too(tmp_path, args, said):
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 3, "pretrained_cfg": {},
              "model_args": {"img_size": 32, "depth": 1, **args}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=said):
        load_model(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    "sizes", [{"num_classes": 10**12}, {"width": 10**9}, {"img_size": 10**6}], ids=str
)
def test_sizes_that_are_given_have_bounds(sizes):
    with pytest.raises(ValueError, match="must be a whole number|GB in float32"):
        load_model("vit_tiny_patch16_224", pretrained=False, **sizes)


def test_a_model_that_does_not_fit_into_this_machine_is_refused(monkeypatch):
    memory = psutil.virtual_memory()._replace(total=10**6)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ValueError, match="GB in float32, and this machine has 0 GB"):
        load_model("vit_tiny_patch16_224", pretrained=False)
    assert describe_model("vit_tiny_patch16_224") is not None


def test_no_usual_size_of_transformers_is_refused():
    for kind in list(CONFIG_MAPPING_NAMES)[::12]:
        check_config(AutoConfig.for_model(kind).to_dict(), "config.json")
    check_config({"vocab_size_per_layer_input": 262144, "max_position_embeddings": 10**7}, "a")


@pytest.mark.parametrize(("rows", "fits"), [(4, True), (5, False)])
def test_a_model_may_have_twice_the_numbers_of_its_file_and_no_more(
    tmp_path, monkeypatch, rows, fits
):
    """Weights that are tied stand there once."""
    monkeypatch.setattr(saved_layers, "_SLACK", 0)
    save_file({"weight": torch.zeros(2, 6)}, tmp_path / "model.safetensors")
    described = torch.nn.Linear(6, rows, bias=False, device="meta")
    with nullcontext() if fits else pytest.raises(ValueError, match="describes 30 numbers.*12: "):
        refuse_too_large(described, [tmp_path / "model.safetensors"], "a model")

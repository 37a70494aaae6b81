"""Devices, adapters, quantizers and the hub: what transformers' users do next to a saved model."""

import copy
from importlib.util import find_spec

import peft
import pytest
import torch
from stand_in_hub import running_hub
from tiny_hf import auto_class, seeded, write_model
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.base import HfQuantizer
from transformers.utils import hub as transformers_hub
from transformers.utils.quantization_config import QuantizationConfigMixin

from pclora_lab import PCLoRAConfig, get_pclora_model, set_progress
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.saved_layers import low_rank_layers
from pclora_lab.quiet import quiet

KINDS = ("bert", "gpt2")
# peft's own way to ask a model of transformers.
PEFT_ASKS = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By kind, a folder with a finished model, and one with a student at λ > 0."""
    root = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        dense = opened(kind, write_model(root / "dense" / kind, kind))
        SVD(SVDConfig(rank=2)).apply(dense).save_pretrained(root / "finished" / kind)
        student = get_pclora_model(dense, PCLoRAConfig(rank=2, init="svd"))
        set_progress(student, 0.3)
        student.save_pretrained(root / "student" / kind)
    return root


def opened(kind, folder, **options):
    with quiet():
        return auto_class(kind).from_pretrained(folder, **options)


def batch():
    return {"input_ids": torch.randint(5, 90, (2, 9), generator=seeded(1))}


def logits(model):
    with torch.no_grad():
        return model(**batch()).logits


@pytest.mark.parametrize("what", ["finished", "student"])
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_a_device_map_puts_it_it_says_the_same(kind, what, folders, tmp_path):
    folder = folders / what / kind
    model = opened(kind, folder)
    wanted = logits(model)
    for device_map in ("auto", "cpu", {"": "cpu"}):
        assert torch.equal(logits(opened(kind, folder, device_map=device_map)), wanted)
    heads = {name: "cpu" for name, _ in model.named_children()}
    parts = {**heads, model.base_model_prefix: "disk"}
    spread = opened(kind, folder, device_map=parts, offload_folder=str(tmp_path / "offload"))
    assert any(p.is_meta for p in spread.parameters())
    # A student's layer whose base is read from the disk does not merge it with its adapter first.
    torch.testing.assert_close(logits(spread), wanted)
    with pytest.warns(UserWarning, match="offloaded modules"):
        spread.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(opened(kind, tmp_path / "again")), wanted)


def inner(model):
    """The two linear layers of every low-rank layer, by name."""
    parts = [f"{name}.{part}" for name in low_rank_layers(model) for part in ("down", "up")]
    return {name: model.get_submodule(name) for name in parts}


@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_over_the_modules_finds_two_linear_layers_each(kind, folders):
    model = opened(kind, folders / "finished" / kind)
    walked = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
    assert inner(model) and inner(model).items() <= walked.items()
    # What watches or replaces them is run, as whatever quantizes or adapts needs it.
    heard = []
    for number, (name, layer) in enumerate(inner(model).items()):
        part = layer if number % 2 else nn.Sequential(layer)
        part.register_forward_hook(lambda *_, name=name: heard.append(name))
        model.set_submodule(name, part)
    before = logits(opened(kind, folders / "finished" / kind))
    assert torch.equal(logits(model), before) and set(heard) == set(inner(model))


@PEFT_ASKS
@pytest.mark.parametrize("targets", [["down", "up"], "all-linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_lora_on_a_compressed_model_is_trained_saved_read_and_merged(
    kind, targets, folders, tmp_path
):
    small = opened(kind, folders / "finished" / kind)
    before, names = logits(small), list(inner(small))
    adapted = peft.get_peft_model(small, peft.LoraConfig(r=2, target_modules=targets))
    adapted.eval()
    assert torch.equal(logits(adapted), before)
    layers = [adapted.get_submodule(f"base_model.model.{name}") for name in names]
    assert all(isinstance(layer, peft.tuners.lora.LoraLayer) for layer in layers)
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        adapted(**batch()).logits.square().sum().backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step(), optimizer.zero_grad()
    after = logits(adapted)
    assert not torch.allclose(after, before)
    adapted.save_pretrained(tmp_path / "adapters")
    base = opened(kind, folders / "finished" / kind)
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapters").eval()
    assert torch.equal(logits(again), after)
    merged = again.merge_and_unload()
    torch.testing.assert_close(logits(merged), after, rtol=1e-4, atol=1e-5)
    assert inner(merged).keys() == set(names)
    merged.save_pretrained(tmp_path / "merged")
    assert torch.equal(logits(opened(kind, tmp_path / "merged")), logits(merged))


class Rounding(QuantizationConfigMixin):
    """What a user passes as ``quantization_config``."""

    def __init__(self, **more):
        self.quant_method = "rounding"


class Rounder(HfQuantizer):
    """Rounds the weights of linear layers once they are read, and notes which."""

    def __init__(self, config, **more):
        super().__init__(config, **more)
        self.seen = []

    def _process_model_before_weight_loading(self, model, **more):
        self.seen = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]

    def _process_model_after_weight_loading(self, model, **more):
        for name in self.seen:
            weight = model.get_submodule(name).weight
            weight.data = (weight.data * 64).round() / 64

    def is_serializable(self):
        return True

    is_trainable = True


@pytest.fixture
def rounding(monkeypatch):
    for table in (AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING):
        monkeypatch.setitem(table, "rounding", None)
        del table["rounding"]
    register_quantization_config("rounding")(Rounding)
    register_quantizer("rounding")(Rounder)
    return Rounding()


def test_what_quantizes_gets_the_layers_after_they_stand(folders, rounding, tmp_path):
    folder = folders / "finished" / "bert"
    wanted = opened("bert", folder)
    for module in wanted.modules():
        if isinstance(module, nn.Linear):
            module.weight.data = (module.weight.data * 64).round() / 64
    model = opened("bert", folder, quantization_config=rounding)
    assert set(inner(model)) <= set(model.hf_quantizer.seen)
    assert torch.equal(logits(model), logits(wanted))
    assert model.config.quantization_config.quant_method == "rounding"
    with pytest.raises(ValueError, match="low-rank layers and is quantized, and config.json has"):
        model.save_pretrained(tmp_path / "quantized")
    assert not (tmp_path / "quantized").exists()
    # A dense model is quantized as ever, and low-rank layers are opened as ever.
    dense = opened("bert", folders / "dense" / "bert", quantization_config=copy.copy(rounding))
    assert dense.hf_quantizer.seen
    assert not hasattr(opened("bert", folder), "hf_quantizer")


@pytest.mark.skipif(not find_spec("torchao"), reason="torchao is not installed")
@pytest.mark.filterwarnings("ignore")  # torch's and torchao's own, of each other
def test_torchao_itself_finds_both_layers_while_opening_and_later(folders):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_
    from transformers import TorchAoConfig

    kind = Int8WeightOnlyConfig()
    folder = folders / "finished" / "bert"
    plain = opened("bert", folder)
    later = opened("bert", folder)
    quantize_(later, kind)
    for model in (later, opened("bert", folder, quantization_config=TorchAoConfig(kind))):
        modules = {type(layer.weight).__module__ for layer in inner(model).values()}
        assert all(name.startswith("torchao.") for name in modules)
        torch.testing.assert_close(logits(model), logits(plain), rtol=0.1, atol=0.1)


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import HfApi, constants

    with running_hub(monkeypatch) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        api = HfApi(endpoint=server.address)
        monkeypatch.setattr(transformers_hub, "_hf_api", api)
        yield server


def received(hub, folder):
    """What the hub has, as a folder."""
    folder.mkdir()
    for name, content in hub.RequestHandlerClass.files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("what", ["finished", "student"])
def test_what_is_pushed_opens_as_itself(what, hub, folders, tmp_path):
    model = opened("bert", folders / what / "bert")
    model.push_to_hub("me/small", token="hf_secret")
    again = opened("bert", received(hub, tmp_path / "hub"))
    assert torch.equal(logits(again), logits(model))
    assert set(hub.RequestHandlerClass.files) == {"config.json", "model.safetensors", "README.md"}


def test_a_trainer_pushes_what_opens_as_itself(hub, folders, tmp_path):
    model = opened("bert", folders / "finished" / "bert")
    settings = TrainingArguments(
        str(tmp_path / "small"), report_to=[], use_cpu=True, push_to_hub=True,
        hub_model_id="me/small", hub_token="hf_secret",
    )  # fmt: skip
    Trainer(model, settings).push_to_hub()
    again = opened("bert", received(hub, tmp_path / "hub"))
    assert torch.equal(logits(again), logits(model))


def test_without_a_token_the_hub_says_so_and_nothing_is_sent(hub, folders):
    hub.RequestHandlerClass.needs_token = True
    with pytest.raises(Exception, match="(?i)token|log in|username"):
        opened("bert", folders / "finished" / "bert").push_to_hub("me/small")
    assert not hub.RequestHandlerClass.files

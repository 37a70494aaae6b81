"""What travels to the device in a step, and what the host waits for."""

import numpy as np
import pytest
import torch
from device_ledger import LEDGER
from pretend_cuda import PretendCuda
from tiny import batch, tiny
from tiny_hf import tokenizer

from pclora_lab import Distiller, PCLoRAConfig, get_pclora_model, set_progress, total_loss
from pclora_lab.data.images import Preprocessing, _in_bytes
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import Split
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.methods.registry import make_method
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import call_model, to_device
from pclora_lab.nn.generators import generators_kept
from pclora_lab.training.measuring.layer_probe import LayerProbe
from pclora_lab.training.optimizer import _own_randomness


@pytest.fixture
def gpu():
    with PretendCuda() as pretended:
        yield pretended


def test_mean_and_deviation_travel_once_and_pictures_pinned(gpu):
    batches = preprocessing_of(load_model("vit_digits")).batches(load_data("digits").train)
    _in_bytes.cache_clear()
    batches.batch(torch.arange(8), "cuda")
    assert {kind for kind, _ in LEDGER.copies} == {"pinned", "pageable"}
    LEDGER.reset()
    images, labels = batches.batch(torch.arange(8), "cuda")
    assert {kind for kind, _ in LEDGER.copies} == {"pinned"} and not LEDGER.waits
    assert LEDGER.copied_bytes == 8 * 64 + 8 * 8
    wanted = batches.batch(torch.arange(8))
    assert torch.equal(images.cpu(), wanted[0]) and torch.equal(labels.cpu(), wanted[1])


def test_what_a_picture_is_scaled_by_may_be_asked_for_in_inference_mode_first():
    preprocessing = Preprocessing((3, 2, 2), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", 1.0)
    _in_bytes.cache_clear()
    with torch.inference_mode():
        preprocessing.normalize(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    weight = torch.ones(3, 1, 1, requires_grad=True)
    scale = _in_bytes(preprocessing.std, torch.device("cpu"))
    (weight * scale).sum().backward()
    assert torch.equal(weight.grad, scale)


def texts(*examples: str):
    split = Split(list(examples), np.zeros(len(examples), dtype=np.int64))
    return TextPreprocessing(tokenizer(), 12).batches(split)


def test_a_batch_of_texts_has_a_mask_only_where_one_is_padded():
    batches = texts("w5 w6", "w7 w8", "w9")
    assert set(batches.inputs(torch.tensor([0, 1]))) == {"input_ids"}
    padded = batches.inputs(torch.tensor([0, 2]))
    assert padded["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    # For whoever calls it, as ever.
    assert set(batches.preprocessing.encode(["w5 w6", "w7 w8"])) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "xlnet", "deberta-v2"])
def test_without_padding_the_mask_changes_no_bit(kind):
    model = tiny(kind)
    inputs = batch(model)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        wanted = call_model(model, inputs)
        assert torch.equal(call_model(model, {"input_ids": inputs["input_ids"]}), wanted)


def test_a_loss_without_a_mask_is_that_of_a_mask_of_ones():
    model = tiny("bert")
    gradients, inputs = [], batch(model)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for given in (inputs, {"input_ids": inputs["input_ids"]}):
        student = get_pclora_model(model, PCLoRAConfig(rank=2, init="svd"))
        set_progress(student, 0.3)
        terms = Distiller(student, model).terms(given, torch.arange(4) % 3)
        total_loss(terms, student.pclora_config).backward()
        gradients.append([p.grad for p in student.parameters() if p.grad is not None])
    assert all(map(torch.equal, *gradients))


def test_with_padding_only_transformers_asks_the_mask(gpu):
    model = tiny("bert").to("cuda")
    student = get_pclora_model(model, PCLoRAConfig(rank=2, init="svd"))
    teach, inputs = Distiller(student, model), batch(tiny("bert"))
    set_progress(student, 0.3)
    LEDGER.reset()
    on_gpu, labels = to_device(inputs, "cuda"), to_device(torch.arange(4) % 3, "cuda")
    total_loss(teach.terms(on_gpu, labels), student.pclora_config).backward()
    assert {what for what, _ in LEDGER.waits} == {"_local_scalar_dense"}
    assert all("call_model" in line for _, line in LEDGER.waits)
    assert sum(LEDGER.waits.values()) == 2  # once for each of the two models


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_losses_of_the_readmes_loop_wait_for_nothing(gpu, weight):
    model = tiny("vit").to("cuda")
    student = get_pclora_model(model, PCLoRAConfig(rank=2, init="svd", logit_weight=weight))
    teach, images, labels = Distiller(student, model), batch(model), torch.arange(4).cuda() % 3
    images = images.cuda()
    LEDGER.reset()
    set_progress(student, 0.3)
    total_loss(teach.terms(images, labels), student.pclora_config).backward()
    assert not LEDGER.waits


def test_looking_at_the_layers_waits_once_for_each_kind_of_number(gpu):
    model = tiny("vit").to("cuda")
    config = PCLoRAConfig(rank=2)
    student, images = get_pclora_model(model, config), batch(tiny("vit")).cuda()
    probe = LayerProbe(make_method(config), student, model, student.pclora_targets, images)
    LEDGER.reset()
    probe.measure()
    assert sum(LEDGER.waits.values()) <= 2


def test_the_other_way_is_waited_for(gpu):
    """Or the numbers are read before they are there."""
    assert to_device(torch.ones(2).cuda(), "cpu").tolist() == [1, 1]


@pytest.mark.parametrize("look", [generators_kept, lambda: _own_randomness(True, 7)])
def test_the_devices_generator_is_put_back_too(gpu, look):
    torch.cuda.manual_seed(3)
    before = gpu.random_state.clone()
    with look():
        torch.manual_seed(5)
        assert not torch.equal(gpu.random_state, before)
    assert torch.equal(gpu.random_state, before)

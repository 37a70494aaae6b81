"""Each process computes its part of a batch, as it stands in the whole batch."""

import pytest
import torch
from torch import nn

from pclora_lab import RunConfig
from pclora_lab.data.cache import DataCache
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.loading import load_model
from pclora_lab.training.parallel import shards as module
from pclora_lab.training.parallel.ranks import ALONE, Ranks
from pclora_lab.training.parallel.same import require_same
from pclora_lab.training.parallel.shards import (
    ShardedBatches,
    ShardedSteps,
    WholeSteps,
    send_weights,
    steps_of,
)


def batches(model, data):
    cache, loaded = DataCache(), load_model(model)
    return cache.batches(cache.data(RunConfig(data=data)), preprocessing_of(loaded), model)["train"]


@pytest.fixture(scope="module")
def texts():
    return batches("bert_glosses", "glosses")


@pytest.fixture(scope="module")
def images():
    return batches("vit_digits", "digits")


def test_texts_keep_the_padding_of_the_whole_batch(texts):
    indices = texts.lengths.argsort()[[0, -1, 1, 2, 3]]
    whole, labels = texts.batch(indices)
    parts = [ShardedBatches(texts, Ranks(number, 2)) for number in (0, 1)]
    found = [part.batch(indices) for part in parts]
    for number, (inputs, own) in enumerate(found):
        rows = slice(number, None, 2)
        assert torch.equal(own, labels[rows])
        assert all(torch.equal(inputs[name], whole[name][rows]) for name in whole)
    assert [part.share for part in parts] == [0.6, 0.4]
    tokens = [part.share * part.token_weight for part in parts]
    real = whole["attention_mask"].sum(1)
    assert tokens[0] == pytest.approx(int(real[0::2].sum()) / int(real.sum()))
    assert sum(tokens) == pytest.approx(1) and tokens[0] != pytest.approx(0.6, abs=0.05)


def test_images_made_ahead_are_those_of_the_batch_that_is_asked_for(images):
    part = ShardedBatches(images, Ranks(1, 2))
    first, second = (part.begun(torch.arange(count)) for count in (5, 4))
    for rest, own, share in ((first, [1, 3], 0.4), (second, [1, 3], 0.5)):
        inputs, labels = rest("cpu")
        expected = images.batch(torch.tensor(own))
        assert torch.equal(inputs, expected[0]) and torch.equal(labels, expected[1])
        assert part.share == share and part.token_weight == 1
    drawn = next(part.shuffled(8, torch.Generator().manual_seed(0)))
    assert torch.equal(drawn, next(images.shuffled(8, torch.Generator().manual_seed(0))))
    assert part.takes_work


@pytest.fixture
def two(images, monkeypatch):
    """Sums over two processes, that this one plays in turn."""
    sent = []

    def all_reduce(tensor, group=None):
        sent.append(tensor.clone())

    monkeypatch.setattr(module.distributed, "all_reduce", all_reduce)
    return [ShardedSteps(images, Ranks(number, 2)) for number in (0, 1)], sent


def test_gradients_add_up_to_those_of_the_whole_batch(images, two):
    parts, sent = two
    layer = nn.Linear(64, 10).double()
    optimizer = torch.optim.SGD(layer.parameters())

    def terms(inputs, labels):
        logits = layer(inputs.flatten(1).double())
        return {"loss": nn.functional.cross_entropy(logits, labels), "bias": layer.bias.sum()}

    indices = torch.arange(7)
    for part in parts:
        optimizer.zero_grad()
        found = terms(*part.batches.batch(indices))
        with part.forward():
            part.loss(found).backward()
        part.add_up(optimizer)
        assert list(part.logged(found)) == ["loss", "bias"]
    optimizer.zero_grad()
    whole = terms(*images.batch(indices))
    whole["loss"].backward()
    flat = torch.cat([torch.stack(list(whole.values())).detach(),
                      layer.weight.grad.flatten(), layer.bias.grad])  # fmt: skip
    torch.testing.assert_close(sent[0] + sent[1], flat)


def test_what_is_sent_is_cut_into_buckets_of_one_type(monkeypatch):
    monkeypatch.setattr(module, "_BUCKET_BYTES", 16)
    tensors = [torch.zeros(n, dtype=kind) for n, kind in [
        (2, torch.float32), (1, torch.float64), (2, torch.float32), (3, torch.float32),
    ]]  # fmt: skip
    cut = [[(len(t), t.dtype) for t in bucket] for bucket in module._buckets(tensors)]
    assert cut == [
        [(2, torch.float32), (2, torch.float32)],
        [(1, torch.float64)],
        [(3, torch.float32)],
    ]


def test_no_two_processes_draw_the_same_and_the_first_draws_what_one_would(images):
    seeds = [steps_of(images, Ranks(number, 3)).seed(7, 0.5) for number in range(3)]
    assert len(set(seeds)) == 3
    assert seeds[0] == steps_of(images, ALONE).seed(7, 0.5) == hash((7, 0.5))
    assert type(steps_of(images, ALONE)) is WholeSteps


def test_fewer_examples_than_processes_are_refused(images):
    count = len(images) + 1
    with pytest.raises(ValueError, match=f"{count - 1} training examples can't be divided among"):
        ShardedSteps(images, Ranks(0, count))


def test_batch_normalization_is_told(images, monkeypatch):
    monkeypatch.setattr(module, "send_weights", lambda model, ranks: None)
    with pytest.warns(UserWarning, match="Sequential has batch normalization, whose means"):
        ShardedSteps(images, Ranks(0, 2)).begin(nn.Sequential(nn.BatchNorm1d(2)))
    send_weights(nn.Linear(1, 1), ALONE)  # nobody to send them to


class Told(Ranks):
    def gathered(self, text):
        return [text, text.replace("0.1", "0.2").replace('"x"', "null")]


def test_what_differs_is_named_with_both_values():
    require_same(Told(0, 2), {"lr": 0.3}, "settings")
    words = "different settings: lr is 0.1 in process 0 and 0.2 in process 1; m.name is 'x' in"
    with pytest.raises(RuntimeError, match=words):
        require_same(Told(0, 2), {"lr": 0.1, "m": {"name": "x"}}, "settings")

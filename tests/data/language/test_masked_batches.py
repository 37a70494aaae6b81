"""Texts in which some tokens are hidden: which ones, when others, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from speakers import small_texts, small_tokenizer
from tiny_hf import tokenizer

from pclora_lab.data.language.masked import MaskedBatches
from pclora_lab.data.splits import Split
from pclora_lab.data.texts import TextPreprocessing

WORDS = [f"w{number}" for number in range(5, 99)]


def batches_of(texts, tokens=16):
    split = Split(list(texts), np.zeros(len(texts), dtype=np.int64))
    return MaskedBatches(split, TextPreprocessing(with_mask(), tokens))


def with_mask():
    made = tokenizer()
    made.mask_token = "[MASK]"
    return made


@pytest.fixture(scope="module")
def batches():
    return batches_of([" ".join(WORDS[start : start + 10]) for start in range(60)])


def test_targets_are_what_was_hidden_and_nothing_else_has_changed(batches):
    indices = torch.arange(60)
    inputs, targets = batches.batch(indices)
    whole = batches.inputs(indices)["input_ids"]
    chosen = targets != -100
    assert torch.equal(targets[chosen], whole[chosen])
    assert torch.equal(inputs["input_ids"][~chosen], whole[~chosen])
    share = chosen.sum() / (whole > 4).sum()
    assert 0.11 < share < 0.19 and not chosen[whole <= 4].any()
    hidden = inputs["input_ids"][chosen] == batches.preprocessing.tokenizer.mask_token_id
    assert 0.68 < hidden.float().mean() < 0.92


def test_a_batch_hides_the_same_again_and_another_batch_others(batches):
    first, again = (batches.batch(torch.arange(20)) for _ in range(2))
    assert torch.equal(first[0]["input_ids"], again[0]["input_ids"])
    assert torch.equal(first[1], again[1])
    other = batches.batch(torch.arange(20).flip(0))
    assert not torch.equal(other[1].flip(0), first[1])
    state = torch.get_rng_state()
    batches.batch(torch.arange(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_part_of_a_batch_hides_what_the_whole_of_it_does(batches):
    indices = torch.tensor([3, 50, 7, 20])
    inputs, targets = batches.batch(indices)
    for rows in (slice(0, 1), slice(1, 4)):
        part, wanted = batches.part(indices, rows)
        assert torch.equal(part["input_ids"], inputs["input_ids"][rows])
        assert torch.equal(wanted, targets[rows])


def test_a_split_is_measured_with_the_same_tokens_hidden_whatever_fits_at_once(batches):
    found = [[part.tolist() for part in batches.for_scoring(size)] for size in (1, 7, 256)]
    assert found[0] == found[1] == found[2]
    assert sorted(sum(found[0], [])) == list(range(60)) and len(found[0]) == 2


def test_each_epoch_hides_others(batches):
    generator = torch.Generator().manual_seed(0)
    epochs = batches.shuffled(20, generator)
    seen = {}
    for indices in (next(epochs) for _ in range(6)):
        _, targets = batches.batch(indices)
        for index, row in zip(indices.tolist(), targets, strict=True):
            seen.setdefault(index, []).append((row != -100).nonzero().flatten().tolist())
    assert sum(first != second for first, second in seen.values()) > 40


def test_long_texts_are_windows_and_none_is_lost():
    texts = [" ".join(WORDS[:40]), "", "w9", " ".join(WORDS[50:60])]
    batches = batches_of(texts, tokens=12)
    assert [len(row) for row in batches.ids] == [12, 12, 12, 12, 3, 12]
    for row in batches.ids:
        assert (row[0], row[-1]) == (2, 3)
    said = [text for row in batches.ids[:4] for text in row[1:-1].tolist()]
    assert said == list(range(5, 45))
    assert batches.notes("train") == [
        "1 of 4 texts of train have no token to guess and were left out",
        "3 texts of train were cut into 6 windows of at most 12 tokens",
    ]
    assert list(batches.texts)[4] == "w9" and batches_of(["w5 w6"]).notes("test") == []


def test_what_can_not_be_is_refused():
    with pytest.raises(ValueError, match="none of 2 texts has a token"):
        batches_of(["", " "])
    split = Split(small_texts(), np.zeros(80, dtype=np.int64))
    with pytest.raises(ValueError, match="has no token that hides others"):
        MaskedBatches(split, TextPreprocessing(small_tokenizer(), 12))
    pairs = replace(split, examples=[("a", "b")] * 80)
    with pytest.raises(ValueError, match="a pair of texts is no document"):
        MaskedBatches(pairs, TextPreprocessing(with_mask(), 12))

"""Documents as rows of token numbers: cut, counted in bytes, and never side by side."""

import numpy as np
import pytest
import torch
from speakers import small_texts, small_tokenizer, write_speaker

from pclora_lab.data.language import batches as module
from pclora_lab.data.language.batches import LanguageBatches
from pclora_lab.data.splits import Split
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import call_model


def split_of(texts):
    return Split(list(texts), np.zeros(len(texts), dtype=np.int64))


def batches_of(texts, max_tokens=48, **special):
    preprocessing = TextPreprocessing(small_tokenizer(**special), max_tokens)
    return LanguageBatches(split_of(texts), preprocessing)


@pytest.mark.parametrize("max_tokens", [2, 3, 5, 7, 48])
def test_every_token_but_the_first_is_guessed_once(max_tokens):
    texts = small_texts()[:6]
    found = batches_of(texts, max_tokens)
    tokenizer = small_tokenizer()
    guessed = {document: [] for document in range(6)}
    for ids, document in zip(found.pieces.ids, found.pieces.documents, strict=True):
        assert 2 <= len(ids) <= max_tokens
        guessed[document] += ids[1:].tolist()
    whole = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    assert [*guessed.values()] == [numbers[1:] for numbers in whole]
    cut = [f"6 texts of test were cut into {len(found)} blocks of at most {max_tokens} tokens"]
    assert found.notes("test") == ([] if max_tokens == 48 else cut)


@pytest.mark.parametrize(
    "text", ["a small tree", "ein Öl für 5 €, 中文", "two  spaces, \n and a line"]
)
def test_the_bytes_of_guessed_tokens_are_those_of_the_text(text):
    found = batches_of([text])
    _, targets = found.batch(torch.tensor([0]))
    tokens, sizes = targets[0]
    assert sizes[tokens == 0].tolist() == sizes[tokens == 1].tolist() == [-1]  # start and end
    assert sizes[1:-1].min() >= 0 and sizes[1:-1].sum() == len(text.encode())


def test_padding_is_no_target_and_a_part_is_padded_like_the_whole():
    found = batches_of([small_texts()[0], "a bird", "a river"])
    inputs, targets = found.batch(torch.tensor([1, 0]))
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == targets[:, 0].shape
    is_padded = inputs["attention_mask"] == 0
    assert is_padded[0].any() and (targets[:, 0][is_padded] == -100).all()
    assert torch.equal(targets[:, 0][~is_padded], inputs["input_ids"][~is_padded])
    part, own = found.part(torch.tensor([1, 0]), slice(0, 1))
    assert torch.equal(part["input_ids"], inputs["input_ids"][:1]) and torch.equal(own, targets[:1])
    even, _ = found.batch(torch.tensor([0]))
    assert [*even] == ["input_ids"]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_document_changes_nothing_of_another(kind, tmp_path):
    """In one batch, beside another document or beside none, the answers are the same."""
    model = load_model(write_speaker(tmp_path, kind), task="language-model")
    texts = ["a bird by the sea", "a small house in a garden", "a king of a river that is deep"]
    found = LanguageBatches(split_of(texts), TextPreprocessing.of(model))
    with torch.no_grad():
        alone = call_model(model, found.batch(torch.tensor([0]))[0])[0]
        beside = [call_model(model, found.batch(torch.tensor([0, n]))[0])[0] for n in (1, 2)]
    for logits in beside:
        assert len(logits) > len(alone)
        torch.testing.assert_close(logits[: len(alone)], alone, atol=2e-5, rtol=1e-4)


def test_documents_without_a_token_to_guess_are_left_out_and_said():
    found = batches_of(["a", *small_texts()[:3]], start=False)
    assert len(found) == 3 and found.texts[0].startswith("a small")
    assert found.notes("train") == [
        "1 of 4 texts of train have no token to guess and were left out"
    ]
    with pytest.raises(ValueError, match="none of 2 texts has two tokens"):
        batches_of(["a", "a"], start=False)
    with pytest.raises(ValueError, match="max_tokens is 1, but the first token of a block"):
        batches_of(small_texts(), 1)


def test_a_tokenizer_without_an_end_ends_no_text_and_that_is_said():
    found = batches_of(small_texts()[:2], end=False)
    ended = batches_of(small_texts()[:2])
    assert [len(ids) + 1 for ids in found.pieces.ids] == [len(ids) for ids in ended.pieces.ids]
    assert "no token for the end of a text" in found.notes("train")[0]
    assert found.notes("test") == [] == ended.notes("train")


def test_pairs_and_tokenizers_that_know_no_characters_are_refused():
    with pytest.raises(ValueError, match="a pair of texts is no document"):
        batches_of([("a", "b")] * 3)

    class Slow:
        is_fast, eos_token_id = False, 1

    with pytest.raises(ValueError, match="Slow does not say which characters a token stands for"):
        LanguageBatches(split_of(["a b"]), TextPreprocessing(Slow(), 8))


def test_batches_are_of_like_length_and_no_larger_than_their_logits_may_be(monkeypatch):
    found = batches_of(small_texts())
    drawn = next(found.shuffled(16, torch.Generator().manual_seed(0)))
    spread = found.lengths.max() - found.lengths.min()
    assert found.lengths[drawn].max() - found.lengths[drawn].min() < spread / 2
    longest = int(found.lengths.max())
    monkeypatch.setattr(module, "_MOST_LOGITS", 4 * longest * len(small_tokenizer()))
    parts = [*found.for_scoring(64)]
    assert all(len(part) * int(found.lengths[part].max()) <= 4 * longest for part in parts)
    assert sorted(torch.cat(parts).tolist()) == [*range(80)]

"""Models from GGUF files that the package gguf has written; without it, they are skipped."""

import pytest
import torch
from tiny_gguf import WORDS, tiny_llama, write_gguf

from pclora_lab import compress, from_pretrained, get_pclora_model, load_model, save_pretrained
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import set_progress
from pclora_lab.models.hf import gguf
from pclora_lab.models.loading import describe_model

pytest.importorskip("gguf", reason="the extra gguf is not installed")

IDS = torch.tensor([[5, 40, 7, 61, 9, 2]])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama())


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(IDS).logits


@pytest.mark.parametrize("tied", [True, False])
def test_a_file_gives_the_language_model_that_was_written(tmp_path, capsys, tied):
    theirs = tiny_llama(tied=tied)
    model = load_model(write_gguf(tmp_path / "tiny.gguf", theirs))
    torch.testing.assert_close(logits(model), logits(theirs))
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training
    assert model.pclora_recipe["task"] == "language-model" and model.num_parameters() > 0
    # Nothing in a notebook cell: neither bars nor remarks.
    assert capsys.readouterr() == ("", "")


def test_rounded_weights_come_as_plain_numbers(tmp_path):
    theirs = tiny_llama()
    model = load_model(write_gguf(tmp_path / "tiny.gguf", theirs, kind="Q8_0"))
    gap = (logits(model) - logits(theirs)).abs().max()
    assert 0 < gap < 0.05 * logits(theirs).abs().max()
    assert not hasattr(model, "hf_quantizer") and not hasattr(model.config, "quantization_config")


def test_its_vocabulary_comes_along(file):
    text = load_model(file).pclora_text
    ids = text.tokenizer("the an")["input_ids"]
    assert [WORDS[number] for number in ids] == ["the", "Ġ", "an"]
    assert text.tokenizer.pad_token == "</s>" and text.tokenizer.decode(ids) == "the an"
    # transformers adds a token of this name, for which the model has no row.
    assert len(text.tokenizer) == len(WORDS)
    assert max(text.tokenizer("<|endoftext|>")["input_ids"]) < len(WORDS)


def test_what_is_made_of_it_is_saved_and_read_without_the_file(file, tmp_path):
    model = load_model(file)
    student = get_pclora_model(model, PCLoRAConfig(rank=2, init="svd"))
    set_progress(student, 1.0)
    small = compress(student)
    again = from_pretrained(save_pretrained(small, tmp_path / "small"))
    assert torch.equal(logits(again), logits(small))
    assert again.lm_head.weight is again.model.embed_tokens.weight
    text = model.pclora_text.tokenizer
    assert again.pclora_text.tokenizer("the sea")["input_ids"] == text("the sea")["input_ids"]
    dense = load_model(save_pretrained(model, tmp_path / "dense"))
    assert torch.equal(logits(dense), logits(model))


def test_its_sizes_are_known_without_its_weights(file):
    described = describe_model(str(file))
    assert described.lm_head.weight.is_meta
    assert described.num_parameters() == tiny_llama().num_parameters()


def test_with_classes_it_becomes_a_classifier_with_a_new_head(file):
    model = load_model(file, num_classes=3)
    assert type(model).__name__ == "LlamaForSequenceClassification" and model.pclora_head_is_new
    assert torch.equal(model.model.embed_tokens.weight, tiny_llama().model.embed_tokens.weight)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"block_count": 2**31}, "header of .*num_hidden_layers.*512"),
        ({"block_count": 300}, "describes .* numbers, its tensors hold 2.,...: it was edited"),
        ({"block_count": 3}, "the weights of .* lack"),
        ({"block_count": 1}, "describes 1 blocks, its tensors are of 2"),
        ({"embedding_length": 16}, "the weights of .* lack"),
    ],
)
def test_a_header_that_was_edited_is_refused(tmp_path, changes, words):
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), **changes)
    with pytest.raises(ValueError, match=words):
        load_model(file)


def test_weights_that_are_cut_short_are_refused(file, tmp_path):
    short = tmp_path / "short.gguf"
    short.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(ValueError, match="short.gguf' is cut short: its tensors go on to byte"):
        load_model(short)


def test_an_architecture_that_transformers_can_not_read_is_named(file, tmp_path):
    other = tmp_path / "other.gguf"
    other.write_bytes(file.read_bytes().replace(b"llama", b"lhama"))
    with pytest.raises(ValueError, match="architecture 'lhama', which transformers .* GGUF"):
        load_model(other)


def test_packed_weights_and_kernels_for_them_are_never_asked_for():
    with gguf.unpacking("a.gguf") as options:
        asked = options.get("quantization_config")
    assert asked is None or asked.dequantize is True
    with gguf.unpacking("owner/name") as options:
        assert options == {}

"""A tokenizer is the model's own: as many words, a padding, and an end where the end is read."""

from types import SimpleNamespace

import pytest
from tiny import tiny
from tiny_hf import config, tokenizer
from transformers import BartConfig

from pclora_lab.models.hf_tokenizer import check_tokenizer, load_hf_tokenizer, text_preprocessing


def test_what_a_model_reads_of_a_text_is_what_its_configuration_says():
    model = tiny("bert")
    read = text_preprocessing(model, tokenizer(), 9)
    assert (read.max_tokens, read.token_types, read.pad_left) == (9, True, False)
    for summary, is_left in (("last", True), ("first", False)):
        model.config.summary_type = summary
        assert text_preprocessing(model, tokenizer(), 9).pad_left is is_left


@pytest.mark.parametrize(
    ("end", "is_pair", "refused"),
    [(2, True, True), (3, True, False), (2, False, False), (None, True, False), ([2], True, False)],
)
def test_only_an_encoder_and_a_decoder_need_the_end_of_a_text(end, is_pair, refused):
    made = BartConfig(vocab_size=99, is_encoder_decoder=is_pair, pad_token_id=0)
    made.eos_token_id = end
    words = tokenizer(99)
    assert words("a")["input_ids"][-1] == 3
    if refused:
        told = r"'some' does not end a text with token 2 \('\[CLS\]'\), at which this bart class"
        with pytest.raises(ValueError, match=told):
            check_tokenizer(words, made, "some")
        return
    check_tokenizer(words, made, "some")


def test_a_model_of_two_sides_is_asked_for_its_texts():
    inner = SimpleNamespace(vocab_size=99, pad_token_id=None)
    check_tokenizer(tokenizer(99), SimpleNamespace(text_config=inner), "some")
    assert inner.pad_token_id == 0
    with pytest.raises(ValueError, match="it has 99 words, the model's embedding 98 rows"):
        check_tokenizer(
            tokenizer(99),
            SimpleNamespace(text_config=SimpleNamespace(vocab_size=98, pad_token_id=0)),
            "some",
        )


FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
         "tokenizer.model")  # fmt: skip


def test_a_folder_without_a_tokenizer_says_so_and_any_kind_of_it_is_tried(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} has no tokenizer .*save the model's own"):
        load_hf_tokenizer(str(tmp_path), config("bert"))
    for name in FILES:
        (tmp_path / name).write_bytes(b"none")
        with pytest.raises(ValueError, match="can't be (read|loaded)"):
            load_hf_tokenizer(str(tmp_path), config("bert"))
        (tmp_path / name).unlink()
    tokenizer().save_pretrained(tmp_path)
    assert load_hf_tokenizer(str(tmp_path), config("bert"))("w7")["input_ids"] == [2, 7, 3]

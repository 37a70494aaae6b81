"""The tokenizer beside a transformers model; one of another model is refused."""

from pathlib import Path

from torch import nn
from transformers import (
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from pclora_lab.data.texts import TextPreprocessing, reads_token_types
from pclora_lab.models.hf.gguf import own_tokens
from pclora_lab.models.hf.gguf_header import gguf_source, is_gguf
from pclora_lab.models.hf_config import config_in, plain_errors

__all__ = ["check_tokenizer", "load_hf_tokenizer", "text_preprocessing"]


def text_preprocessing(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, tokens: int
) -> TextPreprocessing:
    """What the model expects of a text.

    Args:
        model: of transformers.
        tokenizer: its own.
        tokens: of the longest text.
    """
    # Such a model takes the last place for the whole text, whether it is padding or not.
    reads_last = getattr(config_in(model), "summary_type", None) == "last"
    return TextPreprocessing(tokenizer, tokens, reads_token_types(model), reads_last)


# The last three are sentencepiece's, of ALBERT, XLM-R and Llama.
_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


def load_hf_tokenizer(source: str, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model; a configuration without a padding token gets its own.

    Raises:
        ValueError: there is none, or its vocabulary is not the model's.
    """
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in _FILES):
        raise ValueError(
            f"{folder} has no tokenizer (tokenizer.json or vocab.txt): save the model's own there, "
            "tokenizer.save_pretrained(folder)"
        )
    tokenizer = _read_tokenizer(source)
    if is_gguf(source):
        tokenizer = own_tokens(tokenizer, config.vocab_size)
    check_tokenizer(tokenizer, config, source)
    return tokenizer


def _read_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or GGUF file, of the hub or of its cache."""
    file = Path(source) / "tokenizer.json"
    place, gguf = gguf_source(source)
    try:
        if file.is_file():
            return PreTrainedTokenizerFast.from_pretrained(file.parent)
        with plain_errors(source):
            return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **gguf)
    except ConnectionError:
        raise
    # The reader behind it raises bare exceptions of its own.
    except Exception as error:
        where = f"{file}" if file.is_file() else f"the tokenizer of {source!r}"
        raise ValueError(
            f"{where} can't be read ({error}): the file is damaged or cut short; fetch it again"
        ) from error


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, source: str
) -> None:
    """Refuse a vocabulary of another size; give padding a token where there is none.

    Raises:
        ValueError: names both sizes.
    """
    text = getattr(config, "text_config", config)
    words, rows = len(tokenizer), text.vocab_size
    # Some models round their embedding up; none has twice the words that it needs.
    if words > rows or words < rows / 2:
        raise ValueError(
            f"the tokenizer of {source!r} does not match the model: it has {words:,} words, the "
            f"model's embedding {rows:,} rows. Put the tokenizer there that the model was trained "
            "with"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if text.pad_token_id is None:
        text.pad_token_id = tokenizer.pad_token_id
    _require_end(tokenizer, config, source)


def _require_end(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, source: str) -> None:
    """An encoder and a decoder classify at the end of a text, which the tokenizer must mark."""
    end = getattr(config, "eos_token_id", None)
    if not getattr(config, "is_encoder_decoder", False) or not isinstance(end, int):
        return
    if tokenizer("a")["input_ids"][-1:] != [end]:
        raise ValueError(
            f"the tokenizer of {source!r} does not end a text with token {end} "
            f"({tokenizer.convert_ids_to_tokens(end)!r}), at which this {config.model_type} "
            "classifies: put the tokenizer there that the model was trained with"
        )

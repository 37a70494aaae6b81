"""How a model of language goes on: the likeliest next token, again and again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.nn.forward import call_model, eval_mode
from pclora_lab.tasks.outputs import Continuation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["continue_texts", "continue_tokens"]


def continue_texts(
    model: nn.Module, prompts: Sequence[str], *, tokens: int = 16
) -> list[Continuation]:
    """Let a model go on with texts, by the likeliest next token each time.

    Args:
        model: of language, loaded by name; a student, a compressed or a dense one.
        prompts: beginnings of texts.
        tokens: most that are added to each; a text that the model ends is shorter.

    Raises:
        ValueError: a model without a tokenizer, or a prompt without a token.

    Example:
        >>> from pclora_lab import load_model
        >>> [said] = continue_texts(load_model("llama_glosses"), ["a person who"], tokens=4)
        >>> said.prompt, len(said.tokens), all(0 < p <= 1 for p in said.probabilities)
        ('a person who', 4, True)
    """
    tokenizer = TextPreprocessing.of(model).tokenizer
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    end = tokenizer.eos_token_id
    rows = [row[:-1] if row[-1:] == [end] and len(row) > 1 else row for row in rows]
    return continue_tokens(model, rows, tokens=tokens)


def continue_tokens(
    model: nn.Module, rows: Sequence[Sequence[int]], *, tokens: int = 16
) -> list[Continuation]:
    """:func:`continue_texts` from token numbers.

    The whole text is computed anew for every token: a student has no other way of its own, and what
    is shown of it is short.

    Args:
        model: of language.
        rows: token numbers of each prompt.
        tokens: most that are added; fewer where the model's positions end.

    Raises:
        ValueError: a prompt without a token.
    """
    if empty := [number for number, row in enumerate(rows) if not len(row)]:
        raise ValueError(f"prompt {empty[0]} has no token: give a word to begin with")
    if not rows:
        return []
    tokenizer = TextPreprocessing.of(model).tokenizer
    device = next(model.parameters()).device
    tokens = max(1, min(tokens, _room(model) - max(map(len, rows))))
    lengths = torch.tensor([len(row) for row in rows], device=device)
    ids = torch.zeros(len(rows), int(lengths.max()) + tokens, dtype=torch.long, device=device)
    for row, numbers in enumerate(rows):
        ids[row, : len(numbers)] = torch.as_tensor(list(numbers), device=device)
    chosen = _grown(model, ids, lengths, tokens)
    return [
        _told(tokenizer, list(prompt), numbers, shares)
        for prompt, numbers, shares in zip(rows, *(part.tolist() for part in chosen), strict=True)
    ]


def _grown(model: nn.Module, ids: Tensor, lengths: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """The likeliest tokens and their probabilities, ``(rows, tokens)`` each; ``ids`` is filled."""
    rows = torch.arange(len(ids), device=ids.device)
    places = torch.arange(ids.shape[1], device=ids.device)
    found, shares = [], []
    with eval_mode(model):
        for _ in range(tokens):
            longest = int(lengths.max())
            # What is padded comes behind, where nothing that is read looks.
            inputs = {"input_ids": ids[:, :longest]}
            if int(lengths.min()) < longest:
                inputs["attention_mask"] = (places[:longest] < lengths[:, None]).long()
            logits = call_model(model, inputs)[rows, lengths - 1].float()
            best = logits.argmax(-1)
            found.append(best)
            shares.append(logits.softmax(-1)[rows, best])
            ids[rows, lengths] = best
            lengths = lengths + 1
    return torch.stack(found, 1), torch.stack(shares, 1)


def _room(model: nn.Module) -> int:
    """How many tokens a text may have."""
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None) or 0
    return positions if positions > 0 else 2**20


def _told(
    tokenizer: "PreTrainedTokenizerBase", prompt: list[int], numbers: list[int], shares: list[float]
) -> Continuation:
    """As text, up to the token that ends it."""
    end = tokenizer.eos_token_id
    is_ended = end in numbers
    numbers = numbers[: numbers.index(end)] if is_ended else numbers
    begun = before = _decoded(tokenizer, prompt)
    words = []
    for count in range(1, len(numbers) + 1):
        # Decoded as a whole: a space, or a letter of several bytes, may belong to two tokens.
        now = _decoded(tokenizer, [*prompt, *numbers[:count]])
        words.append(now[len(before) :])
        before = now
    return Continuation(begun, tuple(words), tuple(shares[: len(numbers)]), is_ended)


def _decoded(tokenizer: "PreTrainedTokenizerBase", numbers: list[int]) -> str:
    # Some tokenizers write a space before the first word of every text.
    return str(tokenizer.decode(numbers, skip_special_tokens=True)).removeprefix(" ")

"""Pre-train a small BERT on texts of your own: a word-piece vocabulary, then masked words.

The embedded text model and the text benchmark are made with it; nothing else needs it.
"""

import math
import random
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import BertConfig, BertForMaskedLM, BertTokenizer, PreTrainedTokenizerBase

from pclora_lab.data.language.masking import mask_tokens
from pclora_lab.methods.base import check_lr
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.schema import listed, text, whole
from pclora_lab.training.optimizer import LossDiverged, learning_rate

__all__ = ["learn_vocabulary", "mask_tokens", "pretrain_masked", "small_bert_config"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn_vocabulary(texts: Sequence[str], size: int, max_tokens: int) -> BertTokenizer:
    """A lower-case word-piece tokenizer learned from texts.

    Args:
        texts: what the vocabulary is counted on.
        size: entries, the special ones included; every letter is one, however many there are.
        max_tokens: longest text in tokens, written into the tokenizer.

    Raises:
        ValueError: a size that can't be, or something else than texts.
    """
    for what, given, low in (("size", size, len(_SPECIAL)), ("max_tokens", max_tokens, 1)):
        whole(low, 2**22)(f"learn_vocabulary: {what}", given)
    listed(text())("learn_vocabulary: texts", list(texts))
    learner = BertWordPieceTokenizer(lowercase=True)
    learner.train_from_iterator(
        iter(texts), vocab_size=size, special_tokens=list(_SPECIAL), show_progress=False
    )
    return BertTokenizer(vocab=learner.get_vocab(), model_max_length=max_tokens)


def small_bert_config(
    vocabulary: int, *, width: int, depth: int, heads: int, max_tokens: int
) -> BertConfig:
    """A BERT in the usual proportions: the MLP is four times as wide as the rest."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=max_tokens,
    )


def _batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Batches of texts of like length, in random order, epoch after epoch."""
    shuffle = random.Random(int(torch.randint(2**31, (), generator=generator, device="cpu")))
    while True:
        order = list(range(len(lengths)))
        shuffle.shuffle(order)
        pools = [order[i : i + 50 * batch_size] for i in range(0, len(order), 50 * batch_size)]
        batches = []
        for pool in pools:
            pool.sort(key=lengths.__getitem__)
            batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        shuffle.shuffle(batches)
        yield from batches


def pretrain_masked(
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
) -> Iterator[float]:
    """Teach a model to guess hidden words; yields the loss of every step.

    AdamW with a weight decay of 0.01; the learning rate rises over 5% of the steps and falls along
    half a cosine; gradients are clipped to a norm of 1. Only the chosen places go through the
    output layer, which is most of the work otherwise. A batch in which no place was chosen has a
    loss of 0.

    Args:
        model: trained in place; in eval mode after the last step.
        tokenizer: its own; texts are cut at its ``model_max_length``.
        texts: what it reads.
        steps: optimizer steps.
        batch_size: texts per step.
        lr: peak learning rate.
        seed: draws batches and hidden words.

    Raises:
        ValueError: a learning rate that no optimizer takes.
        LossDiverged: the loss became NaN or infinite.
        NotFinite: a weight has, in the last step.
    """
    check_lr("lr", lr)
    generator = torch.Generator().manual_seed(seed)
    encoded = tokenizer(list(texts), truncation=True, return_special_tokens_mask=True)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    batches = _batches(lengths, batch_size, generator)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, lr, 0.05)
        indices = next(batches)
        batch = tokenizer.pad(
            {key: [encoded[key][index] for index in indices] for key in encoded},
            return_tensors="pt",
        )
        special = batch["special_tokens_mask"].bool() | ~batch["attention_mask"].bool()
        ids, chosen = mask_tokens(
            batch["input_ids"], special, tokenizer.mask_token_id, len(tokenizer), generator
        )
        states = model.base_model(ids, attention_mask=batch["attention_mask"]).last_hidden_state
        predictions = model.cls(states[chosen])
        # A mean over no words at all would be NaN; short texts have such batches.
        loss = (
            F.cross_entropy(predictions, batch["input_ids"][chosen])
            if len(predictions)
            else predictions.sum()
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if not math.isfinite(value := float(loss.detach())):
            raise LossDiverged(
                f"the loss was not finite at step {step}: try a smaller rate than lr={lr:g}"
            )
        yield value
    check_weights_finite(model, f"try a smaller learning rate than lr={lr:g}")
    model.eval()

"""Words are hidden as BERT's paper says, and guessed by the model that read the rest."""

import math

import pytest
import torch
from plain_training import rate
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import BertForMaskedLM

from pclora_lab.training import masked_lm
from pclora_lab.training.masked_lm import (
    _batches,
    learn_vocabulary,
    mask_tokens,
    pretrain_masked,
    small_bert_config,
)

TEXTS = ["a small text of some words", "another text", "some more words and some more"] * 4
MASK, WORDS = 3, 1000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tokenizer():
    return learn_vocabulary(TEXTS, 60, 12)


def model_of(tokenizer):
    torch.manual_seed(0)
    sizes = {"width": 8, "depth": 1, "heads": 2, "max_tokens": 12}
    return BertForMaskedLM(small_bert_config(len(tokenizer), **sizes))


def test_15_percent_are_chosen_and_of_these_80_10_10_are_hidden_swapped_and_kept():
    ids = torch.full((400, 500), 7)
    changed, chosen = mask_tokens(ids, torch.zeros_like(ids).bool(), MASK, WORDS, seeded())
    assert chosen.float().mean() == pytest.approx(0.15, abs=0.005)
    assert (changed[~chosen] == 7).all()
    hidden, kept = changed[chosen] == MASK, changed[chosen] == 7
    assert hidden.float().mean() == pytest.approx(0.8, abs=0.01)
    assert kept.float().mean() == pytest.approx(0.1, abs=0.01)
    others = changed[chosen][~hidden & ~kept]
    assert len(others) / int(chosen.sum()) == pytest.approx(0.1, abs=0.01)
    # Swapped for any word of the vocabulary, each as often as another.
    assert 0 <= others.min() < 20 and WORDS - 20 < others.max() < WORDS
    assert others.float().mean() == pytest.approx(WORDS / 2, rel=0.05)


def test_every_word_may_take_anothers_place_the_first_and_the_last_too():
    ids = torch.full((200, 200), 9)
    changed, chosen = mask_tokens(ids, torch.zeros_like(ids).bool(), 1, 4, seeded())
    assert set(changed[chosen].unique().tolist()) == {0, 1, 2, 3, 9}


def test_special_tokens_are_left_alone_and_the_ids_that_were_given_too():
    ids = torch.arange(6000).reshape(60, 100)
    before, special = ids.clone(), torch.zeros(60, 100).bool()
    special[:, ::3] = True
    changed, chosen = mask_tokens(ids, special, MASK, WORDS, seeded())
    assert not chosen[special].any() and chosen.any()
    assert torch.equal(changed[special], ids[special]) and torch.equal(ids, before)


def test_the_shares_are_exact_where_the_draws_are_evenly_spread(monkeypatch):
    """Of a thousand places 150 are chosen: 120 are hidden, 15 swapped and 15 left."""
    draws = (torch.arange(1000) + 0.5) / 1000
    monkeypatch.setattr(masked_lm.torch, "rand", lambda *shape, **how: draws[None])
    ids = torch.full((1, 1000), 7)
    changed, chosen = mask_tokens(ids, torch.zeros_like(ids).bool(), MASK, 3, seeded())
    assert chosen[0].nonzero().flatten().tolist() == list(range(150))
    assert (changed[0, :120] == MASK).all() and (changed[0, 135:] == 7).all()
    assert (changed[0, 120:135] < 3).all()


def test_one_seed_hides_the_same_words_and_another_others():
    ids, special = torch.full((20, 20), 7), torch.zeros(20, 20).bool()
    one, same, other = (mask_tokens(ids, special, MASK, WORDS, seeded(s)) for s in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[1], other[1])


def epochs(lengths, size, seed=0, count=2):
    """The batches of so many epochs."""
    batches, each = _batches(lengths, size, seeded(seed)), math.ceil(len(lengths) / size)
    return [[next(batches) for _ in range(each)] for _ in range(count)]


def test_every_text_is_in_one_batch_of_every_epoch_and_epochs_differ():
    first, second = epochs([n % 7 for n in range(30)], 4)
    for epoch in (first, second):
        assert sorted(sum(epoch, [])) == list(range(30))
        assert sorted(map(len, epoch)) == [2] + [4] * 7
    assert first != second


def test_every_text_of_many_is_in_one_batch_too():
    """More than the fifty batches among which texts of like length are looked for."""
    for epoch in epochs([n % 7 for n in range(230)], 2):
        assert sorted(sum(epoch, [])) == list(range(230)) and set(map(len, epoch)) == {2}


def test_texts_of_a_batch_are_of_like_length_and_batches_in_no_order():
    lengths = torch.randint(1, 1000, (400,), generator=seeded(5)).tolist()
    [epoch] = epochs(lengths, 4, count=1)
    inside = [[lengths[i] for i in batch] for batch in epoch]
    assert sum(max(one) - min(one) for one in inside) / len(inside) < 40
    means = [sum(one) / 4 for one in inside]
    rises = sum(a < b for a, b in zip(means, means[1:], strict=False))
    assert 0.3 * len(means) < rises < 0.7 * len(means)


def test_what_is_alike_is_looked_for_among_fifty_batches_so_that_epochs_differ():
    """Were all texts sorted, each would have the same neighbors in every epoch."""
    first, second = epochs(list(range(200)), 2)
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}
    one, other = epochs(list(range(100)), 2)
    assert {frozenset(b) for b in one} == {frozenset(b) for b in other}


@pytest.mark.parametrize(
    ("seed", "batches"),
    [
        (0, [[5], [2, 0], [4, 3], [6, 1]]),
        (1, [[2, 0], [6, 1], [4, 3], [5]]),
        (4, [[2, 0], [6, 1], [5], [4, 3]]),
        (6, [[2, 0], [5], [1, 6], [4, 3]]),
    ],
)
def test_a_seed_gives_the_batches_that_it_always_gave(seed, batches):
    assert epochs([3, 1, 2, 5, 4, 9, 1], 2, seed, count=1) == [batches]


def test_a_vocabulary_has_the_special_tokens_and_no_more_than_was_asked(capfd):
    made = learn_vocabulary(["Some words, and SOME more words"] * 3, 40, 9)
    assert capfd.readouterr() == ("", "")
    assert 5 < len(made) <= 40 and made.model_max_length == 9
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert [made.convert_tokens_to_ids(token) for token in special] == [0, 1, 2, 3, 4]
    assert made.tokenize("SOME") == made.tokenize("some") == ["some"]
    # Letters are in it however small it is; more words come with more room.
    smaller = learn_vocabulary(["Some words, and SOME more words"] * 3, 30, 9)
    letters = learn_vocabulary(["Some words, and SOME more words"] * 3, 5, 9)
    assert len(letters) < len(smaller) == 30 < len(made)
    assert "[UNK]" not in letters.tokenize("some words")


@pytest.mark.parametrize(
    ("texts", "size", "longest", "words"),
    [
        (TEXTS, 4, 12, "learn_vocabulary: size .*4.* from 5 to 4,194,304"),
        (TEXTS, 2**22 + 1, 12, "learn_vocabulary: size .*4194305"),
        (TEXTS, 60, 0, "learn_vocabulary: max_tokens .*0.* from 1 to 4,194,304"),
        ([3], 60, 12, r"learn_vocabulary: texts\[0\]"),
    ],
)
def test_a_vocabulary_that_can_not_be_is_refused(texts, size, longest, words):
    with pytest.raises(ValueError, match=words):
        learn_vocabulary(texts, size, longest)


def test_a_vocabulary_is_as_small_and_a_text_as_short_as_can_be():
    assert learn_vocabulary(TEXTS, 5, 1).model_max_length == 1
    assert learn_vocabulary(TEXTS, 2**22, 2**22).model_max_length == 2**22


def test_a_small_bert_is_four_times_as_wide_in_its_mlp():
    config = small_bert_config(77, width=16, depth=3, heads=4, max_tokens=21)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (77, 16, 3)
    assert (config.num_attention_heads, config.intermediate_size) == (4, 64)
    assert config.max_position_embeddings == 21


def trained(tokenizer, steps=6, texts=TEXTS, **options):
    model = model_of(tokenizer)
    return model, list(pretrain_masked(model, tokenizer, texts, steps=steps, **options))


def test_the_rate_rises_and_falls_decay_is_small_and_gradients_are_clipped(tokenizer, monkeypatch):
    seen, norms = [], []

    def look(optimizer, args, kwargs):
        [group] = optimizer.param_groups
        norm = torch.nn.utils.get_total_norm([p.grad for p in group["params"]])
        seen.append((group["lr"], group["weight_decay"], float(norm)))

    clip = torch.nn.utils.clip_grad_norm_

    def clipped(parameters, most):
        with torch.no_grad():
            parameters = list(parameters)
            for p in parameters:  # as if the loss were larger
                p.grad *= 100
        norms.append(float(clip(parameters, most)))

    monkeypatch.setattr(masked_lm.torch.nn.utils, "clip_grad_norm_", clipped)
    handle = register_optimizer_step_pre_hook(look)
    try:
        trained(tokenizer, steps=40, batch_size=12, lr=0.02)
    finally:
        handle.remove()
    assert [lr for lr, _, _ in seen] == pytest.approx([rate(i, 40, 0.02, 0.05) for i in range(40)])
    assert {decay for _, decay, _ in seen} == {0.01}
    assert min(norms) > 1 and [n for _, _, n in seen] == pytest.approx([1.0] * 40, rel=1e-3)


def test_the_loss_falls_and_the_model_is_in_eval_mode_afterwards(tokenizer):
    model, losses = trained(tokenizer, steps=60, batch_size=12, lr=1e-2)
    assert len(losses) == 60 and not model.training
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert losses[0] == pytest.approx(math.log(len(tokenizer)), rel=0.1)


def test_it_learns_in_training_mode_from_words_alone_and_padding_is_not_read(
    tokenizer, monkeypatch
):
    model, seen, masks = model_of(tokenizer), [], []

    def spy(ids, special, mask_id, vocabulary, generator):
        assert mask_id == tokenizer.mask_token_id and vocabulary == len(tokenizer)
        masks.append((ids.clone(), special.clone()))
        return mask_tokens(ids, special, mask_id, vocabulary, generator)

    monkeypatch.setattr(masked_lm, "mask_tokens", spy)
    model.base_model.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append((m.training, kwargs["attention_mask"])),
        with_kwargs=True,
    )
    list(pretrain_masked(model, tokenizer, TEXTS, steps=4, batch_size=12))
    for (is_training, attended), (ids, special) in zip(seen, masks, strict=True):
        assert is_training and ids.shape[0] == 12
        is_word = ids > 4  # what comes before are the special tokens
        assert torch.equal(special, ~is_word)
        assert torch.equal(attended.bool(), ids != tokenizer.pad_token_id)


def test_long_texts_are_cut(tokenizer):
    _, losses = trained(tokenizer, steps=2, texts=["some words " * 30] * 4, batch_size=2)
    assert all(map(math.isfinite, losses))


def test_one_seed_learns_the_same_and_another_differently(tokenizer):
    def run(seed):
        torch.manual_seed(1)
        model = model_of(tokenizer)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return list(pretrain_masked(model, tokenizer, TEXTS, steps=3, batch_size=4, seed=seed))

    assert run(0) == run(0) != run(1)


def test_a_batch_in_which_no_word_was_chosen_teaches_nothing_and_ends_nothing(tokenizer):
    """Of two words in a batch, both are left alone in 72% of the steps."""
    model, losses = trained(tokenizer, steps=30, texts=["some words"] * 4, batch_size=1)
    assert 10 < losses.count(0.0) < 30 and all(map(math.isfinite, losses))
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("lr", [0.0, -1.0, 1e31, float("nan")])
def test_a_rate_that_no_optimizer_takes_is_refused_before_anything_is_done(tokenizer, lr):
    with pytest.raises(ValueError, match="^lr is"):
        trained(tokenizer, lr=lr)

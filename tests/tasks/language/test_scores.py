"""Perplexity, bits per byte and the share of right tokens, each counted again by hand."""

import math

import pytest
import torch
from torch import nn

from pclora_lab.tasks.language.causal import LANGUAGE_MODELING, NextTokens
from pclora_lab.tasks.language.scores import GuessedTokens
from pclora_lab.tasks.losses import logit_loss, perplexity


def drawn(seed=0, rows=3, tokens=6, words=5):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, tokens, words, generator=generator)
    ids = torch.randint(0, words, (rows, tokens), generator=generator)
    sizes = torch.randint(0, 4, (rows, tokens), generator=generator)
    ids[0, 4:], sizes[0, 4:] = -100, 0
    sizes[:, 0], sizes[1, 5] = -1, -1
    return logits, torch.stack([ids, sizes], dim=1)


def test_the_scores_are_those_of_a_loop_over_tokens():
    seen, nats, bits, size, right = NextTokens(), [], 0.0, 0, []
    for seed in range(2):
        logits, targets = drawn(seed)
        seen.update(logits, targets)
        for row in range(3):
            for place in range(5):
                token, bytes_ = targets[row, :, place + 1].tolist()
                if token == -100:
                    continue
                shares = logits[row, place].double().softmax(-1)
                nats.append(-math.log(shares[token]))
                right.append(int(shares.argmax()) == token)
                if bytes_ >= 0:
                    bits += -math.log2(shares[token])
                    size += bytes_
    found = seen.compute()
    assert found["perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(bits / size, rel=1e-5)
    assert found["next_token_accuracy"] == pytest.approx(sum(right) / len(right))


def test_the_loss_is_the_logarithm_of_the_perplexity():
    logits, targets = drawn()
    seen = NextTokens()
    seen.update(logits, targets)
    loss = LANGUAGE_MODELING.loss(logits, targets)
    assert loss.exp().item() == pytest.approx(seen.compute()["perplexity"], rel=1e-5)
    assert LANGUAGE_MODELING.units(targets) == 13
    assert LANGUAGE_MODELING.loss(logits.bfloat16(), targets).dtype == torch.float32


def test_perplexity_is_that_of_a_training_loop_of_ones_own():
    class Fixed(nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, input_ids, attention_mask):
            return self.logits

    logits, targets = drawn()
    ids = targets[:, 0]
    batch = {"input_ids": ids.clamp_min(0), "attention_mask": ids.ne(-100).long()}
    seen = NextTokens()
    seen.update(logits, targets)
    found = seen.compute()["perplexity"]
    assert perplexity(Fixed(logits), [batch]) == pytest.approx(found, rel=1e-5)


def test_what_is_padded_is_not_imitated():
    (student, targets), (teacher, _) = drawn(), drawn(1)
    task = LANGUAGE_MODELING

    def loss(student):
        sides = (task.imitated(one, targets) for one in (student, teacher))
        return task.imitation_loss(*sides, 2.0)

    counted = targets[:, 0, 1:].ne(-100)
    picked = (one[:, :-1][counted] for one in (student, teacher))
    expected = logit_loss(*picked, 2.0) * counted.sum() / counted.numel()
    torch.testing.assert_close(loss(student), expected)
    other = student.clone()
    other[0, 3:] = 7.0  # behind the last token that is guessed
    other[:, -1] = 7.0
    assert torch.equal(loss(other), loss(student))


def test_nothing_to_guess_is_no_score_and_no_overflow():
    seen = GuessedTokens()
    seen.add(torch.zeros(2, 3), torch.full((2,), -100), torch.zeros(2, dtype=torch.long))
    assert all(math.isnan(value) for value in seen.compute().values())
    sure = GuessedTokens()
    sure.add(torch.tensor([[0.0, 5000.0]]), torch.tensor([0]), torch.tensor([1]))
    assert math.isfinite(sure.compute()["perplexity"])


def test_the_parts_of_a_batch_add_up_to_it():
    """The loss by guessed tokens, imitation by rows, however the padding is spread."""
    (student, targets), (teacher, _) = drawn(), drawn(1)
    task, parts = LANGUAGE_MODELING, (slice(0, 1), slice(1, 3))

    def imitation(rows):
        sides = (task.imitated(one[rows], targets[rows]) for one in (student, teacher))
        return task.imitation_loss(*sides, 2.0)

    whole = task.units(targets)
    losses = [task.loss(student[p], targets[p]) * task.units(targets[p]) / whole for p in parts]
    torch.testing.assert_close(sum(losses), task.loss(student, targets))
    shares = [imitation(part) * len(student[part]) / len(student) for part in parts]
    torch.testing.assert_close(sum(shares), imitation(slice(None)))

"""Losses and scores of the tasks, against an independent computation in numpy."""

import numpy as np
import pytest
import torch
from tiny import batch, tiny

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.nn.forward import call_model
from pclora_lab.tasks.losses import (
    classification_loss,
    contrastive_loss,
    language_model_loss,
    perplexity,
    zero_shot_accuracy,
)


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def test_classification(draw):
    logits, labels = draw.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    wanted = -log_softmax(logits)[np.arange(5), labels].mean()
    found = classification_loss(torch.tensor(logits), torch.tensor(labels))
    assert found.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 4], [9, 1]])
def test_a_label_outside_the_head_is_named(labels):
    largest = max(labels)
    cure = f"num_classes={largest + 1} or more"
    with pytest.raises(
        ValueError, match=f"label {largest} is outside .* 4 classes .0 to 3.*{cure}"
    ):
        classification_loss(torch.zeros(2, 4), torch.tensor(labels))


def test_the_next_word(draw):
    logits, ids = draw.normal(size=(2, 4, 6)), np.array([[1, 2, 3, 4], [5, 0, 1, 2]])
    logs = log_softmax(logits)
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]  # the last word of the second is padding
    wanted = -np.mean([logs[row, at, ids[row, at + 1]] for row, at in pairs])
    labels = torch.tensor(ids)
    labels[1, 3] = -100
    assert language_model_loss(torch.tensor(logits), labels).item() == pytest.approx(
        wanted, rel=1e-5
    )


def test_pictures_and_texts(draw):
    scores = draw.normal(size=(3, 3))
    rows, columns = log_softmax(scores), log_softmax(scores.T)
    wanted = -(np.diag(rows).mean() + np.diag(columns).mean()) / 2
    assert contrastive_loss(torch.tensor(scores)).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_perplexity_counts_every_guessed_word_once(kind):
    model = tiny(kind, "language-model")
    inputs = batch(model)
    with torch.no_grad():
        logs = log_softmax(call_model(model, inputs).double().numpy())
    guessed = [
        logs[row, at, inputs["input_ids"][row, at + 1]]
        for row in range(4)
        for at in range(11)
        if inputs["attention_mask"][row, at + 1]
    ]
    halves = [{k: v[i : i + 2] for k, v in inputs.items()} for i in (0, 2)]
    assert perplexity(model, halves) == pytest.approx(np.exp(-np.mean(guessed)), rel=1e-4)


def test_perplexity_of_nothing_is_refused():
    with pytest.raises(ValueError, match="two tokens or more"):
        perplexity(tiny("gpt2", "language-model"), [{"input_ids": torch.tensor([[3]])}])


def test_zero_shot_finds_the_text_that_is_nearest():
    model = tiny("clip")
    inputs = batch(model, 6)
    images = inputs.pop("pixel_values")
    with torch.no_grad():
        pictures = model.get_image_features(images)
        words = model.get_text_features(**inputs)
    pictures, words = (getattr(x, "pooler_output", x) for x in (pictures, words))
    nearest = torch.nn.functional.cosine_similarity(pictures[:, None], words[None], dim=-1).argmax(
        1
    )
    assert zero_shot_accuracy(model, images, nearest, inputs) == 1.0
    wrong = (nearest + 1) % 6
    assert zero_shot_accuracy(model, images, wrong, inputs) == 0.0


def test_a_faded_language_model_keeps_its_perplexity_at_full_rank_only():
    teacher = tiny("gpt2", "language-model")
    inputs = [batch(teacher)]
    found = {}
    for rank in (2, 14):
        student = get_pclora_model(teacher, PCLoRAConfig(rank=rank, init="svd"))
        set_progress(student, 1.0)
        found[rank] = abs(
            np.log(perplexity(compress(student), inputs) / perplexity(teacher, inputs))
        )
    assert found[14] < found[2]


@pytest.mark.parametrize("loss", [classification_loss, language_model_loss])
def test_labels_that_do_not_count_give_zero_and_no_nan(loss):
    shape = (4, 5) if loss is classification_loss else (2, 3, 5)
    logits = torch.randn(shape, requires_grad=True)
    labels = torch.full(shape[:-1], -100)
    loss(logits, labels).backward()
    assert loss(logits, labels) == 0 and bool((logits.grad == 0).all())
    labels[..., -1] = 3
    counted = logits[-1:] if loss is classification_loss else logits[:, 1]
    wanted = torch.nn.functional.cross_entropy(counted, torch.full((len(counted),), 3))
    torch.testing.assert_close(loss(logits, labels), wanted)


HALF = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALF)
def test_losses_are_computed_in_float32(dtype):
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 6).to(dtype), torch.arange(6)
    for loss, given, numbers in (
        (classification_loss, logits, labels),
        (contrastive_loss, logits, labels),
        (language_model_loss, logits[None], labels[None]),
    ):
        found = loss(given, numbers)
        assert found.dtype is torch.float32
        assert torch.equal(found, loss(given.float(), numbers))


def test_where_there_is_nothing_to_guess_the_loss_is_zero_and_no_nan():
    empty, one_word = torch.zeros(0, 3), torch.zeros(2, 1, 5)
    for loss, logits in ((classification_loss, empty), (language_model_loss, one_word)):
        logits.requires_grad_()
        found = loss(logits, torch.zeros(logits.shape[:-1], dtype=torch.long))
        found.backward()
        assert found == 0 and not logits.grad.any()


def test_what_does_not_count_is_no_part_of_the_mean():
    loss = classification_loss(torch.zeros(2, 3), torch.tensor([2, -100]))
    assert loss.item() == pytest.approx(np.log(3))


def test_where_a_gpu_would_have_to_wait_labels_are_not_looked_at():
    loss = classification_loss(
        torch.zeros(2, 3, device="meta"), torch.zeros(2, device="meta").long()
    )
    assert loss.is_meta


class Reads(torch.nn.Module):
    """Gives the same scores for every word; another answer in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = torch.nn.Parameter(torch.tensor([0.0, 1.0, 2.0, 0.5]))
        self.drop = torch.nn.Dropout(0.9)

    def forward(self, input_ids, attention_mask=None):
        assert not torch.is_grad_enabled()
        return self.drop(self.scores).expand(*input_ids.shape, -1)


def test_perplexity_is_of_guessed_words_without_padding_over_all_batches():
    model = Reads().train()
    first = {"input_ids": torch.tensor([[0, 1, 2, 3], [3, 3, 0, 0]]),
             "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}  # fmt: skip
    batches = [first, {"input_ids": torch.tensor([[2]])}, {"input_ids": torch.tensor([[1, 0]])}]
    logs = log_softmax(np.array([0.0, 1.0, 2.0, 0.5]))
    guessed = [1, 2, 3, 3, 0]  # the first word of a text is given
    assert perplexity(model, batches) == pytest.approx(np.exp(-logs[guessed].mean()), rel=1e-5)
    assert all(module.training for module in model.modules())
    for nothing in (
        [],
        [{"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.tensor([[1, 0]])}],
    ):
        with pytest.raises(ValueError, match="^perplexity needs texts of two tokens or more"):
            perplexity(model, nothing)


def test_zero_shot_accuracy_is_the_share_of_right_pictures_in_eval_mode():
    class Clip(torch.nn.Module):
        def forward(self, pixel_values, input_ids):
            assert not self.training and not torch.is_grad_enabled()
            return pixel_values.flatten(1) @ input_ids.T.float()

    images = torch.eye(3).reshape(3, 3, 1, 1)[[0, 1, 2, 2]]
    model = Clip().train()
    found = zero_shot_accuracy(
        model, images, torch.tensor([0, 1, 0, 2]), {"input_ids": torch.eye(3)}
    )
    assert found == 0.75 and isinstance(found, float) and model.training

"""Classification as a task: what fits its head, what it counts, and what it says of an example."""

import dataclasses

import pytest
import torch
from marked import marked_digits

from pclora_lab.data.batches import Batches
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION

DIGITS = marked_digits(train=4, validation=4, test=4)


def test_a_model_keeps_a_head_that_fits_and_is_given_a_new_one_otherwise():
    known = IMAGE_CLASSIFICATION.load_model("vit_digits", DIGITS)
    assert not known.pclora_head_is_new and known.pclora_class_names == DIGITS.class_names
    data = dataclasses.replace(DIGITS, class_names=("even", "odd"))
    one, same, other = (
        IMAGE_CLASSIFICATION.load_model("vit_digits", data, seed=seed) for seed in (1, 1, 2)
    )
    assert one.pclora_head_is_new and one.num_classes == 2
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_model_of_other_inputs_is_refused_with_one_that_reads_them():
    with pytest.raises(ValueError, match="reads texts, but 'digits' holds images.*vit_digits"):
        IMAGE_CLASSIFICATION.load_model("bert_glosses", DIGITS)


@pytest.mark.parametrize("sizes", [[7], [1, 6], [3, 3, 1]])
def test_accuracy_is_of_all_batches_together(sizes):
    drawn = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(7, 3, generator=drawn), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    scorer = IMAGE_CLASSIFICATION.scorer()
    for part, wanted in zip(logits.split(sizes), labels.split(sizes), strict=True):
        scorer.update(part, wanted)
    right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True))
    assert scorer.compute() == {"accuracy": right / 7}


def test_a_verdict_is_the_likeliest_class_and_how_likely():
    answer = IMAGE_CLASSIFICATION.answers(torch.tensor([[0.0, 2.0]]))[0]
    verdict = IMAGE_CLASSIFICATION.verdict(answer, torch.tensor(1), ("cat", "dog"))
    assert (verdict.text, verdict.is_right) == ("dog", True)
    assert verdict.sure == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item())
    assert IMAGE_CLASSIFICATION.verdict(answer, torch.tensor(0), ()).text == "1"


def test_examples_are_shown_of_every_class():
    batches = Batches(torch.tensor([2, 2, 0, 1, 2]))
    assert IMAGE_CLASSIFICATION.shown_examples(batches, 4) == [2, 3, 0, 1]


def test_both_suit_data_of_their_own_kind_only():
    texts = dataclasses.replace(DIGITS, kind="text")
    tasks = (IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION)
    assert [[task.suits(data) for data in (DIGITS, texts)] for task in tasks] == [
        [True, False], [False, True],
    ]  # fmt: skip

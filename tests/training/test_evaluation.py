"""An accuracy is the share of all examples that are right, however many are read at once."""

import inspect
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from marked import marked_digits
from torch import nn

from pclora_lab import load_model
from pclora_lab.data.batches import Batches
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.training import evaluation
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import accuracy

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])
ANSWERS = torch.tensor([0, 1, 1, 0, 2, 2, 1])  # four of seven are right
RIGHT = 4 / 7


class Numbered(Batches):
    """Each example is its own number."""

    def __init__(self):
        super().__init__(LABELS)
        self.read = []

    def inputs(self, indices, device=None):
        self.read.append(indices.tolist())
        return indices.float()[:, None]


class Answers(nn.Module):
    """Says of each number what it was told to say."""

    def __init__(self, spoiled=()):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.spoiled, self.seen = spoiled, []

    def forward(self, x):
        self.seen.append((self.training, torch.is_grad_enabled()))
        numbers = x[:, 0].long()
        logits = nn.functional.one_hot(ANSWERS[numbers], 3).float() + self.weight
        for number in self.spoiled:
            logits[numbers == number, 2] = float("inf")
        return logits


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_it_is_the_share_of_all_examples_that_are_right(batch_size):
    batches = Numbered()
    assert accuracy(Answers(), batches, batch_size=batch_size) == RIGHT
    assert sorted(sum(batches.read, [])) == list(range(7))
    assert max(map(len, batches.read)) == min(batch_size, 7)


def test_a_limit_reads_so_many_and_is_the_share_of_these():
    batches = Numbered()
    found = accuracy(Answers(), batches, limit=4, batch_size=3)
    read = sum(batches.read, [])
    assert read == [0, 2, 4, 6]
    assert found == sum(int(ANSWERS[n] == LABELS[n]) for n in read) / 4 == 1 / 4


@pytest.mark.parametrize("training", [True, False])
def test_it_is_measured_in_eval_mode_without_gradients_and_the_mode_is_put_back(training):
    model = Answers().train(training)
    accuracy(model, Numbered(), batch_size=4)
    assert model.seen == [(False, False)] * 2 and model.training is training


@pytest.mark.parametrize("number", [0, 6])
def test_one_infinite_logit_has_no_accuracy_and_is_said_by_the_models_name(number):
    with pytest.raises(NotFinite, match="the logits of Answers are NaN or infinite"):
        accuracy(Answers([number]), Numbered(), batch_size=2)


def test_it_computes_in_the_precision_of_the_run_where_it_is_given_one():
    told = []

    @contextmanager
    def autocast():
        told.append("in")
        yield
        told.append("out")

    assert accuracy(Answers(), Numbered(), SimpleNamespace(autocast=autocast)) == RIGHT
    assert told == ["in", "out"]


def test_the_accuracy_of_a_name_is_that_of_its_test_split(monkeypatch):
    data = marked_digits(train=6, validation=5, test=12)
    monkeypatch.setattr(evaluation, "load_data", lambda name: {"these": data}[name])
    model, sizes = load_model("vit_digits").eval(), []
    model.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))
    found = evaluation.test_accuracy(model, "these", batch_size=5)
    assert sizes == [5, 5, 2]
    assert 0 < found < 1 or found in (0, 1)
    assert round(found * 12, 6) == round(found * 12)


def test_unless_told_otherwise_as_many_are_read_at_once_as_in_a_run():
    for function in (accuracy, evaluation.test_accuracy):
        usual = inspect.signature(function).parameters["batch_size"].default
        assert usual == RunConfig().eval_batch_size


def test_pytest_takes_it_for_no_test():
    assert evaluation.test_accuracy.__test__ is False

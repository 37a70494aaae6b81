"""What an older version left on the disk is still found under the key that it gave it."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.former import former_teacher_key


def texts(examples, labels=None):
    labels = np.arange(len(examples)) % 2 if labels is None else labels
    part = Split(list(examples), np.asarray(labels))
    return LabeledData("words", "text", part, part, part, ("a", "b"))


def layer(fill=0.5):
    model = nn.Linear(2, 1)
    for parameter in model.parameters():
        nn.init.constant_(parameter, fill)
    return model


WORDS = texts([f"word {i}" for i in range(20)])
CONFIG = RunConfig()


def key(model=None, data=WORDS, **changes):
    return former_teacher_key(model or layer(), data, dataclasses.replace(CONFIG, **changes))


def test_the_key_is_the_one_that_was_written_then():
    """A change here would lose every teacher of an older version."""
    assert key() == "eaa5fca586f5637d"
    assert key(data=texts([(f"word {i}", "more") for i in range(20)])) == "4e8ec128e51417cd"


def test_other_weights_names_labels_or_teacher_settings_have_another_key():
    labels = np.arange(20) % 2
    labels[19] = 0
    found = [
        key(),
        key(layer(0.25)),
        key(nn.Sequential(layer())),
        key(data=texts([f"word {i}" for i in range(20)], labels)),
        key(teacher_steps=7),
        key(teacher_lr=1e-5),
        key(teacher_seed=3),
    ]
    assert len(set(found)) == len(found) and all(len(one) == 16 for one in found)


def test_what_reaches_no_teacher_changes_no_key():
    assert key(steps=7) == key(seed=9) == key(eval_images=5) == key()


@pytest.mark.parametrize(("count", "looked_at"), [(1, 1), (15, 15), (20, 20), (40, 20), (160, 16)])
def test_examples_are_looked_at_one_in_so_many(count, looked_at):
    """About 17: each up to 31, then every second, …"""
    examples = [f"word {i}" for i in range(count)]
    known, seen = key(data=texts(examples)), 0
    for changed in range(count):
        other = list(examples)
        other[changed] = "another"
        seen += key(data=texts(other)) != known
    assert seen == looked_at


def test_a_pair_is_not_the_text_that_its_parts_would_make():
    assert key(data=texts([("ab", "c")] * 4)) != key(data=texts([("a", "bc")] * 4))


def test_a_picture_is_known_by_its_values():
    def pictures(shade):
        part = Split([np.full((2, 2), shade, np.uint8)] * 3, np.zeros(3, int))
        return LabeledData("dots", "image", part, part, part, ("a",))

    assert key(data=pictures(1)) == key(data=pictures(1)) != key(data=pictures(2))


def test_a_layout_in_memory_is_no_other_model():
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    two.load_state_dict(one.state_dict())
    two.weight = nn.Parameter(one.weight.detach().T.contiguous().T)
    assert not two.weight.is_contiguous() and torch.equal(one.weight, two.weight)
    assert key(one) == key(two)

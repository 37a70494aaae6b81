"""The checkpoint before the newest is there until the newest can be read."""

import inspect
import warnings

import pytest
import torch

from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.training.checkpoints.generations import (
    generations,
    read_newest,
    remove_generations,
    write_generation,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def write(path, *steps):
    for step in steps:
        write_generation(path, {"trained/A": torch.full((2,), float(step))}, {"step": step})


def as_read(facts, tensors):
    return facts["step"], tensors["trained/A"].tolist()


def spoil(file):
    file.write_bytes(file.read_bytes()[:-3])


def test_the_newest_and_the_one_before_it_are_kept_and_no_more(path):
    assert generations(path) == []
    write(path, 1)
    assert generations(path) == [path]
    write(path, 2, 3)
    before = path.with_name("checkpoint.previous.safetensors")
    assert generations(path) == [path, before]
    assert sorted(p.name for p in path.parent.iterdir()) == [before.name, path.name]
    assert read_newest(path, as_read) == (3, [3.0, 3.0])
    assert read_newest(before, as_read) == (2, [2.0, 2.0])


def load(path):
    """As a reader of one kind of checkpoint does."""
    return read_newest(path, as_read)


def test_a_damaged_one_is_said_to_whoever_reads_it_and_the_one_before_it_is_taken(path):
    write(path, 1, 2)
    spoil(path)
    with pytest.warns(UserWarning, match="can't be used .*: the one before it is taken") as said:
        here = inspect.currentframe().f_lineno + 1
        assert load(path) == (1, [1.0, 1.0])
    assert [(one.filename, one.lineno) for one in said] == [(__file__, here)]


def test_one_that_can_be_read_is_taken_in_silence(path):
    write(path, 1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_newest(path, as_read)[0] == 2


@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError])
def test_one_that_can_not_be_used_is_as_bad_as_a_damaged_one(path, error):
    write(path, 1, 2)

    def use(facts, tensors):
        if facts["step"] == 2:
            raise error("not of this run")
        return facts["step"]

    with pytest.warns(UserWarning, match="not of this run"):
        assert read_newest(path, use) == 1


def test_where_none_can_be_read_it_says_why_the_newest_can_not(path):
    write(path, 1, 2)

    def use(facts, tensors):
        raise KeyError(f"of step {facts['step']}")

    with pytest.raises(ValueError, match="KeyError: 'of step 2'") as error:
        read_newest(path, use)
    assert str(error.value.__cause__) == "'of step 2'"


def test_an_error_of_another_kind_goes_through(path):
    write(path, 1, 2)

    def use(facts, tensors):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_newest(path, use)


def test_where_there_is_none_the_path_is_named(path):
    with pytest.raises(FileNotFoundError, match="there is no .*checkpoint.safetensors"):
        read_newest(path, as_read)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_replace_nothing(path, value):
    write(path, 1)
    bad = {"trained/A": torch.zeros(2), "exp_avg/A": torch.tensor([0.0, value])}
    with pytest.raises(NotFinite, match="exp_avg/A is NaN or infinite"):
        write_generation(path, bad, {"step": 2})
    assert read_newest(path, as_read)[0] == 1 and generations(path) == [path]


def test_a_buffer_may_be_infinite_on_purpose(path):
    tensors = {"trained/A": torch.zeros(2), "buffer/mask": torch.tensor([-float("inf")])}
    write_generation(path, tensors, {"step": 4})
    assert read_newest(path, as_read)[0] == 4


def test_both_are_removed_and_nothing_else(path):
    write(path, 1, 2)
    other = path.with_name("model.safetensors")
    other.write_text("kept")
    remove_generations(path)
    assert list(path.parent.iterdir()) == [other]
    remove_generations(path)

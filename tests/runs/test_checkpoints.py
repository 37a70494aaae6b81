"""A checkpoint comes back as it was, is believed within bounds, and is written where it can be."""

import dataclasses
import re

import pytest
import torch

from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.runs import checkpoints
from pclora_lab.runs.checkpoints import (
    CheckpointWriter,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from pclora_lab.training.checkpoints.generations import write_generation
from pclora_lab.training.events import AdapterSnapshot, LogRow, PhaseStart, StepEnd
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.state import Checkpoint

IDENTITY = Identity("d", "p", "w", "a", settings={"steps": 3}, notes=("before",))
KEPT = Checkpoint(
    step=3, fingerprint="f", overrides=((1, 0.5), (2, "reset")), base_dropped=True, evaluated=2,
    seconds=4.5, probe_seconds=0.5, tensors={"trained/A": torch.arange(4.0)}, identity=IDENTITY,
)  # fmt: skip
FACTS = {
    "step": 1, "fingerprint": "", "overrides": [], "base_dropped": False, "evaluated": 0,
    "seconds": 0, "probe_seconds": 0,
}  # fmt: skip
MOST = 2**63 - 1


@pytest.mark.parametrize(
    "changes", [{}, {"identity": None, "base_dropped": False, "overrides": (), "fingerprint": ""}]
)
def test_a_checkpoint_comes_back_as_it_was(tmp_path, changes):
    kept = dataclasses.replace(KEPT, **changes)
    assert save_checkpoint(tmp_path, kept) == tmp_path / "checkpoint.safetensors"
    found = load_checkpoint(tmp_path)
    assert torch.equal(found.tensors["trained/A"], kept.tensors["trained/A"])
    assert dataclasses.replace(found, tensors={}) == dataclasses.replace(kept, tensors={})


def written(folder, **facts):
    write_generation(
        folder / "checkpoint.safetensors", {"trained/A": torch.zeros(1)}, {**FACTS, **facts}
    )
    return folder


@pytest.mark.parametrize(
    ("name", "lowest", "highest", "beyond"),
    [
        ("step", 0, MOST, (-1, MOST + 1, 1.0, True)),
        ("evaluated", -1, MOST, (-2, MOST + 1, None)),
        ("seconds", 0, 1e12, (-0.1, 1e12 + 0.5, "1")),
        ("probe_seconds", 0, 1e12, (-0.1, 1e12 + 0.5, True)),
    ],
)
def test_its_counts_and_times_are_believed_within_bounds(tmp_path, name, lowest, highest, beyond):
    for value in (lowest, highest):
        assert getattr(load_checkpoint(written(tmp_path, **{name: value})), name) == value
    for value in beyond:
        remove_checkpoint(tmp_path)
        with pytest.raises(ValueError, match=f"its facts: {name} is {value!r}: it must be"):
            load_checkpoint(written(tmp_path, **{name: value}))


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_that_is_missing_is_named(tmp_path, name):
    facts = {key: value for key, value in FACTS.items() if key != name}
    write_generation(tmp_path / "checkpoint.safetensors", {"trained/A": torch.zeros(1)}, facts)
    with pytest.raises(ValueError, match=f"its facts lacks {name}"):
        load_checkpoint(tmp_path)


def test_facts_that_an_older_version_called_otherwise_are_known(tmp_path):
    facts = {k: v for k, v in FACTS.items() if k not in ("fingerprint", "overrides")}
    facts |= {"origin": "f", "moves": [[2, 0.5], [3, None]]}
    write_generation(tmp_path / "checkpoint.safetensors", {"trained/A": torch.zeros(1)}, facts)
    found = load_checkpoint(tmp_path)
    assert (found.fingerprint, found.overrides) == ("f", ((2, 0.5), (3, None)))
    assert found.identity is None


@pytest.mark.parametrize("overrides", [[[2, 1.5]], [[2]], [[3, 0.5], [2, 0.5]]])
def test_moves_that_can_not_be_are_no_checkpoint(tmp_path, overrides):
    with pytest.raises(ValueError, match="start the run again with the same settings"):
        load_checkpoint(written(tmp_path, overrides=overrides))


def test_whether_there_is_one_and_what_is_said_where_there_is_none(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert not has_checkpoint(folder)
    remove_checkpoint(folder)  # there need not be one
    words = "mine has no checkpoint: it ended before the first one was written, or its method"
    with pytest.raises(FileNotFoundError, match=f"^{words} trains nothing. `pclora-lab resume`"):
        load_checkpoint(folder)
    save_checkpoint(folder, KEPT)
    save_checkpoint(folder, KEPT)
    assert has_checkpoint(folder)
    (folder / "checkpoint.safetensors").unlink()
    assert has_checkpoint(folder) and load_checkpoint(folder).step == 3  # the one before
    remove_checkpoint(folder)
    assert not has_checkpoint(folder) and not list(folder.iterdir())


# When it is written


class Pace:
    """Due when the test says so; notes what it is told."""

    def __init__(self):
        self.is_due, self.told = False, []

    def wrote(self, seconds):
        self.told.append(seconds)

    def failed(self):
        self.told.append("failed")


@pytest.fixture
def writer(tmp_path, monkeypatch):
    made = CheckpointWriter(tmp_path)
    made._pace = Pace()
    times = iter(range(100, 10_000, 7))
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(times))
    return made


def step(number, checkpoint=lambda: KEPT):
    return StepEnd("fade", number, 9, checkpoint)


def test_a_checkpoint_is_written_when_it_is_due_and_the_pace_is_told_how_long_it_took(writer):
    writer.note(step(1))
    assert not has_checkpoint(writer.folder) and writer._pace.told == []
    writer._pace.is_due = True
    writer.note(step(2))
    assert has_checkpoint(writer.folder) and writer._pace.told == [7]


def test_it_is_written_whenever_it_is_asked_for_after_a_step(writer):
    writer.save()  # before the first step there is nothing to write
    assert not has_checkpoint(writer.folder)
    writer.note(step(1))
    writer.note(PhaseStart("test", 0))
    writer.save()
    assert has_checkpoint(writer.folder) and writer._pace.told == [7]


@pytest.mark.parametrize(
    "event", [LogRow({"step": 2}), AdapterSnapshot(2, 0.5, {}), StepEnd("fade", 3, 9)]
)
def test_none_is_written_once_there_is_more_to_tell_than_the_step_knows(writer, event):
    """A row that stands in the history already would be told twice."""
    writer.note(step(2))
    writer._pace.is_due = True
    writer.note(event)
    writer.save()
    assert not has_checkpoint(writer.folder) and writer._pace.told == []
    writer.note(step(4))
    assert has_checkpoint(writer.folder)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "no space is left on the disk: make room"),
        (NotFinite("trained/A is NaN"), "trained/A is NaN"),
    ],
)
def test_one_that_can_not_be_written_is_said_once_and_tried_again_later(writer, error, reason):
    def fails():
        raise error

    name = re.escape(writer.folder.name)
    words = f"^no checkpoint of {name} could be written at step 5, so that it can be taken up"
    writer.note(step(5, fails))
    with pytest.warns(UserWarning, match=f"{words} .*{reason}. The run goes on") as said:
        writer.save()
        writer.save()
    assert len(said) == 1 and writer._pace.told == ["failed", "failed"]
    writer.note(step(6))
    writer.save()
    assert has_checkpoint(writer.folder) and writer._pace.told[2:] == [7]
    writer.note(step(7, fails))
    with pytest.warns(UserWarning, match="at step 7"):  # it went well in between
        writer.save()


def test_what_is_no_fault_of_the_disk_is_not_hidden(writer):
    def fails():
        raise KeyError("a bug")

    writer.note(step(1, fails))
    with pytest.raises(KeyError, match="a bug"):
        writer.save()

"""The fine-tuning of a teacher goes on from where whoever began it was stopped."""

import dataclasses
import itertools
import json
from contextlib import closing

import pytest
import torch
from safetensors.torch import load_file

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import METHODS
from pclora_lab.tensor_files import read_metadata, save_tensors
from pclora_lab.training.checkpoints import pace
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, StepEnd
from pclora_lab.training.loop import train
from pclora_lab.training.optimizer import LossDiverged

# A row every second step, so that some stop lies between two rows.
TAUGHT = RunConfig(
    method=METHODS["svd"].default_config(), teacher="finetune", teacher_steps=8, evaluations=4,
    eval_images=32, batch_size=16, layer_metrics=False, device="cpu",
)  # fmt: skip
TIMES = {"step_ms", "seconds"}
READ = DataCache()


def taught(root, config=TAUGHT):
    """Fine-tune to the end; the events up to there."""
    with closing(train(config, root, cache=READ)) as events:
        return list(itertools.takewhile(lambda e: e != PhaseStart("start", 0), events))


def stopped(root, step, config=TAUGHT):
    with closing(train(config, root, cache=READ)) as events:
        found = next(e for e in events if isinstance(e, StepEnd) and e.step == step)
    for path in root.glob("teachers/*/checkpoint.previous.safetensors"):
        path.unlink()  # there on a slow machine only
    return found


def rows(events):
    kept = (e.values for e in events if isinstance(e, LogRow))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in kept]


def weights(root):
    (path,) = (root / "teachers").glob("*/model.safetensors")
    return load_file(path)


def checkpoint(root):
    (path,) = (root / "teachers").glob("*/checkpoint.safetensors")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    return rows(taught(root)), weights(root)


def test_it_goes_on_to_the_same_bits_in_another_run(tmp_path, whole):
    stopped(tmp_path, 5)
    assert checkpoint(tmp_path).is_file()
    events = taught(tmp_path, dataclasses.replace(TAUGHT, seed=7))
    assert [e.step for e in events if isinstance(e, StepEnd)] == [6, 7, 8]
    assert rows(events) == whole[0]
    again = weights(tmp_path)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole[1].items())
    assert not list(tmp_path.glob("teachers/*/checkpoint*"))


def test_it_is_written_now_and_then_for_one_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(pace, "SHARE_FOR_WRITING", 1e9)
    events = train(TAUGHT, tmp_path, cache=READ)
    next(e for e in events if isinstance(e, StepEnd) and e.step == 3)
    assert checkpoint(tmp_path).is_file()  # and nothing has told the run that it will end


@pytest.mark.parametrize("kind", ["cut", "of another key", "misshapen"])
def test_a_checkpoint_that_can_not_be_used_is_said_and_made_anew(tmp_path, whole, kind):
    stopped(tmp_path, 5)
    _spoil(checkpoint(tmp_path), kind)
    with pytest.warns(UserWarning, match="begins anew"):
        events = taught(tmp_path)
    assert rows(events) == whole[0]
    again = weights(tmp_path)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole[1].items())


def _spoil(path, kind):
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
        return
    facts = json.loads(read_metadata(path)["pclora_lab"])
    tensors = load_file(path)
    if kind == "of another key":
        facts["key"] = "0" * 16
    if kind == "misshapen":  # the last of all, when others could be written already
        name = [n for n in tensors if n.startswith("exp_avg_sq/")][-1]
        tensors[name] = torch.ones(3, 3)
    save_tensors(path, tensors, {"pclora_lab": json.dumps(facts)})


def test_a_disk_that_is_full_ends_no_fine_tuning(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "SECONDS_BETWEEN", 0.0)
    (tmp_path / "teachers").write_text("no folder can be here")
    monkeypatch.setattr(pace, "SECONDS_AFTER_FAILURE", 0.0)
    with pytest.warns(UserWarning, match="no checkpoint of teacher") as said:
        stopped(tmp_path, 3)
    assert len(said) == 1


def test_one_that_has_diverged_is_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "SECONDS_BETWEEN", 0.0)
    wild = dataclasses.replace(TAUGHT, teacher_lr=1e12, grad_clip=1e12)
    with pytest.raises(LossDiverged, match="teacher_lr"):
        taught(tmp_path, wild)
    assert not list(tmp_path.glob("teachers/*/checkpoint*"))

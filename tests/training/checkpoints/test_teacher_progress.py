"""The fine-tuning of a teacher goes on from where whoever began it was stopped."""

import dataclasses
import itertools
import json
import os
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import METHODS
from pclora_lab.tensor_files import read_metadata, save_tensors
from pclora_lab.training.checkpoints import pace
from pclora_lab.training.checkpoints.teacher_progress import TeacherProgress
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, StepEnd
from pclora_lab.training.loop import train
from pclora_lab.training.optimizer import LossDiverged, Meter, make_optimizer
from pclora_lab.training.precision import LossScaler

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


def progress_of(folder, fill=1.0, precision="float32"):
    """Of a fine-tuning of two weights."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, fill)
    accelerator = SimpleNamespace(device=torch.device("cpu"), precision=precision)
    meter = Meter(accelerator.device, "teacher_lr=0.1")
    return TeacherProgress(
        folder, model, make_optimizer(model, 0.0), meter, LossScaler(accelerator)
    )


def written(folder, step, row=None):
    """A checkpoint after so many steps."""
    progress = progress_of(folder, fill=float(step))
    progress.note(step, row)
    progress.save()
    return folder / "checkpoint.safetensors"


def taken_up(folder, steps=8):
    progress = progress_of(folder, fill=99.0)
    progress.take_up(steps)
    return progress.step, progress.log, progress.model.weight[0, 0].item()


@pytest.mark.parametrize("step", [1, 5, 8])
def test_any_step_may_be_taken_up_the_first_and_the_last_too(tmp_path, step):
    """All steps may be done, where the run was killed before the teacher was kept."""
    row = {"phase": "teacher", "step": step}
    assert written(tmp_path / "key", step, row).is_file()
    assert taken_up(tmp_path / "key") == (step, [row], float(step))


def test_without_a_checkpoint_it_begins_and_nothing_is_said(tmp_path):
    assert taken_up(tmp_path / "key") == (0, [], 99.0)


def test_before_the_first_step_there_is_nothing_to_write(tmp_path):
    progress_of(tmp_path / "key").save()
    assert not (tmp_path / "key").exists()


def test_what_is_written_is_not_written_again_until_there_is_more(tmp_path):
    progress = progress_of(tmp_path / "key")
    progress.note(1, None)
    progress.save()
    file = tmp_path / "key" / "checkpoint.safetensors"
    file.unlink()
    progress.save()
    assert not file.exists()
    again = progress_of(tmp_path / "key")
    again.note(1, None)
    again.save()
    later = progress_of(tmp_path / "key")
    later.take_up(8)
    file.unlink()
    later.save()
    assert not file.exists(), "what was taken up stands there already"
    later.note(2, None)
    later.save()
    assert file.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "other"}, "it is of another teacher"),
        ({"step": 0}, "it is of another teacher"),
        ({"step": 9}, "it is of another teacher"),
        ({"step": -1}, "it is of another teacher"),
        ({"step": "5"}, "it is of another teacher"),
        ({"step": 5.0}, "it is of another teacher"),
        ({"log": {}}, "its rows are none"),
        ({"log": [{}, 3]}, "its rows are none"),
        ({"log": "row"}, "its rows are none"),
    ],
)
def test_a_checkpoint_of_something_else_is_said_and_leaves_all_as_it_was(tmp_path, changes, words):
    path = written(tmp_path / "key", 5)
    facts = json.loads(read_metadata(path)["pclora_lab"])
    save_tensors(path, load_file(path), {"pclora_lab": json.dumps({**facts, **changes})})
    with pytest.warns(UserWarning, match=f"of teacher key begins anew: .*{words}"):
        assert taken_up(tmp_path / "key") == (0, [], 99.0)


def test_a_row_is_kept_where_one_was_due(tmp_path):
    progress = progress_of(tmp_path / "key")
    for step, row in ((1, None), (2, {"step": 2}), (3, None), (4, {"step": 4})):
        progress.note(step, row)
    assert progress.step == 4 and progress.log == [{"step": 2}, {"step": 4}]


def test_it_is_written_when_it_is_due_and_told_how_long_that_took(tmp_path):
    progress, took = progress_of(tmp_path / "key"), []
    progress._pace = SimpleNamespace(is_due=False, wrote=took.append)
    progress.note(1, None)
    assert took == []
    progress._pace.is_due = True
    progress.note(2, None)
    assert len(took) == 1 and 0 <= took[0] < 30
    assert taken_up(tmp_path / "key")[0] == 2


def test_a_forked_child_writes_nothing(tmp_path, monkeypatch):
    progress = progress_of(tmp_path / "key")
    progress.note(1, None)
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    progress.save()
    assert not (tmp_path / "key").exists()
    monkeypatch.undo()
    progress.save()
    assert (tmp_path / "key" / "checkpoint.safetensors").is_file()


def test_when_it_is_over_both_generations_are_gone_and_a_second_time_is_no_error(tmp_path):
    progress = progress_of(tmp_path / "key")
    for step in (1, 2):
        progress.note(step, None)
        progress.save()
    assert len(list((tmp_path / "key").glob("checkpoint*.safetensors"))) == 2
    progress.remove()
    progress.remove()
    assert not list((tmp_path / "key").glob("checkpoint*"))

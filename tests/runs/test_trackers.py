"""Trackers are told what the run folder holds; what they can't take ends no run."""

import json
import sys
from types import SimpleNamespace

import pytest
from accelerate import tracking

from pclora_lab import RunConfig, load_run
from pclora_lab.cli.main import main
from pclora_lab.runs import trackers
from pclora_lab.runs.execution import execute
from pclora_lab.runs.resuming import resume
from pclora_lab.training import StepEnd

QUICK = RunConfig(steps=4, evaluations=1, eval_images=16, device="cpu", log_with="wandb")


class Remembers:
    """A tracker as accelerate has them; like W&B it has a summary."""

    requires_logging_directory = False
    made: list["Remembers"] = []

    def __init__(self, project, **more):
        self.project, self.more, self.rows, self.config = project, more, [], None
        self.tracker, self.is_finished = SimpleNamespace(summary={}), False
        self.made.append(self)

    def start(self):
        """Nothing to connect to."""

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step):
        assert not self.rows or step >= self.rows[-1][0], "W&B leaves out a step that is over"
        self.rows.append((step, values))

    def finish(self):
        self.is_finished = True


@pytest.fixture(autouse=True)
def wandb(monkeypatch):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Remembers)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name if name == "wandb" else None)
    monkeypatch.setattr(Remembers, "made", [])
    return Remembers.made


def test_a_tracker_gets_the_rows_of_the_history_and_the_result(tmp_path, wandb):
    run = execute(QUICK, tmp_path, name="mine")
    *_, end = run
    (tracker,) = wandb
    assert (tracker.project, tracker.more) == ("pclora_lab", {"name": "mine"})
    assert tracker.is_finished and tracker.config["method.rank"] == QUICK.method.rank
    rows = [dict(trackers.numbers_of(row)) for row in load_run(run.folder).rows]
    assert [values for _, values in tracker.rows[:-1]] == rows
    assert [step for step, _ in tracker.rows[:-1]] == [row["step"] for row in rows]
    assert any("layer_base_share/blocks.0.attn.qkv" in row for row in rows)
    assert tracker.tracker.summary["final/accuracy"] == end.result["accuracy"]


def test_steps_count_on_from_the_teacher_to_the_student_and_after_a_stop(tmp_path, wandb):
    more = {"teacher": "finetune", "teacher_steps": 3}
    run = execute(RunConfig(**{**vars(QUICK), **more}), tmp_path)
    next(e for e in run if isinstance(e, StepEnd) and (e.phase, e.step) == ("fade", 2))
    run.close()
    *_, _end = resume(run.folder)
    first, rest = wandb
    steps = [step for step, _ in (*first.rows, *rest.rows)]
    assert steps == sorted(steps) and steps[-1] == 3 + 4
    names = {name for _, values in first.rows for name in values}
    assert {"teacher/accuracy", "accuracy", "lam"} <= names
    assert all("teacher/step" not in values for _, values in rest.rows)


def test_no_place_on_this_machine_is_told(tmp_path, wandb):
    place = tmp_path / "somebody" / "table.csv"
    place.parent.mkdir()
    lines = [f"{'good' if n % 2 else 'bad'} word number {n},{n % 2}" for n in range(60)]
    place.write_text("\n".join(["text,label", *lines]))
    config = RunConfig(**{**vars(QUICK), "model": "bert_glosses", "data": str(place), "steps": 1})
    list(execute(config, tmp_path / "runs"))
    assert "somebody" not in json.dumps(wandb[0].config) and "table.csv" in str(wandb[0].config)


@pytest.mark.parametrize("verb", ["start", "log"])
def test_one_without_credentials_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch, verb):
    def refused(*args, **more):
        raise RuntimeError("no API key")

    monkeypatch.setattr(Remembers, verb, refused)
    with pytest.warns(UserWarning, match="TrackerLogger.log failed .RuntimeError: no API key") as w:
        *_, end = execute(QUICK, tmp_path)
    assert end.result["accuracy"] >= 0 and len([m for m in w if "API key" in str(m.message)]) == 1


def test_one_that_is_not_installed_is_refused_before_anything_is_done(tmp_path, capsys):
    config = RunConfig(**{**vars(QUICK), "log_with": "wandb,comet_ml"})
    with pytest.raises(ValueError, match="comet_ml is not installed: pip install comet-ml"):
        execute(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert main(["train", "--log-with", "mlflow", "--out", str(tmp_path / "runs")]) == 2
    assert "mlflow is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["tensorflow", "wandb,papyrus", "wandb;mlflow"])
def test_unknown_trackers_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="unknown tracker .*: use .*wandb"):
        execute(RunConfig(log_with=value), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif("tensorboard" not in sys.modules and not trackers.find_spec("tensorboard"),
                    reason="tensorboard is not installed")  # fmt: skip
def test_of_tensorboard_a_folder_in_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    run = execute(RunConfig(**{**vars(QUICK), "log_with": "tensorboard"}), tmp_path)
    list(run)
    assert list(run.folder.glob("tensorboard/events*"))

"""Trackers are told what the run folder holds; what they can't take ends no run."""

import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import tracking
from accelerate.logging import get_logger
from accelerate.state import AcceleratorState
from PIL import Image

from pclora_lab import RunConfig, load_run
from pclora_lab.cli.main import main
from pclora_lab.runs import trackers
from pclora_lab.runs.execution import execute
from pclora_lab.runs.resuming import resume
from pclora_lab.training import StepEnd

QUICK = RunConfig(steps=4, evaluations=1, eval_images=16, device="cpu", log_with="wandb")


FIGURES = tuple(trackers._FIGURES)


class Remembers:
    """A tracker as accelerate has them; like W&B it has a summary."""

    requires_logging_directory = False
    made: list["Remembers"] = []

    def __init__(self, project, **more):
        self.project, self.more, self.rows, self.config = project, more, [], None
        self.tracker, self.is_finished = SimpleNamespace(summary={}), False
        self.pictures = {}
        self.made.append(self)

    def start(self):
        """Nothing to connect to."""

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step):
        assert not self.rows or step >= self.rows[-1][0], "W&B leaves out a step that is over"
        self.rows.append((step, values))

    name = "wandb"

    def log_images(self, values, step):
        for name, pictures in values.items():
            self.pictures[name] = (step, pictures)

    def finish(self):
        self.is_finished = True


@pytest.fixture(autouse=True)
def wandb(monkeypatch):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Remembers)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name if name == "wandb" else None)
    monkeypatch.setattr(Remembers, "made", [])
    monkeypatch.setenv("WANDB_LOGIN_TIMEOUT", "9999")  # so that it is as before afterwards
    monkeypatch.delenv("WANDB_LOGIN_TIMEOUT")
    # Drawing takes longer than such a run.
    monkeypatch.setattr(trackers, "_FIGURES", [])
    return Remembers.made


def test_a_tracker_gets_the_rows_of_the_history_and_the_result(tmp_path, wandb):
    run = execute(QUICK, tmp_path, name="mine")
    *_, end = run
    (tracker,) = wandb
    more = {"name": "mine", "dir": str(run.folder)}
    assert (tracker.project, tracker.more) == ("pclora_lab", more)
    # Without credentials it asks on a terminal, and goes on without an answer.
    assert float(os.environ["WANDB_LOGIN_TIMEOUT"]) <= 60
    assert tracker.is_finished and tracker.config["method.rank"] == QUICK.method.rank
    rows = [dict(trackers.numbers_of(row)) for row in load_run(run.folder).rows]
    assert [values for _, values in tracker.rows[:-1]] == rows
    assert [step for step, _ in tracker.rows[:-1]] == [row["step"] for row in rows]
    assert any("layer_base_share/blocks.0.attn.qkv" in row for row in rows)
    assert tracker.tracker.summary["final/accuracy"] == end.result["accuracy"]


def test_a_tracker_that_takes_pictures_gets_the_figures_of_the_run(tmp_path, wandb, monkeypatch):
    monkeypatch.setattr(trackers, "_FIGURES", FIGURES)
    *_, _end = execute(QUICK, tmp_path)
    pictures = wandb[0].pictures
    wanted = {"curves", "layer_base_share", "layer_mse", "layer_cka"}
    assert pictures.keys() == {f"figures/{name}" for name in wanted}
    for step, (picture,) in pictures.values():
        assert step == QUICK.steps and picture.dtype == np.uint8
        assert picture.shape[2] == 3 and min(picture.shape[:2]) > 200 and picture.std() > 10


def test_trackio_gets_pictures_of_its_own_kind(monkeypatch):
    logged = []
    tracker = SimpleNamespace(
        name="trackio", log=lambda values, step: logged.append((values, step))
    )
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(Image=lambda pixels: pixels.shape))
    with Image.new("RGB", (30, 20)) as image:
        image.save(drawn := io.BytesIO(), "png")
    assert trackers._takes_pictures(tracker)
    figure = SimpleNamespace(png=lambda scale: drawn.getvalue())
    trackers._show(tracker, "figures/curves", figure, 3)
    assert logged == [({"figures/curves": (20, 30, 3)}, 3)]
    assert not trackers._takes_pictures(SimpleNamespace(name="dvclive"))


class Writes:
    """What a tracker of figures instead of pictures has, as accelerate's of MLflow."""

    name = "mlflow"

    def __init__(self):
        self.figures = {}

    def log_figure(self, figure, file):
        self.figures[file] = figure


def test_one_that_takes_figures_gets_them_as_they_are():
    tracker, figure = Writes(), object()
    trackers._show(tracker, "figures/curves", figure, 3)
    assert tracker.figures == {"figures/curves.png": figure}


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
    config = RunConfig(
        **{
            **vars(QUICK),
            "model": "bert_glosses",
            "data": str(place),
            "steps": 1,
            "teacher_steps": 1,
        }
    )
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


def test_one_that_logs_as_accelerates_own_is_told_the_first_row_of_a_process(
    tmp_path, monkeypatch, wandb
):
    start = Remembers.start
    logger = get_logger(__name__)  # refuses to say anything before there is a state
    monkeypatch.setattr(Remembers, "start", lambda self: (start(self), logger.debug("started")))
    AcceleratorState._reset_state(reset_partial_state=True)
    run = execute(QUICK, tmp_path)
    list(run)
    assert len(wandb[0].rows) == len(load_run(run.folder).rows) + 1


def test_one_that_begins_and_fails_is_ended(tmp_path, monkeypatch, wandb):
    monkeypatch.setattr(Remembers, "store_init_configuration", lambda self, values: 1 / 0)
    with pytest.warns(UserWarning, match="TrackerLogger.log failed .ZeroDivisionError"):
        list(execute(QUICK, tmp_path))
    assert wandb[0].is_finished


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


def installed(name):
    """A mark for what needs a tracker itself."""
    return pytest.mark.skipif(not find_spec(name), reason=f"{name} is not installed")


@installed("tensorboard")
def test_tensorboard_itself_has_the_rows_and_the_figures(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(trackers, "find_spec", find_spec)
    monkeypatch.setattr(trackers, "_FIGURES", FIGURES)
    run = execute(RunConfig(**{**vars(QUICK), "log_with": "tensorboard"}), tmp_path)
    *_, end = run
    kept = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    told = {}
    for row in load_run(run.folder).rows:
        for name, value in trackers.numbers_of(row):
            told.setdefault(name, []).append((row["step"], pytest.approx(float(value), rel=1e-5)))
    told["final/accuracy"] = [(QUICK.steps, pytest.approx(end.result["accuracy"]))]
    for name, values in told.items():
        assert [(event.step, event.value) for event in kept.Scalars(name)] == values, name
    assert "figures/curves" in kept.Tags()["images"]


WANDB = """
import sys, warnings
from pclora_lab import RunConfig
from pclora_lab.runs.execution import execute
config = RunConfig(steps=2, evaluations=1, eval_images=16, device="cpu", log_with="wandb")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    run = execute(config, sys.argv[1], name="mine")
    *_, end = run
print([str(w.message) for w in caught if "TrackerLogger" in str(w.message)])
"""


@installed("wandb")
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_wandb_itself_without_credentials(mode, tmp_path, monkeypatch):
    home = {"HOME": str(tmp_path), "WANDB_MODE": mode, "WANDB_LOGIN_TIMEOUT": "1"}
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    environment = {**os.environ, **home, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", WANDB, str(tmp_path)], capture_output=True, text=True,
        env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = done.stdout.splitlines()[-1]
    assert done.returncode == 0, done.stderr[-2000:]
    assert said.count("the run goes on without it") == (mode == "online")
    pictures = list(tmp_path.glob("mine/wandb/offline-*/files/media/images/figures/curves*.png"))
    assert len(pictures) == (mode == "offline") and not (tmp_path / "wandb").exists()

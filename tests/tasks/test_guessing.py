"""Which task a run is of where nobody has said so: said once, kept to, and never changed later."""

import dataclasses
import json

import pytest
import torch
from denoising import Denoising
from marked import MarkedCache, marked_digits
from segmenters import write_small_vit

from pclora_lab.cli.main import main
from pclora_lab.data.cache import DataCache
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.plots.report import write_report
from pclora_lab.runs.comparison import Comparison, ranking_of
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.resuming import resume
from pclora_lab.tasks import guessing
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.registry import BUILT_IN, TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import Resolved, StepEnd, TaskGuessed

CONFIG = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=4, batch_size=8, evaluations=1, eval_images=16,
    snapshots=2, layer_metrics=False, device="cpu", precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache():
    return MarkedCache(marked_digits(train=64, validation=16, test=16))


@pytest.fixture
def another_is_guessed(monkeypatch):
    """A later version takes digits for something else."""
    monkeypatch.setattr(guessing, "BUILT_IN", (Denoising(), *BUILT_IN))


def stopped(root, cache):
    """A run as a version without tasks has left it, in the middle."""
    events = execute(CONFIG, root, cache=cache)
    for event in events:
        if isinstance(event, StepEnd) and (event.phase, event.step) == ("fade", 2):
            break
    events.close()
    path = events.folder / "config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("task") is None
    path.write_text(json.dumps(settings))
    return events.folder


def test_an_old_run_classifies_whatever_its_data_are_taken_for_now(
    cache, tmp_path, another_is_guessed
):
    assert task_and_data(CONFIG, cache)[0].name == "denoising"
    assert task_and_data(CONFIG, cache, is_begun=True)[0] is IMAGE_CLASSIFICATION
    with pytest.MonkeyPatch.context() as before:
        before.setattr(guessing, "BUILT_IN", BUILT_IN)
        *_, whole = execute(CONFIG, tmp_path / "whole", cache=cache)
        folder = stopped(tmp_path / "old", cache)
    assert Replay(folder, cache=cache).task is IMAGE_CLASSIFICATION
    *_, again = resume(folder, cache=cache)
    assert again.result["task"] == "image-classification"
    weights, others = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert "accuracy on 16 test images" in write_report(folder, cache=cache).read_text("utf8")


def test_a_new_run_says_what_it_was_taken_for_once(cache, tmp_path, another_is_guessed):
    TASKS._entries["denoising"] = Denoising()  # as if its package were installed
    try:
        short = dataclasses.replace(CONFIG, steps=1, teacher_steps=1)
        events = list(execute(short, tmp_path, cache=cache))
    finally:
        del TASKS._entries["denoising"]
    told = [event for event in events if isinstance(event, TaskGuessed)]
    assert told == [TaskGuessed("denoising", "task: denoising, as the data hold images")]
    (resolved,) = (event.config for event in events if isinstance(event, Resolved))
    assert resolved.task == "denoising"
    assert load_run(events[-1].result["run_dir"]).config["task"] == "denoising"


@pytest.mark.parametrize("named", [[], ["--task", "image-classification"]])
def test_the_command_line_says_a_guess_in_one_line_and_nothing_of_what_was_asked(
    named, tmp_path, capsys
):
    flags = "--method svd --rank 4 --eval-images 16 --evaluations 1 --layer-metrics false"
    assert main(["train", *flags.split(), *named, "--device", "cpu", "--out", str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("task:")]
    guess = "task: classification of images, as the data hold images with a class each"
    assert said == ([] if named else [guess])


def test_data_are_said_to_be_of_a_task_or_refused_for_it(capsys):
    assert main(["data", "digit_scenes", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "task: semantic segmentation, as the data hold images with masks"
    assert json.loads(out[-1])["task"] == "semantic-segmentation"
    assert main(["data", "digits", "--task", "text-classification"]) == 2
    assert capsys.readouterr().err.strip() == (
        "pclora-lab: task is 'text-classification', but 'digits' holds images with a class each, "
        "which speak for image-classification: leave task out, or choose other data"
    )


def test_where_task_model_and_data_disagree_each_is_quoted():
    config = RunConfig(task="image-classification", model="bert_glosses", data="glosses")
    with pytest.raises(ValueError, match="holds texts .* for text-classification, and the model "
                       "'bert_glosses' reads texts: leave task out"):  # fmt: skip
        task_and_data(config, DataCache())
    nowhere = dataclasses.replace(config, model="/no/such/model")
    with pytest.raises(ValueError, match="speak for text-classification: leave task out"):
        task_and_data(nowhere, DataCache())


def test_a_comparison_asks_the_data_once_and_keeps_to_it(tmp_path, capsys):
    model = f"local-dir:{write_small_vit(tmp_path / 'vit')}"
    base = dataclasses.replace(CONFIG, model=model, data="digit_scenes", teacher_steps=2, steps=1)
    grid = {"methods": ["svd"], "budgets": [0.3], "seeds": [0], "out": tmp_path / "grid"}
    comparison = Comparison(base, **grid)
    assert comparison.find_task() == (
        "task: semantic segmentation, as the data hold images with masks"
    )
    assert comparison.search.column == "validation_miou"
    for _ in comparison.run():
        pass
    (row,) = comparison.rows()
    assert row["error"] is None and 0 <= row["miou"] <= 1
    assert ranking_of([row]).key == "miou"
    again = Comparison(base, **grid)
    assert (again.base.task, again.rows()) == ("semantic-segmentation", [row])
    assert again.find_task() == ""
    # Where nothing has begun, other data are asked anew.
    other = {**grid, "out": tmp_path / "other"}
    Comparison(base, **other).find_task()
    plain = Comparison(dataclasses.replace(base, data="digits"), **other)
    assert plain.base.task is None and "classification" in plain.find_task()


def test_a_comparison_of_classifiers_is_written_down_as_before(tmp_path):
    grid = {"methods": ["svd"], "budgets": [0.3], "seeds": [0], "out": tmp_path}
    comparison = Comparison(CONFIG, **grid)
    before = (tmp_path / "comparison.json").read_bytes()
    assert comparison.find_task() and comparison.base.task is None
    assert (tmp_path / "comparison.json").read_bytes() == before


def test_what_is_built_in_for_a_task_is_what_it_learns_from():
    cache = DataCache()
    for task in BUILT_IN:
        if task.built_in is not None:
            model, data = task.built_in
            found, _ = task_and_data(RunConfig(task=task.name, model=model, data=data), cache)
            assert found.name == task.name


def test_one_key_is_one_metric():
    """Columns of a table, a history and a bar are known by the key alone."""
    known = {}
    for task in BUILT_IN:
        for metric in task.metrics:
            assert known.setdefault(metric.key, metric) == metric, metric.key

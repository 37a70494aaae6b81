"""Which tasks there are, which one a result is of, and which key its teachers have."""

import dataclasses
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from denoising import Denoising
from marked import MarkedCache, marked_digits

from pclora_lab import plugins
from pclora_lab.plugins import PluginError, Registry
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.registry import TASKS, key_facts, metrics_of, named_task, task_of
from pclora_lab.tasks.settings import TaskSettings
from pclora_lab.tasks.task_checks import check_task
from pclora_lab.training.config import RunConfig

DATA = marked_digits(train=8, validation=4, test=4)


def test_classification_is_built_in():
    assert list(TASKS)[:2] == ["image-classification", "text-classification"]
    assert named_task(None) is TASKS["image-classification"]
    assert TASKS.problems == ()


def test_naming_the_tasks_reads_no_data_and_no_models():
    """Many commands want the names alone."""
    heavy = ("datasets", "timm", "transformers")
    code = f"import sys, pclora_lab.tasks.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_adds_one_by_its_entry_point(monkeypatch):
    entry = EntryPoint("denoising", "denoising:Denoising", "pclora_lab.tasks")
    monkeypatch.setattr(plugins, "entry_points", lambda group: (entry,))
    registry = Registry("pclora_lab.tasks", "task", {}, check_task)
    assert registry.require("denoising").ranking.key == "mse" and registry.problems == ()


def without(*names, **more):
    """The task of the tests with some verbs as the base class has them."""
    return type("Less", (Denoising,), {**{n: getattr(Task, n) for n in names}, **more})


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        (3, "no subclass of pclora_lab.tasks.Task"),
        (Denoising(), "no subclass of pclora_lab.tasks.Task"),
        (without("loss", "scorer"), "lacks loss, scorer"),
        (without(metrics=()), "lacks metrics"),
        (without(metrics=("mse",)), "Describe each with pclora_lab.tasks.TaskMetric"),
        (without(name="other"), "Give both the same name"),
    ],
)
def test_what_is_no_task_says_what_it_lacks(loaded, reason):
    with pytest.raises(PluginError, match=reason):
        check_task("denoising", loaded)


def test_a_result_from_before_tasks_is_of_classification():
    assert task_of({"input": "text"}) is TEXT_CLASSIFICATION
    assert task_of({"input": "image"}) is task_of({}) is IMAGE_CLASSIFICATION
    assert task_of({"task": "text-classification"}) is TEXT_CLASSIFICATION
    assert [metric.key for metric in metrics_of({})] == ["accuracy"]


@pytest.mark.parametrize("name", ["far-away", 3, ["a"], {}])
def test_a_result_of_a_task_that_is_not_here_tells_its_metrics_itself(name):
    assert task_of({"task": name}) is None
    assert [metric.key for metric in metrics_of({"task": name})] == ["score"]
    told = [{"key": "psnr", "label": "PSNR", "unit": "dB"}]
    assert metrics_of({"task": name, "metrics": told})[0].title == "PSNR (dB)"
    with pytest.raises(ValueError, match="metric holds 'psnr'"):
        metrics_of({"task": name, "metrics": ["psnr"]})


def test_teachers_of_classifiers_keep_the_keys_that_they_had():
    assert key_facts(None) == key_facts("image-classification") == key_facts("text-classification")
    assert key_facts(None) == {} and Denoising().key_facts() == {"task": "denoising"}


@pytest.mark.parametrize(("kind", "task"), [("image", IMAGE_CLASSIFICATION),
                                            ("text", TEXT_CLASSIFICATION)])  # fmt: skip
def test_a_task_is_guessed_from_the_data_or_named(kind, task):
    cache = MarkedCache(dataclasses.replace(DATA, kind=kind))
    for name in (None, task.name):
        assert task_and_data(TaskSettings(task=name), cache) == (task, cache.marked)


def test_a_task_that_the_data_contradict_is_refused_and_theirs_is_named():
    with pytest.raises(ValueError, match=r"'digits' holds images.* for image-classification"):
        task_and_data(TaskSettings(task="text-classification"), MarkedCache(DATA))
    with pytest.raises(ValueError, match="unknown task 'sorting': use one of image-class"):
        RunConfig(task="sorting")

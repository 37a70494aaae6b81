"""The task comes first in the form, and what is built in for it with it."""

import dataclasses

import pytest
from denoising import Denoising

from pclora_lab.tasks.registry import TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.form import Controls
from pclora_lab.ui.settings.presets import PRESETS

WITH_BUILT_IN = [task for task in TASKS.values() if task.built_in]


def test_it_leaves_the_task_to_the_data_at_first():
    controls = Controls()
    shown = dict(controls.task.options)
    assert shown == {"as the data say": "", **{task.name: task.name for task in WITH_BUILT_IN}}
    assert controls.config().task is None


@pytest.mark.parametrize("task", WITH_BUILT_IN, ids=lambda task: task.name)
def test_model_and_data_come_with_a_task_and_nothing_else_changes(task):
    controls = Controls(RunConfig(steps=77, teacher_steps=5))
    before = controls.config()
    controls.task.value = task.name
    config = controls.config()
    assert (config.task, config.model, config.data) == (task.name, *task.built_in)
    changed = {"task", "model", "data", "method"}  # a rank may not fit another model
    names = {field.name for field in dataclasses.fields(RunConfig)} - changed
    assert {n: getattr(config, n) for n in names} == {n: getattr(before, n) for n in names}


def test_the_task_goes_with_a_built_in_model_and_stays_the_datas_otherwise():
    controls = Controls()
    controls.model.value = "bert_glosses"
    assert (controls.data.value, controls.task.value) == ("glosses", "")
    controls.task.value = "image-classification"
    assert (controls.model.value, controls.data.value) == ("vit_digits", "digits")
    controls.model.value = "bert_glosses"
    assert (controls.data.value, controls.task.value) == ("glosses", "text-classification")
    controls.data.value = "my_reviews.csv"
    controls.model.value = "vit_digits"
    assert (controls.data.value, controls.task.value) == ("my_reviews.csv", "text-classification")


def test_a_whole_configuration_is_shown_as_it_is():
    controls = Controls()
    config = RunConfig(task="text-classification", model="bert_glosses", data="reviews.csv")
    controls.show(config)
    assert controls.config() == dataclasses.replace(config, method=controls.config().method)
    assert controls.config().data == "reviews.csv"
    controls.show(RunConfig())
    assert controls.config().task is None


def test_a_task_without_anything_built_in_is_shown_while_it_is_the_runs(monkeypatch):
    list(TASKS)
    monkeypatch.setitem(TASKS._entries, "denoising", Denoising())
    assert "denoising" not in dict(Controls().task.options).values()
    controls = Controls(RunConfig(task="denoising"))
    assert controls.config().task == "denoising"
    controls = Controls()
    controls.show(RunConfig(task="denoising"))
    assert controls.config().task == "denoising"


def test_a_preset_is_pressed_also_where_its_task_is_named():
    controls = Controls()
    assert controls.extras.presets.buttons.value == PRESETS[0].name
    controls.task.value = "image-classification"
    assert controls.extras.presets.buttons.value == PRESETS[0].name


@pytest.mark.parametrize(
    ("task", "heading", "whole"),
    [("image-classification", "parameters, 10 classes", "450,730"),
     ("language-modeling", "parameters<", "639,840")],
)  # fmt: skip
def test_the_sizes_are_those_of_the_head_that_the_task_wants(task, heading, whole):
    controls = Controls()
    controls.task.value = task
    shown = controls.preview.sizes.value
    assert heading in shown and f"{whole} →" in shown


def test_the_sizes_follow_a_task_that_the_data_are_found_to_be_for():
    controls = Controls()
    controls.model.value = "llama_glosses"
    controls.data.value = "words.txt"
    controls.fields.data_preview._take(0, "language-modeling")
    assert "639,840 →" in controls.preview.sizes.value

"""The account of the chosen data stands in the form before anything is trained."""

import io
import threading

import pytest
from PIL import Image
from waiting import until

from pclora_lab.data import load_data
from pclora_lab.data.cache import DataCache
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.plots.examples.sample import sample_png
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.registry import TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings import data_preview
from pclora_lab.ui.settings.data_preview import DataPreview, examples_html
from pclora_lab.ui.settings.form import Controls


@pytest.fixture
def mail(tmp_path):
    lines = [f"text {i},{('ham', '<b>spam</b>')[i % 2]}" for i in range(400)]
    lines[7] = "no label,"
    path = tmp_path / "mail.csv"
    path.write_text("\n".join(["text,label", *lines]))
    return str(path)


def shows(preview, text):
    until(lambda: text in preview.widget.value, 20)


def test_the_form_shows_the_account_of_the_chosen_data(mail):
    controls = Controls(RunConfig(), cache=DataCache())
    preview = controls.data_preview
    shows(preview, "rows: 1,797 found, 1,797 used")
    assert controls.source.rows["data"].children[:2] == (controls.data, preview.widget)
    controls.data.value = mail
    shows(preview, "rows: 400 found, 399 used, 1 left out: 1 without a label")
    assert "&lt;b&gt;spam" in preview.widget.value and "<b>" not in preview.widget.value


def test_what_is_wrong_with_the_data_is_shown_with_its_cure(mail, tmp_path):
    controls = Controls(RunConfig(), cache=DataCache())
    problem = controls.source.rows["data"].problem
    controls.data.value = str(tmp_path / "<i>nowhere")
    until(lambda: "there is no such folder" in problem.value, 20)
    assert "<i>" not in problem.value and controls.data_preview.widget.value == ""
    controls.show(RunConfig(data=mail, max_left_out=0.001))
    until(lambda: "max_left_out=0.01" in problem.value, 20)
    controls.show(RunConfig(data=mail))
    shows(controls.data_preview, "399 used")
    assert problem.value == ""


def test_nothing_is_downloaded_and_a_form_alone_reads_nothing(monkeypatch):
    read = []
    cache = DataCache()
    monkeypatch.setattr(cache, "data", read.append)
    preview = DataPreview(cache)
    preview.show(RunConfig(data="someone/something"))
    assert "read from the hub when a run begins" in preview.widget.value and not read
    assert Controls(RunConfig()).data_preview.widget.value == ""


def test_the_answer_to_an_older_question_is_not_shown(monkeypatch):
    go_on = threading.Event()

    def read(config, cache):
        if config.data == "digits":
            go_on.wait(10)
        return IMAGE_CLASSIFICATION, config.data

    monkeypatch.setattr(data_preview, "task_and_data", read)
    monkeypatch.setattr(data_preview, "account_html", lambda name, told: f"about {name}")
    monkeypatch.setattr(data_preview, "examples_html", lambda name, task: "")
    preview = DataPreview(DataCache())
    preview.show(RunConfig(data="digits"))
    preview.show(RunConfig(data="glosses"))
    shows(preview, "about glosses")
    go_on.set()
    threading.Event().wait(0.2)
    assert preview.widget.value == "about glosses"


def test_it_says_the_task_and_shows_the_first_examples(mail):
    controls = Controls(RunConfig(), cache=DataCache())
    preview = controls.data_preview
    shows(preview, "task: classification of images, as the data hold images with a class each")
    assert preview.widget.value.count("<img") == 1
    controls.data.value = mail
    shows(preview, "task: classification of texts")
    assert "“text 0” → ham" in preview.widget.value and "<img" not in preview.widget.value


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.built_in])
def test_the_first_examples_of_every_task_can_be_shown(name):
    model, data = TASKS[name].built_in
    config = RunConfig(task=name, model=model, data=data)
    task, found = task_and_data(config, DataCache())
    shown = examples_html(found, task)
    assert "<img" in shown or shown.count("“") == 2
    if found.kind == "text" and found.num_classes:
        assert " → " in shown


def test_masks_stand_below_their_pictures():
    controls = Controls(RunConfig(data="digit_scenes"), cache=DataCache())
    shows(controls.data_preview, "task: semantic segmentation, as the data hold images with masks")
    assert "below each its mask" in controls.data_preview.widget.value
    scenes = load_data("digits").train, digit_scenes().train
    heights = [Image.open(io.BytesIO(sample_png(split))).height for split in scenes]
    assert heights == [36, 75]


def test_what_the_data_are_for_reaches_forecast_and_script_but_not_the_form():
    controls = Controls(RunConfig(data="digit_scenes"), cache=DataCache())
    until(lambda: controls.data_preview.task == "semantic-segmentation", 20)
    config = controls.config()
    assert config.task is None
    assert controls.fields.of_task(config).task == "semantic-segmentation"
    assert 'end.result["miou"]' in controls.extras._as_python()
    controls.data.value = "digits"
    until(lambda: controls.data_preview.task is None, 20)
    assert controls.fields.of_task(controls.config()).task is None

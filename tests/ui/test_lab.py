"""The lab without a browser: form, messages and figure."""

import time

import pytest
from waiting import until

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.live import panels_figure, story_figure
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.session import stop_all
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.lab import Lab
from pclora_lab.ui.settings.form import Controls

QUICK = RunConfig(method=PCLoRAConfig(rank=8, init="svd"), steps=8, evaluations=2, eval_images=40)


@pytest.fixture
def lab(tmp_path):
    yield Lab(QUICK, tmp_path)
    stop_all()


def test_the_form_gives_back_the_config_it_was_made_from():
    method = PCLoRAConfig(rank=5, schedule="linear", fade_end=0.4, alpha=0.5, init="zeros")
    config = RunConfig(method=method, steps=77, lr=1e-3, seed=4, teacher="finetune")
    assert Controls(config).config() == config


def test_sizes_follow_the_rank():
    controls = Controls()
    controls.rank.value = 12
    assert "450,730 → 82,090" in controls.sizes.value
    controls.rank.value = 48
    assert "break-even rank 48" in controls.form.rows["rank"].problem.value
    assert controls.sizes.value == ""
    with pytest.raises(ValueError, match="Use a rank of at most 47"):
        controls.config()


def test_a_rank_move_on_vit_base_takes_less_than_50_ms():
    controls = Controls()
    controls.model.value = "vit_base_patch16_224"
    times = []
    for rank in range(30, 40):
        began = time.perf_counter()
        controls.rank.value = rank
        times.append(time.perf_counter() - began)
    assert "85,806,346" in controls.sizes.value
    assert sorted(times)[5] < 0.050


def test_an_unknown_model_is_shown_as_text():
    controls = Controls()
    controls.model.value = "<img src=x>"
    said = controls.source.rows["model"].problem.value
    assert "unknown model" in said and "<img" not in said


def test_train_shows_progress_and_result(lab, tmp_path):
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    assert "student, test accuracy" in lab.message.value
    assert not lab.exports.button.disabled and lab.buttons.stop.disabled
    assert len(lab.views.live.story.figure.data[0].x) == len(lab.session.snapshot().rows)
    lab.exports.folder.value = str(tmp_path / "out")
    lab.exports.button.click()
    assert "exported to" in lab.message.value
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_errors_appear_in_the_lab(lab):
    lab.buttons.stop.click()
    assert "nothing to stop: press Train first" in lab.message.value
    lab.exports.button.click()
    assert "nothing to export" in lab.message.value
    lab.controls.data.value = "./no_such_folder"
    until(lambda: "no such folder" in lab.controls.source.rows["data"].problem.value)
    lab.buttons.train.click()
    assert "there is no such folder" in lab.message.value and lab.session is None


def test_train_pressed_twice_is_refused(lab):
    lab.controls.steps.value = 5000
    lab.buttons.train.click()
    lab.buttons.train.click()
    assert "a run is already running" in lab.message.value
    lab.buttons.stop.click()
    until(lambda: lab.buttons.status.value == "stopped")


def test_the_buttons_are_ready_when_the_line_names_the_end(lab):
    seen = {}

    def note(change):
        seen[change["new"]] = lab.buttons.stop.disabled

    lab.buttons.status.observe(note, "value")
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    assert seen["finished"]


def test_a_new_lab_finds_the_run_that_is_going(lab, tmp_path):
    lab.controls.steps.value = 5000
    session = lab.train()
    again = Lab(root=tmp_path)
    assert session.state == "running" and again.session is session
    assert again.controls.config().steps == 5000
    until(lambda: "fading" in again.buttons.status.value)
    again.buttons.stop.click()
    until(lambda: again.buttons.status.value == "stopped")


def test_every_panel_names_its_units():
    story, panels = story_figure().layout, panels_figure().layout
    assert story.yaxis.tickformat == ".0%" and story.yaxis.hoverformat == ".1%"
    assert [panels[f"yaxis{n}"].ticksuffix for n in (3, 4)] == ["%", " ms"]
    assert all(panels[f"xaxis{n}"].title.text == "step" for n in ("", 2, 3))


def test_what_the_form_does_not_show_is_kept():
    points = ((0.0, 1.0), (0.2, 0.7), (0.6, 0.0))
    method = PCLoRAConfig(
        rank=4, schedule=points, logit_weight=0.5, train_norms=True, targets=r"\.mlp\."
    )
    config = RunConfig(method=method, precision="float32", warmup=0.2, image_column="photo")
    assert Controls(config).config() == config


def test_a_rank_in_per_cent_becomes_a_whole_one():
    assert Controls(RunConfig(method=PCLoRAConfig(rank="25%"))).config().method.rank == 12


def test_export_without_a_folder_name_is_refused(lab):
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    lab.exports.folder.value = "  "
    lab.exports.button.click()
    assert "no folder to export to" in lab.message.value


def test_the_form_follows_the_method_and_keeps_what_was_set():
    controls = Controls()
    controls.rank.value = 5
    controls.method.value = "pela"
    assert "ratio" in controls.form.fields and "schedule" not in controls.form.fields
    assert "450,730 → 228," in controls.sizes.value
    assert controls.config().method.name == "pela" and controls.config().lr == 1e-3
    controls.form.fields["ratio"].value = 4.0
    assert controls.config().method.ratio == 4.0
    controls.method.value = "pclora"
    assert controls.config().method.rank == 5 and controls.lr.value == 5e-3


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_has_a_form_with_sizes(name):
    controls = Controls()
    controls.method.value = name
    assert controls.config().method == METHODS[name].Config() or name == "pclora"
    assert "whole model" in controls.sizes.value


def test_the_panels_show_what_the_method_reports(lab):
    lab.controls.method.value = "snella"
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    traces = [trace for chart in lab.views.live.charts for trace in chart.figure.data]
    shown = {t.name for t in traces if t.visible and t.x is not None and len(t.x)}
    assert {"weights that may change", "task", "student as it is"} <= shown
    assert not any(t.visible for t in traces if t.name in ("λ", "feature distillation"))
    title = lab.views.live.panels.figure.layout.annotations[0].text
    assert title.startswith("<b>Weights that may change</b>") and "distillation" not in title


def test_a_sliders_rounding_error_does_not_reach_the_config():
    controls = Controls()
    controls.method.value = "snella"
    controls.form.fields["sparsity"].value = 0.9000000000000001
    assert controls.config().method.sparsity == 0.9


def test_the_form_follows_the_kind_of_the_model():
    controls = Controls()
    assert (controls.data.value, controls.input_size.description) == ("digits", "side (px)")
    controls.model.value = "bert_glosses"
    assert (controls.data.value, controls.input_size.description) == ("glosses", "tokens")
    controls.input_size.value = 32
    config = controls.config()
    assert (config.max_tokens, config.img_size) == (32, None)
    controls.data.value = "my_reviews.csv"
    controls.model.value = "vit_digits"
    config = controls.config()
    assert (config.max_tokens, config.img_size, config.data) == (None, None, "my_reviews.csv")


def test_a_form_may_start_with_a_text_model():
    controls = Controls(RunConfig(model="bert_glosses", data="glosses", max_tokens=24))
    assert controls.input_size.value == 24 and controls.config().max_tokens == 24


def test_the_layers_tab_of_a_method_without_facts_says_so(lab):
    lab.views.tabs.selected_index = 1
    lab.controls.method.value = "svd"
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    assert lab.views.layers.fact.value == "layer_mse"  # there is no base to lean on
    assert lab.views.timeline.text.value == "step 8 of 8"
    lab.views.layers.update([{"phase": "fade", "step": 8}])
    assert "no facts by layer" in lab.views.layers.note.value
    lab.controls.method.value = "svd_kd"
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    assert lab.views.layers.fact.value == "layer_mse"
    assert lab.views.layers.chart.figure.data[0].z.shape[0] == 16
    lab.views.tabs.selected_index = 2
    assert "from 9 snapshots" in lab.views.examples.note.value
    assert "student" in lab.views.examples.shown.value


def test_another_run_is_shown_while_one_trains(lab):
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    first = lab.session.folder
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: "fading" in lab.buttons.status.value)
    lab.open(load_run(first))
    assert lab.opened is not None and first.name in lab.views.title.value
    line = lab.buttons.status.value
    until(lambda: lab.buttons.status.value != line)
    assert lab.views.timeline.text.value == "step 8 of 8" and not lab.exports.button.disabled
    lab.open(load_run(lab.session.folder))
    assert lab.opened is None
    lab.buttons.stop.click()
    until(lambda: lab.buttons.status.value == "stopped")
    assert lab.buttons.stop.disabled


def test_a_stopped_run_is_taken_up_with_resume(lab, tmp_path):
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: lab.session.snapshot().step > 2)
    assert lab.buttons.pause.description == "Pause"
    lab.buttons.stop.click()
    until(lambda: lab.buttons.status.value == "stopped")
    assert lab.buttons.pause.description == "Resume" and not lab.buttons.pause.disabled
    folder, rows = lab.session.folder, lab.session.snapshot().rows
    # As after a restart of the kernel, and with settings that are not the run's.
    again = Lab(QUICK, tmp_path)
    assert again.opened.folder == folder and "Resume goes on with it" in again.buttons.status.value
    again.buttons.pause.click()
    until(lambda: again.session is not None and again.session.snapshot().step > rows[-1]["step"])
    assert again.opened is None and again.session.folder == folder
    assert again.session.snapshot().rows[: len(rows)] == rows
    until(lambda: again.buttons.pause.description == "Pause" and not again.buttons.stop.disabled)
    again.buttons.pause.click()
    until(lambda: again.session.state == "paused")
    again.buttons.stop.click()
    until(lambda: again.buttons.status.value == "stopped")
    assert again.buttons.pause.description == "Resume"


def test_resume_says_what_changed_and_goes_on_with_a_second_press(lab):
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: lab.session.snapshot().step > 2)
    lab.buttons.stop.click()
    until(lambda: lab.buttons.status.value == "stopped")
    folder, changes = lab.session.folder, lab.shown.changes
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"warmup": 0.05', '"warmup": 0.25'))
    lab.buttons.pause.click()
    until(lambda: changes.widget.layout.display == "")
    assert "warmup (0.05, now 0.25)" in changes.text.value and lab.message.value == ""
    until(lambda: lab.buttons.pause.description == "Resume" and not lab.buttons.pause.disabled)
    assert load_run(folder).status == "stopped"
    lab.open(load_run(folder))
    assert changes.widget.layout.display == "none"
    lab.buttons.pause.click()
    until(lambda: changes.widget.layout.display == "")
    begun = load_run(folder).rows[-1]["step"]
    changes.button.click()
    assert changes.widget.layout.display == "none"
    until(lambda: lab.session.snapshot().step > begun + 1)
    assert lab.session.folder == folder


def test_a_run_that_is_shown_is_renamed_with_its_views(lab):
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    lab.browser.refresh()
    lab.browser.table.current = lab.session.folder.name
    lab.browser.changes.new_name.value = "the best"
    lab.browser.changes.rename_button.click()
    assert lab.session.folder == lab.root / "the best" == lab.opened.folder
    assert "the best" in lab.views.title.value
    lab.views.tabs.selected_index = 1
    assert lab.views.problem.value == ""
    lab.exports.folder.value = str(lab.root / "out")
    lab.exports.button.click()
    assert "exported to" in lab.message.value


def test_a_checkpoint_that_cannot_be_read_is_said(lab):
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: lab.session.snapshot().step > 2)
    lab.buttons.stop.click()
    until(lambda: lab.buttons.status.value == "stopped")
    for path in lab.session.folder.glob("checkpoint.*"):
        path.write_bytes(b"<b>half")
    lab.buttons.pause.click()
    assert "be read (DamagedFile" in lab.message.value and lab.session.state == "stopped"


def test_a_hand_on_lambda_is_followed_and_shown(lab):
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: not lab.lambda_slider.slider.disabled and lab.session.snapshot().rows)
    lab.lambda_slider.slider.value = 0.6
    until(lambda: [row.get("lam") for row in lab.session.snapshot().rows[-1:]] == [0.6])
    again = Lab(root=lab.root)
    until(lambda: again.lambda_slider.slider.value == 0.6)
    assert not again.lambda_slider.button.disabled
    again.lambda_slider.fresh.value = True
    again.lambda_slider.button.click()
    until(lambda: again.session.snapshot().rows[-1]["lam"] != 0.6)
    again.buttons.stop.click()
    until(lambda: again.buttons.status.value == "stopped")
    config = RunConfig.from_dict(load_run(lab.session.folder).config)
    again.browser.refresh()
    again.browser.table.current = lab.session.folder.name
    again.browser.again_button.click()
    overrides = again.controls.config().overrides
    assert config.overrides == () and overrides[0][1] == 0.6 and overrides[-1][1] == "reset"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("result.json", '{"accuracy": 1}', "100.00"),
        ("history.jsonl", '{"what": 1}\n', ""),
        ("snapshots/000000.safetensors", "nonsense", "damaged or cut short"),
    ],
)
def test_a_run_that_was_edited_by_hand_is_shown_as_far_as_it_goes(lab, name, text, said):
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    lab.active.session = None
    run_folder = next(lab.root.glob("vit_digits*"))
    (run_folder / name).write_text(text)
    lab.views.tabs.selected_index = 2
    lab.open(load_run(run_folder))
    assert said in lab.message.value + lab.views.problem.value


@pytest.mark.slow
def test_a_text_model_shows_its_examples_as_text(tmp_path):
    method = PCLoRAConfig(rank=4, init="svd")
    quick = {"steps": 4, "evaluations": 1, "eval_images": 20, "batch_size": 8}
    lab = Lab(RunConfig(model="bert_glosses", data="glosses", method=method, **quick), tmp_path)
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished", 120)
    lab.views.tabs.selected_index = 2
    assert "<th style='text-align:left'>student</th>" in lab.views.examples.shown.value
    assert (
        lab.views.problem.value == "" and "attention" not in lab.views.examples.note.value.lower()
    )


def test_the_lab_falls_back_to_pictures_where_nobody_answers(lab):
    lab.views.shown_at = time.monotonic() - 100
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    assert "data:image/png" in lab.views._picture.value
    assert lab.views._still.layout.display == ""
    lab.page.alive = True
    assert lab.views._still.layout.display == "none"

"""A task of another package goes all the way: run, comparison, replay, forecast, export.

Nothing in the package knows it: what is said of its runs comes from its own description.
"""

import dataclasses
import json

import pytest
import torch
from denoising import Denoising, NoisyBatches
from marked import MarkedCache, marked_digits

from pclora_lab import plots
from pclora_lab.cli import compare as compare_command
from pclora_lab.export.run import export_run
from pclora_lab.methods.metrics import Panel
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.loading import load_model
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.overlay import overlay_figure
from pclora_lab.plots.pareto_runs import fill_pareto, pareto_runs_figure
from pclora_lab.plots.report import write_report
from pclora_lab.runs.comparison import Comparison, ranking_of, summarize
from pclora_lab.runs.durable.stored import read_result
from pclora_lab.runs.estimates.accuracy import accuracy_estimate, rank_points
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.resuming import resume
from pclora_lab.runs.summary import result_table
from pclora_lab.tasks.registry import TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.events import RunEnd, StepEnd
from pclora_lab.ui.browser.table_rows import group_of, table_row
from pclora_lab.ui.monitor.lambda_slider import LambdaSlider
from pclora_lab.ui.monitor.tiles import Tiles

CONFIG = RunConfig(
    task=None, method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), steps=6, batch_size=16,
    teacher_steps=40, teacher_lr=1e-3, evaluations=2, eval_images=32, snapshots=3, device="cpu",
    precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def installed():
    """As if the package that brings the task were installed."""
    list(TASKS)
    TASKS._entries["denoising"] = Denoising()
    yield
    del TASKS._entries["denoising"]


@pytest.fixture(scope="module")
def config():
    return dataclasses.replace(CONFIG, task="denoising")


@pytest.fixture(scope="module")
def cache():
    return MarkedCache(marked_digits(train=160, validation=48, test=48))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config, cache):
    """A run of PC-LoRA, and the event that ended it."""
    *_, end = execute(config, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


@pytest.fixture(scope="module")
def run(finished):
    return load_run(finished.result["run_dir"])


def test_a_run_measures_what_the_task_says(finished, run, cache):
    result = finished.result
    batches = preprocessing_of(finished.model).batches(cache.marked.test)
    own = evaluate(Denoising(), finished.model, NoisyBatches(batches))
    assert result["mse"] == own["mse"] == result["mse_if_base_removed"]
    assert result["psnr"] == own["psnr"] and result["mse_examples"] == 48
    assert result["task"] == "denoising" and result["class_names"] == []
    assert "accuracy" not in json.dumps(result)
    # The teacher has learned more than to answer with gray.
    gray = batches.inputs(torch.arange(48)).square().mean().item()
    assert 0 < result["teacher_mse"] < gray / 2
    fade = [row for row in run.rows if row["phase"] == "fade" and row["mse"] is not None]
    assert {"mse", "psnr", "teacher_mse", "psnr_if_base_removed"} <= set(fade[-1])
    assert fade[0]["mse"] == pytest.approx(fade[0]["teacher_mse"], rel=0.2)
    assert any(row["phase"] == "teacher" and row["mse"] for row in run.rows)


def test_the_losses_are_the_task_s(finished, run):
    rows = [row for row in run.rows if row.get("logit") is not None]
    assert rows and all(0 <= row["logit"] < 1 and 0 < row["task"] < 1 for row in rows)
    assert all(row["task"] < 1 for row in run.rows if row["phase"] == "teacher")


def test_a_summary_and_a_report_speak_of_its_metric(finished, run, cache):
    table = result_table(finished.result)
    assert "student, test MSE" in table and "PSNR" in table and "dB" in table
    text = write_report(run.folder, cache=cache).read_text(encoding="utf8")
    assert "its MSE on 48 test images" in text and "accuracy" not in text.lower()


def test_figures_and_lists_show_its_metric(finished, run):
    metric, mse = Denoising.metrics[0], finished.result["mse"]
    axis = history_figure(run.rows, metric=metric).axes[Panel.ACCURACY]
    assert (axis.get_ylabel(), axis.get_title()) == ("MSE", "MSE (32 validation examples)")
    read = [row["mse"] for row in run.rows if row["phase"] == "fade" and row["mse"] is not None]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert drawn["student as it is"] == read
    # A run that measures something else is not drawn into the same panel.
    other = dataclasses.replace(run, config={}, result={"accuracy": 0.9}, rows=[
        {"phase": "fade", "step": 0, "accuracy": 0.9, "loss": 1.0}])  # fmt: skip
    figure = overlay_figure([run, other])
    by_name = {name: [t for t in figure.data if t.meta == name] for name in ("student as it is",)}
    first, second, *_ = by_name["student as it is"]
    assert list(first.y) == read and len(second.y) == 0
    assert figure.layout.title.text == "1 run of another task is left out where the MSE is drawn"
    # Another task may call what it measures alike.
    sharpened = dataclasses.replace(run, config={}, result={**run.result, "task": "sharpening"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS._entries, "sharpening", Sharpening())
        figure = overlay_figure([run, sharpened])
    _, second, *_ = (t for t in figure.data if t.meta == "student as it is")
    assert len(second.y) == 0 and "1 run of another task" in figure.layout.title.text
    assert overlay_figure([run, run]).layout.title.text == ""
    points = fill_pareto(pareto_runs_figure(), [run])
    assert points.layout.yaxis.title.text == "MSE" and points.data[0].y == (mse,)
    row = table_row(run)
    assert row["mse"] == mse and row["accuracy"] is None
    assert group_of(run).endswith(" on digits, denoising")
    tiles = Tiles(LambdaSlider(lambda: None, lambda action: action()))
    tiles.update(run.rows, metric)
    assert "validation MSE" in tiles.accuracy.value
    tiles.show_result(finished.result)
    assert f"{mse:.3f}" in tiles.accuracy.value and "test MSE" in tiles.accuracy.value


@pytest.mark.parametrize("name", [n for n in METHODS if n != "pclora"])
def test_every_method_learns_it(name, config, cache, tmp_path):
    method = METHODS[name].default_config()
    small = dataclasses.replace(
        config, method=method, lr=None, steps=2, snapshots=0, teacher_steps=2, layer_metrics=False
    )
    *_, end = execute(small, tmp_path, cache=cache)
    assert isinstance(end, RunEnd) and 0 < end.result["mse"] < 100


def test_a_run_is_taken_up_to_the_same_weights(config, cache, tmp_path):
    *_, whole = execute(config, tmp_path / "a", cache=cache)
    events = execute(config, tmp_path / "b", cache=cache)
    for event in events:
        if isinstance(event, StepEnd) and (event.phase, event.step) == ("fade", 3):
            break
    events.close()
    *_, again = resume(events.folder, cache=cache)
    weights, others = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert again.result["mse"] == whole.result["mse"]


def test_a_replay_gives_the_pictures_back(finished, run, cache):
    replay = Replay(run.folder, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    inputs, clean = replay.examples.batch(torch.tensor([0, 5]))
    assert torch.equal(found.labels, clean) and found.student.shape == clean.shape
    with torch.no_grad():
        assert torch.equal(found.teacher, replay.teacher(inputs))
    errors = (found.teacher - clean).square().mean(1)
    said = [found.task.verdict(found.teacher[i], clean[i], ()).text for i in range(2)]
    assert said == [f"{error:.4f}" for error in errors.tolist()]
    images = replay.examples.raw(torch.tensor([0, 5])).numpy()
    assert "MSE" in replay.task.ranking.title
    assert plots.examples_figure(images, found, replay.class_names).png()


class Sharpening(Denoising):
    name = "sharpening"


def test_what_if_asks_runs_of_the_same_task_only(finished, run, config, monkeypatch):
    root = run.folder.parent
    (point,) = rank_points(root, config)
    assert point.mean == finished.result["mse"]
    assert rank_points(root, dataclasses.replace(config, task=None)) == ()
    found = accuracy_estimate(root, config, 4)
    assert found.metric.key == "mse" and found.mean == finished.result["mse"]
    # Another task may well have the same metric.
    monkeypatch.setitem(TASKS._entries, "sharpening", Sharpening())
    assert rank_points(root, dataclasses.replace(config, task="sharpening")) == ()


def test_a_comparison_ranks_by_it_and_chooses_the_lowest(config, tmp_path):
    base = dataclasses.replace(config, steps=2, teacher_steps=2, layer_metrics=False)
    comparison = Comparison(
        base, methods=["svd", "lora"], budgets=[0.3], seeds=[0], out=tmp_path, lrs=[1e-4, 1e-2]
    )
    for _ in comparison.run():
        pass
    rows = comparison.rows()
    assert [row["error"] for row in rows] == [None, None]
    metric = ranking_of(rows)
    assert metric.key == "mse"
    tried = {trial["lr"]: trial["validation_mse"] for trial in comparison.tuning}
    assert comparison.search.chosen["lora"] == min(tried, key=tried.get)
    summary = summarize(rows)
    assert set(summary["mse_mean"]) == {row["mse"] for row in rows}
    assert "MSE" in compare_command._table(summary, metric)
    left = plots.pareto_figure(rows).axes[0]
    assert left.get_ylabel() == "MSE"
    again = Comparison(
        base, methods=["svd", "lora"], budgets=[0.3], seeds=[0], out=tmp_path, lrs=[1e-4, 1e-2]
    )
    assert again.rows() == rows


def test_exports_answer_the_same_and_say_how_good_they_are(finished, run, tmp_path):
    reports = export_run(run.folder, tmp_path, ["standalone", "plain-int8"])
    plain, rounded = reports
    assert plain.max_logit_difference < 1e-5 and plain.accuracy is None
    assert rounded.metric.key == "mse" and "MSE" in str(rounded)
    card = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "pipeline_tag" not in card and "| MSE (test) |" in card and "classes" not in card
    assert from_pretrained(run.folder / "compressed").num_classes == 64


def test_without_its_package_a_run_is_read_all_the_same(finished, run, monkeypatch):
    monkeypatch.delitem(TASKS._entries, "denoising")
    result = read_result(run.folder, measured=True)
    assert result["mse"] == finished.result["mse"]
    assert "student, test MSE" in result_table(result)
    with pytest.raises(ValueError, match="unknown task 'denoising': use one of image-class"):
        RunConfig.from_dict(run.config)


def test_data_that_it_can_not_learn_from_are_refused(config, tmp_path):
    texts = dataclasses.replace(config, data="glosses", model="bert_glosses")
    with pytest.raises(ValueError, match="task is 'denoising', but 'glosses' holds texts"):
        list(execute(texts, tmp_path))


def test_its_teachers_are_its_own(finished, run, config, cache, tmp_path):
    """Another task's teacher has another key, also where weights and data are the same."""
    from pclora_lab.training.teacher import teacher_key

    model, data = load_model("vit_digits"), cache.marked
    keys = {
        task: teacher_key(model, data, dataclasses.replace(config, task=task))
        for task in (None, "image-classification", "denoising")
    }
    assert keys[None] == keys["image-classification"] != keys["denoising"]

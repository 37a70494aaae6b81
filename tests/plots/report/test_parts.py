"""Parts of the report by themselves: ticks, curves, settings, sentences of odd numbers."""

import inspect
import re
from pathlib import Path

import pytest

from pclora_lab.data.account import Account, LeftOut, Tally
from pclora_lab.fields import options_of
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.nn.latency import latency_ms
from pclora_lab.plots.report.about import about_lines
from pclora_lab.plots.report.bars import bars_html, pairs
from pclora_lab.plots.report.chart import chart_html, nice_ticks
from pclora_lab.plots.report.examples import Examples
from pclora_lab.plots.report.facts import Facts
from pclora_lab.plots.report.page import page_html
from pclora_lab.plots.report.sentences import lead
from pclora_lab.plots.report.settings import changed_settings
from pclora_lab.plots.report.units import si
from pclora_lab.plots.report.usage import loading_code
from pclora_lab.runs.reader import Run
from pclora_lab.training.config import RunConfig


def facts(tmp_path, **result):
    run = Run(tmp_path, RunConfig().to_dict(), "finished", None, [], result)
    return Facts(run, "net", "data", "Some method", "", {}, None, None)


def rows(*accuracies, **more):
    return [{"phase": "fade", "step": n, "accuracy": a, **more} for n, a in enumerate(accuracies)]


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 0.97, 1.0])
def test_an_accuracy_that_never_changes_is_a_line_inside_its_axis(accuracy):
    drawn = chart_html(rows(accuracy, accuracy, accuracy))
    heights = {
        float(y) for y in re.findall(r'<circle class="student" cx="[\d.]+" cy="([\d.]+)"', drawn)
    }
    grid = [float(y) for y in re.findall(r'class="grid" x1="\d+" x2="\d+" y1="([\d.]+)"', drawn)]
    assert len(heights) == 1 and min(grid) <= heights.pop() <= max(grid) and len(grid) >= 3
    assert f"{100 * accuracy:.1f}" in drawn and "e+" not in drawn and "e-" not in drawn


def test_the_area_follows_lambda_and_not_the_accuracy():
    drawn = chart_html(
        [{**row, "lam": lam} for row, lam in zip(rows(1, 0, 0), (1, 0.5, 0), strict=True)]
    )
    area = re.search(r'class="lam" points="([^"]*)"', drawn)[1].split()
    heights = [float(point.split(",")[1]) for point in area[:3]]
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2) and heights[0] < heights[2]
    assert "from step 2 on" in drawn and 'class="lam"' not in chart_html(rows(1, 0))


@pytest.mark.parametrize("odd", [[], rows(0.5), rows(None, None), rows("x", True), rows(0.5, None)])
def test_fewer_than_two_readings_are_no_curve(odd):
    assert chart_html(odd) == ""


@pytest.mark.parametrize("low, high", [(0, 0.004), (99.2, 99.9), (0, 1), (3, 1e6), (71.1, 96)])
def test_ticks_are_round_few_and_around_all(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9 and high <= ticks[-1] + 1e-9 and 2 <= len(ticks) <= 8
    assert all(float(f"{tick:.3g}") == pytest.approx(tick) for tick in ticks)


def test_every_setting_of_a_run_without_flags_is_a_default():
    assert changed_settings(RunConfig().to_dict()) == []
    for name, method in METHODS.items():
        config = RunConfig(method=method.Config())
        changed = {setting.name for setting in changed_settings(config.to_dict())}
        own = {"rank", "init"} if name == "pclora" else set()
        assert changed <= own, name


def test_a_setting_is_listed_with_the_value_that_it_has():
    config = RunConfig(method=PCLoRAConfig(rank={"a": 2, "b": 3}, init="activation_svd"), lr=0.25)
    listed = {s.name: s.value for s in changed_settings({**config.to_dict(), "quantum": 1})}
    assert listed == {"rank": "a: 2, b: 3", "lr": "0.25"}
    labels = {s.name: s.label for s in changed_settings(config.to_dict())}
    assert labels["lr"] == options_of(RunConfig)["lr"].label


@pytest.mark.parametrize(
    "result, said",
    [
        ({"params_removed_whole": -0.5, "params_before": 10, "params_after": 15},
         "net has <b>50.0% more parameters</b> (15 instead of 10)"),
        ({"params_removed_whole": 0.00001, "params_before": 10**6, "params_after": 10**6 - 10},
         "net stays <b>as large as it was</b> (999,990 parameters)"),
        ({"latency_ms_before": 10.0, "latency_ms_after": 10.4}, "takes <b>as long as before</b>"),
        ({"latency_ms_before": 10.0, "latency_ms_after": 30.0},
         "it takes <b>3.0× as long</b> on the CPU"),
        ({"latency_ms_before": 30.0, "latency_ms_after": 10.0, "device": "cuda:0"},
         "is <b>3.0× as fast</b> on the GPU"),
        ({"accuracy": 0.91, "teacher_accuracy": 0.9, "report_on": "validation"},
         "accuracy on the validation examples of data is <b>91.0%</b>, <b>1.0 percentage points "
         "higher than before</b> (the teacher, which is the model before, has 90.0%). This is one "
         "run with one seed"),
        ({"accuracy": 352 / 360, "teacher_accuracy": 353 / 360, "accuracy_examples": 360},
         "<b>0.3 percentage points lower than before</b> (8 wrong instead of 7; the teacher"),
        ({"accuracy": 0.9000001, "teacher_accuracy": 0.9, "accuracy_examples": 10},
         "<b>the same as before</b> (1 wrong; the teacher, which is the model before, has 90.0%)"),
        ({}, "net has finished; nothing was measured."),
    ],
)  # fmt: skip
def test_the_sentence_is_true_of_any_numbers(result, said, tmp_path):
    found = lead(facts(tmp_path, **result)).replace("\u00a0", " ").replace("<bdi>", "")
    assert said in found.replace("</bdi>", "")


def test_sentence_and_bars_call_the_same_times_the_same(tmp_path):
    (pair,) = pairs(facts(tmp_path, latency_ms_before=10.0, latency_ms_after=10.4))
    assert pair.change == "the same" and pair.detail == ""


def test_a_point_is_told_in_examples_too(tmp_path):
    measured = {"accuracy": 352 / 360, "teacher_accuracy": 353 / 360, "accuracy_examples": 360}
    (pair,) = pairs(facts(tmp_path, **measured))
    assert (pair.change, pair.detail) == ("−0.3 points", "1 more wrong")
    (pair,) = pairs(facts(tmp_path, **{**measured, "accuracy_examples": 7}))
    assert pair.detail == "", "these are no shares of seven"


TIMED = {"latency_ms_before": 10.0, "latency_ms_after": 5.0, "macs_before": 8.0, "device": "cpu"}


@pytest.mark.parametrize("macs, is_behind", [(1.0, True), (4.0, False), (None, False)])
def test_the_latency_says_how_it_was_measured(macs, is_behind, tmp_path):
    said = bars_html(facts(tmp_path, **TIMED, macs_after=macs))
    repeats = inspect.signature(latency_ms).parameters["repeats"].default
    assert f"the median of {repeats} passes" in said and "threads computed was not" in said
    assert ("It does not follow the multiply-adds" in said) == is_behind
    assert "threads" not in bars_html(facts(tmp_path, **{**TIMED, "device": "cuda"}))


def test_where_lines_meet_both_are_seen():
    drawn = chart_html(rows(0.5, 0.6, accuracy_if_base_removed=0.6, teacher_accuracy=0.9))
    order = re.findall(r'<polyline class="(\w+)"', drawn)
    assert order == ["teacher", "removed", "student"], "the student is drawn last"
    widths = re.findall(r"polyline(?:\.removed)?{[^}]*stroke-width:([\d.]+)", page_html("", "", []))
    assert float(widths[1]) >= 1.5 * float(widths[0])


def test_the_chart_says_of_what_its_accuracies_are_and_where_its_axis_starts():
    drawn = chart_html(rows(0.91, 0.95, examples=64), validation=80)
    assert "<h2>Validation accuracy" in drawn and "on 64 of the 80 validation" in drawn
    assert "The accuracy axis starts at 90%, not at 0." in drawn
    assert "axis starts" not in chart_html(rows(0, 1)) and "on 64 val" in chart_html(
        rows(0.91, 0.95, examples=64), validation=64
    )


def test_a_layer_is_of_the_kind_that_stands_behind_its_number():
    names = ("blocks.0.attn.qkv", "blocks.1.attn.qkv", "blocks.0.fc1", "head")
    found = Examples(None, True, (), None, (), {"train": 5, "validation": 6, "test": 7}, names)
    run = Run(Path("none"), {"seed": 1}, "finished", None, [], {})
    lines = dict(about_lines(Facts(run, "net", "data", "M", "", {}, None, None), "x < y", found))
    assert lines["Replaced layers"] == "<bdi>4: 2 × attn.qkv, 1 × fc1, 1 × head</bdi>"
    assert lines["Rows of data"] == "<bdi>5 to train, 6 to validate, 7 to test</bdi>"
    assert lines["Repeat it"] == "<code>x &lt; y</code>"


@pytest.mark.parametrize(
    "left, said",
    [((), "9, all of them used"), ((LeftOut("broken", 2),), "11 found, 9 used, 2 left out: 2 bro")],
)
def test_rows_are_accounted_for_where_some_are_left_out(left, said, tmp_path):
    lost = sum(part.count for part in left)
    account = Account(Tally(2, 2), Tally(0, 0), Tally(9 + lost, 9, left)).to_dict()
    splits = Examples(None, True, (), None, (), {"train": 4, "validation": 3, "test": 2})
    alone, beside = (
        dict(about_lines(facts(tmp_path, account=account), "", found))["Rows of data"]
        for found in (None, splits)
    )
    assert alone.startswith(f"<bdi>{said}") and "files" not in alone
    assert "4 to train, 3 to validate, 2 to test" in beside and ("found" in beside) == bool(left)


def test_a_model_of_transformers_has_its_logits_in_an_object():
    for is_text in (True, False):
        assert loading_code(is_text, has_output=True).count(".logits\n") == 1
        assert ".logits" not in loading_code(is_text)


def test_what_was_not_measured_has_no_bar(tmp_path):
    measured = {"params_before": 10, "params_after": None, "macs_before": 0, "macs_after": 0}
    assert pairs(facts(tmp_path, **measured)) == []


@pytest.mark.parametrize("value", [1e-7, 0.0123, 3, 999.96, 57_514, 5.751e4, 1e12, 3e15])
def test_numbers_have_three_digits_and_no_exponent(value):
    text = si(value, "B").replace("\u00a0", " ")
    number, unit = text.split(" ")
    scale = {"G": 1e9, "M": 1e6, "k": 1e3, "": 1, "m": 1e-3, "µ": 1e-6, "n": 1e-9}[unit[:-1]]
    assert float(number) < 1000 or value >= 1e12
    assert "e" not in number and float(number) * scale == pytest.approx(value, rel=5e-3)


def test_a_window_is_called_as_the_page_is():
    page = page_html("<bdi>a &lt;b&gt;</bdi> on <bdi>c</bdi>", "", [])
    assert "<title>a &lt;b&gt; on c</title>" in page

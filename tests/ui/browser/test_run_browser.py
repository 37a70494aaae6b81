"""The browser of runs without a web browser; the real one is in tests/browser/test_runs.py."""

import json
import shutil
import time
from pathlib import Path

import pytest
from made_runs import QUICK, RANKS, being_written, break_some, make_runs

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.plots.overlay import MOST_RUNS, fill_overlay, overlay_figure, plain_text
from pclora_lab.plots.pareto_runs import fill_pareto, pareto_runs_figure
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.reader import Run, list_runs
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.browser.run_browser import RunBrowser
from pclora_lab.ui.browser.table_rows import group_of, table_columns

PLAIN, HTML = "rank6", list(RANKS)[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    make_runs(root)
    break_some(root)
    return root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "runs", symlinks=True)
    return tmp_path / "runs"


@pytest.fixture
def told():
    return {"open": [], "again": []}


@pytest.fixture
def browser(root, told):
    calls = {f"on_{name}": calls.append for name, calls in told.items()}
    return RunBrowser(root, **calls)


def rows(browser):
    return {row["id"]: row for row in browser.table.rows}


def test_every_folder_is_a_row_newest_first(browser):
    found = rows(browser)
    assert {*RANKS, "broken", "other_version", "odd_values", "loop"} == set(found)
    real = [row["id"] for row in browser.table.rows if row["id"] in RANKS]
    assert real == list(reversed(RANKS))
    row, result = found[PLAIN], json.loads((browser.root / PLAIN / "result.json").read_text())
    assert (row["status"], row["method"], row["size"]) == ("finished", "pclora", "rank 6")
    assert (row["schedule"], row["seed"], row["steps"]) == ("sine", 1, 8)
    assert (
        row["accuracy"] == 100 * result["accuracy"]
        and row["params_after"] == result["params_after"]
    )
    assert row["params_removed_whole"] == 100 * result["params_removed_whole"]
    assert (
        row["latency_ms_after"] == result["latency_ms_after"]
        and row["seconds"] == result["seconds"]
    )
    assert row["when"].startswith("2025-06-15")
    assert {column["name"] for column in table_columns()} == set(row) - {"id"}


def test_what_is_broken_says_why(browser):
    found = rows(browser)
    for name, reason in {"broken": "config.json can't be read", "loop": "no run"}.items():
        assert found[name]["status"] == "unreadable" and reason in found[name]["note"]
    browser.table.current = "broken"
    browser.open_button.click()
    assert "broken can&#x27;t be opened: config.json can&#x27;t be read" in browser.message.value


def test_odd_values_stay_empty(browser):
    row = rows(browser)["odd_values"]
    assert (row["status"], row["accuracy"], row["params_after"], row["seed"]) == (
        "finished",
        *[None] * 3,
    )
    assert (row["steps"], row["method"], row["size"]) == (None, None, None)


def test_a_run_whose_method_is_not_installed_is_shown_under_its_name(root, told):
    folder = root / PLAIN
    config = json.loads((folder / "config.json").read_text())
    config["method"]["name"] = "made_up"
    (folder / "config.json").write_text(json.dumps(config))
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "method": "made_up"}))
    browser = RunBrowser(root, **{f"on_{name}": calls.append for name, calls in told.items()})
    row = rows(browser)[PLAIN]
    assert (row["method"], row["status"], row["note"]) == ("made_up", "finished", None)
    assert row["accuracy"] == 100 * result["accuracy"]
    browser.table.current, browser.table.selected = PLAIN, [PLAIN]
    browser.open_button.click()
    browser.overlay_button.click()
    browser.pareto.button.value = True
    assert told["open"][0].folder == folder and browser.message.value == ""
    assert {t.name for t in browser.overlays.chart.figure.data if t.visible} == {PLAIN}
    assert PLAIN in [n for t in browser.pareto.chart.figure.data[1:] for n in t.customdata]
    browser.again_button.click()
    assert "unknown method &#x27;made_up&#x27;" in browser.message.value and told["again"] == []


def test_open_hands_the_run_on(browser, told):
    browser.open_button.click()
    assert "no run is chosen: click a row" in browser.message.value and told["open"] == []
    browser.table.current = PLAIN
    browser.open_button.click()
    browser.table.opened = {"id": "rank2", "n": 1}
    assert [run.folder.name for run in told["open"]] == [PLAIN, "rank2"]
    assert browser.table.current == "rank2" and browser.message.value == ""


def test_a_run_of_another_kernel_appears_with_refresh(browser, root):
    shutil.copytree(root / PLAIN, root / "later")
    assert "later" not in rows(browser)
    browser.refresh_button.click()
    assert "later" in rows(browser)


def test_the_overlay_is_one_figure_that_is_filled_anew(browser):
    assert browser.overlays.widget.layout.display == "none"
    browser.table.selected = [PLAIN, HTML, "odd_values"]
    browser.overlay_button.click()
    figure, name = browser.overlays.chart.figure, plain_text(HTML)
    assert browser.overlays.widget.layout.display == "" and browser.message.value == ""
    drawn = [t for t in figure.data if t.visible and t.x is not None and len(t.x) > 1]
    assert {t.name for t in drawn} == {PLAIN, name} and "<" not in name
    assert len({t.line.color for t in drawn if t.name == name}) == 1
    browser.table.selected = ["rank2"]
    browser.overlay_button.click()
    assert browser.overlays.chart.figure is figure
    assert {t.name for t in figure.data if t.visible} == {"rank2"}
    browser.table.selected = ["broken"]
    browser.overlay_button.click()
    assert "none of the selected runs can be read" in browser.message.value


def test_an_overlaid_run_grows_with_refresh(browser, root):
    browser.table.selected = [PLAIN]
    browser.overlay_button.click()
    lam = browser.overlays.chart.figure.data[1]
    before = len(lam.x)
    with (root / PLAIN / "history.jsonl").open("a") as history:
        history.write('{"phase": "fade", "step": 9, "lam": 0.0}\n')
    browser.refresh()
    assert len(lam.x) == before + 1 and lam.x[-1] == 9


def test_more_runs_than_colors_are_said(made):
    (run,) = [run for run in list_runs(made) if run.folder.name == PLAIN]
    runs = [Run(Path(f"r{i}"), *list(vars(run).values())[1:]) for i in range(MOST_RUNS + 3)]
    figure = overlay_figure(runs)
    assert "first 8 of 11 runs" in figure.layout.title.text
    legend = [t for t in figure.data if t.showlegend and t.visible]
    assert len({t.line.color for t in legend}) == MOST_RUNS
    fill_overlay(figure, runs[:2])
    assert figure.layout.title.text == "" and sum(bool(t.visible) for t in figure.data) == 22


def test_the_pareto_plot_holds_finished_runs_and_opens_them(browser, told):
    assert browser.pareto.widget.layout.display == "none"
    browser.pareto.button.value = True
    figure = browser.pareto.chart.figure
    points = {
        n: (x, y) for t in figure.data[1:] for n, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }
    assert set(points) == set(RANKS)
    found = rows(browser)
    assert all(points[n] == (found[n]["params_after"], found[n]["accuracy"]) for n in RANKS)
    (trace,) = [t for t in figure.data[1:] if t.visible]
    assert trace.name == "PC-LoRA" and plain_text(HTML) in trace.text
    point = list(trace.customdata).index(HTML)
    click = {"event": "click", "curve": figure.data.index(trace), "point": point}
    browser.pareto.chart._handle_custom_msg(click, [])
    assert told["open"][0].folder.name == HTML and browser.table.current == HTML
    browser.pareto.axis.value = "latency"
    assert "latency" in figure.layout.xaxis.title.text
    assert sorted(trace.x) == sorted(found[n]["latency_ms_after"] for n in RANKS)


def made_up(name, params, accuracy, method="pela", **config):
    result = {"method": method, "params_after": params, "accuracy": accuracy}
    config = {"model": "m", "data": "d", **config}
    return Run(Path(name), config, "finished", None, [], result)


def test_the_front_joins_what_nothing_beats_in_both():
    spec = [("a", 100, 0.5), ("b", 200, 0.4), ("c", 300, 0.9), ("d", 300, 0.8), ("e", 0, 1.0)]
    runs = [made_up(*s) for s in spec] + [made_up("f", 400, 0.95, "unheard")]
    figure = fill_pareto(pareto_runs_figure(), runs)
    assert list(zip(figure.data[0].x, figure.data[0].y, strict=True)) == [
        (100, 50),
        (300, 90),
        (400, 95),
    ]
    assert figure.data[-1].customdata == ("f",) and figure.data[-1].name == "another method"


def test_only_comparable_runs_share_a_plot(browser):
    assert browser.pareto.group.options == ("vit_digits on digits",)
    browser.pareto.button.value = True
    browser.pareto.show([made_up("a", 1, 0.9), made_up("b", 2, 0.8, data="x")])
    assert browser.pareto.group.options == ("m on d", "m on x")
    browser.pareto.group.value = "m on x"
    browser.pareto.show([made_up("c", 1, 0.9), made_up("b", 2, 0.8, data="x")])
    assert browser.pareto.group.value == "m on x"
    shown = [name for trace in browser.pareto.chart.figure.data[1:] for name in trace.customdata]
    assert shown == ["b"]
    assert group_of(made_up("a", 1, 1, data="x", report_on="validation")) == "m on x (validation)"


def test_rename_keeps_choice_and_selection(browser, root):
    browser.table.selected, browser.table.current = ["rank2", PLAIN], PLAIN
    browser.overlay_button.click()
    assert browser.changes.new_name.value == PLAIN
    browser.changes.new_name.value = "<i>best"
    browser.changes.rename_button.click()
    assert (root / "<i>best" / "history.jsonl").is_file() and not (root / PLAIN).exists()
    assert browser.table.current == "<i>best" and browser.table.selected == ["rank2", "<i>best"]
    assert "is now &lt;i&gt;best" in browser.message.value
    names = {t.name for t in browser.overlays.chart.figure.data if t.visible}
    assert names == {"rank2", "&lt;i&gt;best"}
    browser.changes.new_name.value = "rank2"
    browser.changes.rename_button.click()
    assert "&#x27;rank2&#x27; is taken" in browser.message.value


def test_delete_asks_first_and_no_keeps_all(browser, root):
    browser.table.selected = ["rank2", HTML]
    browser.changes.delete_button.click()
    assert "Delete 2 runs? rank2, &lt;b&gt;" in browser.changes.question.value
    assert browser.changes.question_box.layout.display == ""
    browser.changes.no_button.click()
    browser.changes.yes_button.click()
    assert (root / "rank2").is_dir() and (root / HTML).is_dir()
    browser.overlay_button.click()
    browser.changes.delete_button.click()
    browser.changes.yes_button.click()
    assert browser.overlays.widget.layout.display == "none", "an empty figure"
    assert not (root / "rank2").exists() and not (root / HTML).exists()
    assert set(RANKS) & set(rows(browser)) == {PLAIN} and browser.table.selected == []


def test_another_selection_takes_the_question_back(browser, root):
    browser.table.selected = ["rank2"]
    browser.changes.delete_button.click()
    browser.table.selected = [PLAIN]
    assert browser.changes.question_box.layout.display == "none"
    browser.changes.yes_button.click()
    assert (root / "rank2").is_dir() and (root / PLAIN).is_dir()


def test_what_is_no_run_folder_is_not_deleted_and_does_not_keep_the_others(browser, root):
    (root / "mine").mkdir()
    (root / "mine" / "thesis.txt").write_text("years")
    browser.refresh()
    browser.table.selected = ["mine", "loop", "rank2"]
    browser.changes.delete_button.click()
    browser.changes.yes_button.click()
    assert (root / "mine" / "thesis.txt").is_file() and not (root / "rank2").exists()
    assert "no run in" in browser.message.value


@pytest.mark.parametrize("name", ["now", "rank2"])
def test_a_run_that_trains_is_neither_renamed_nor_deleted(root, name):
    folder = new_run_folder(root, RunConfig(**QUICK), name="now")
    browser = RunBrowser(root, busy=lambda folder: folder.name == "rank2")
    browser.table.current = name
    browser.changes.new_name.value = "other"
    with being_written(folder):
        browser.changes.rename_button.click()
        assert f"{name} is being written and can&#x27;t be renamed" in browser.message.value
        browser.changes.delete_button.click()
        assert f"{name} is being written and can&#x27;t be deleted" in browser.message.value
    assert browser.changes.question_box.layout.display == "none" and (root / name).is_dir()


def test_the_same_settings_again(browser, told):
    browser.table.current = PLAIN
    browser.again_button.click()
    method = PCLoRAConfig(rank=6, init="svd")
    # With the precision that auto stood for: the same settings give the same numbers anywhere.
    assert told["again"] == [RunConfig(method=method, seed=1, precision="float32", **QUICK)]
    for name, reason in (("other_version", "RunConfig has no quantum"), ("odd_values", "settings")):
        browser.table.current = name
        browser.again_button.click()
        assert (
            "are not of this version" in browser.message.value and reason in browser.message.value
        )
    assert len(told["again"]) == 1


def test_the_same_settings_again_keep_the_moves_that_were_still_to_come(root, told, browser):
    config = RunConfig(**{**QUICK, "steps": 300}, overrides=((50, 0.5), (200, None)))
    folder = new_run_folder(root, config, name="stopped early")
    row = {"phase": "fade", "step": 100, "overrides": [[50, 0.5]]}
    (folder / "history.jsonl").write_text(json.dumps(row) + "\n")
    browser.refresh()
    browser.table.current = "stopped early"
    browser.again_button.click()
    assert told["again"][-1].overrides == ((50, 0.5), (200, None))


def test_without_a_listener_there_is_no_button(root):
    browser = RunBrowser(root)
    assert browser.open_button.layout.display == browser.again_button.layout.display == "none"
    browser.table.opened = {"id": PLAIN, "n": 1}
    assert browser.table.current == PLAIN and browser.message.value == ""


def test_a_folder_that_is_not_there_yet_is_an_empty_table(tmp_path):
    browser = RunBrowser(tmp_path / "none")
    assert browser.table.rows == [] and browser.message.value == ""


def test_a_hundred_known_runs_are_refreshed_in_a_tenth_of_a_second(root):
    for i in range(100):
        shutil.copytree(
            root / PLAIN, root / f"copy{i}", ignore=shutil.ignore_patterns("compressed")
        )
    browser, times = RunBrowser(root), []
    for _ in range(5):
        began = time.perf_counter()
        browser.refresh()
        times.append(time.perf_counter() - began)
    assert sorted(times)[2] < 0.1

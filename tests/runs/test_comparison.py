"""A comparison: the whole grid, resumed, refused, and with a method that fails in the middle."""

import dataclasses
import json

import pandas as pd
import pytest

from pclora_lab.cli.main import main
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.pareto import pareto_figure
from pclora_lab.runs.comparison import Comparison, compare, summarize
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.training.config import RunConfig

BASE = RunConfig(steps=3, evaluations=1, eval_images=40, device="cpu")
GRID = {"methods": ("pclora", "svd", "full"), "budgets": (0.1, 0.2), "seeds": (0, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    compare(BASE, **GRID, out=out)
    return out


def rows_of(out, **grid):
    comparison = Comparison(BASE, **{**GRID, **grid}, out=out)
    steps = list(comparison.run())
    return comparison, steps, comparison.rows()


def test_there_is_a_row_for_every_method_budget_and_seed(folder):
    _, _, rows = rows_of(folder)
    assert [(r["method"], r["budget"], r["seed"]) for r in rows] == [
        (m, b, s) for m in GRID["methods"] for b in GRID["budgets"] for s in GRID["seeds"]
    ]
    assert all(row["error"] is None and 0 <= row["accuracy"] <= 1 for row in rows)
    needed = ("params_after", "bytes_on_disk", "macs_after", "latency_ms_after")
    needed += ("seconds", "peak_memory_mb")
    assert all(row[key] > 0 for row in rows for key in needed)
    assert {(row["method"], row["uses_budget"]) for row in rows} == {
        ("pclora", True), ("svd", True), ("full", False)
    }  # fmt: skip


def test_a_budget_changes_the_size_and_full_stays_as_it_is(folder):
    _, _, rows = rows_of(folder)
    sizes = {(r["method"], r["budget"]): r["params_after"] for r in rows}
    assert sizes["pclora", 0.1] < sizes["pclora", 0.2] < sizes["full", 0.1]
    assert sizes["full", 0.1] == sizes["full", 0.2] == 450_730
    assert sizes["svd", 0.1] == sizes["pclora", 0.1]


def test_finished_cells_are_not_run_again(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/result.json")}
    comparison, steps, _ = rows_of(folder)
    after = {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/result.json")}
    assert before == after and steps[-1].done == steps[-1].total
    # 2 trials and 4 runs of PC-LoRA, 2 cuts (they draw nothing), 2 trials and 2 runs of full.
    further = len(comparison.tuning) - 4
    assert len(after) == 2 + 4 + 2 + 2 + 2 + further


def test_a_deleted_cell_is_run_again_and_gives_the_same(folder):
    cell = folder / "cells" / "pclora-b0.1-s1"
    accuracy = json.loads((cell / "result.json").read_text())["accuracy"]
    (cell / "result.json").unlink()
    (cell / "status.json").write_text('{"status": "running", "pid": 1, "error": null}')
    rows_of(folder)
    assert json.loads((cell / "result.json").read_text())["accuracy"] == accuracy


def test_the_learning_rate_is_chosen_on_validation_data_only(folder):
    comparison, _, rows = rows_of(folder)
    tried = [t for t in comparison.tuning if t["method"] == "pclora"]
    assert [t["lr"] for t in tried][:2] == list(METHODS["pclora"].lr_grid)
    best = max(tried, key=lambda t: t["validation_accuracy"])
    assert {r["lr"] for r in rows if r["method"] == "pclora"} == {best["lr"]}
    for path in folder.glob("cells/*validation/result.json"):
        assert json.loads(path.read_text())["report_on"] == "validation"


@pytest.mark.parametrize(
    ("scores", "further"),
    [
        ({2e-3: 0.5, 5e-3: 0.6}, 1e-2),
        ({2e-3: 0.5, 5e-3: 0.4}, 1e-3),
        ({2e-3: 0.5, 5e-3: 0.6, 1e-2: 0.55}, None),
        ({2e-3: 0.5, 5e-3: 0.6, 1e-2: 0.7, 2e-2: 0.8, 4e-2: 0.9}, None),  # the limit
        ({2e-3: 0.5, 5e-3: 0.6, 1e-2: None}, None),  # failed
    ],
)
def test_the_search_goes_on_while_the_best_is_at_the_edge(tmp_path, scores, further):
    search = LRSearch(tmp_path, None)
    for lr, score in scores.items():
        facts = {"method": "pclora", "lr": lr, "validation_accuracy": score}
        search.note({**facts, "error": None if score else "diverged"})
    assert search.further("pclora") == further


def test_given_learning_rates_are_the_only_ones(tmp_path):
    grid = {"methods": ("full",), "budgets": (0.1,), "seeds": (0,), "lrs": (1e-4, 3e-4)}
    comparison = Comparison(BASE, **grid, out=tmp_path)
    list(comparison.run())
    assert [t["lr"] for t in comparison.tuning] == [1e-4, 3e-4]


def test_a_run_at_another_learning_rate_is_not_taken_for_this_one(folder):
    path = folder / "cells" / "full-s0" / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "lr": 123.0}))
    rows_of(folder)
    assert json.loads(path.read_text())["lr"] == result["lr"]


def test_more_seeds_can_be_added_later(folder):
    _, _, rows = rows_of(folder, methods=("svd", "activation_svd"), seeds=(0, 1, 2))
    assert len(rows) == 2 * 2 * 3 and not any(row["error"] for row in rows)


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (dataclasses.replace(BASE, steps=4), None, "differs in steps"),
        (BASE, {"pclora": PCLoRAConfig(init="zeros")}, "differs in pclora"),
    ],
)
def test_a_folder_of_another_configuration_is_refused(folder, base, options, message):
    with pytest.raises(ValueError, match=f"{message}.*choose another folder"):
        Comparison(base, **GRID, out=folder, options=options)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"methods": ("magic",)}, "unknown method 'magic'"),
        ({"methods": ()}, "name at least one"),
        ({"seeds": (0, 0)}, "each once"),
        ({"budgets": (1.5,)}, "budget is 1.5: it must be a number in"),
        ({"budgets": (0,)}, "budget is 0: it must be a number in"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_runs(tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        Comparison(BASE, **{**GRID, **grid}, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_method_that_fails_is_a_row_and_the_rest_goes_on(tmp_path, monkeypatch):
    def broken(self, model, context):
        raise RuntimeError("out of <memory>")

    monkeypatch.setattr(METHODS["activation_svd"], "apply", broken)
    grid = {"methods": ("activation_svd", "svd"), "budgets": (0.1,), "seeds": (0,)}
    failed, cut = compare(BASE, **grid, out=tmp_path).to_dict("records")
    assert failed["error"] == "RuntimeError: out of <memory>" and failed["accuracy"] != 0
    assert pd.isna(cut["error"]) and cut["accuracy"] > 0
    monkeypatch.undo()
    again = compare(BASE, **grid, out=tmp_path).to_dict("records")
    assert all(pd.isna(row["error"]) for row in again)


def test_a_budget_too_small_is_a_row_that_says_the_smallest(tmp_path):
    grid = {"methods": ("svd",), "budgets": (0.001,), "seeds": (0,), "out": tmp_path}
    (row,) = compare(BASE, **grid).to_dict("records")
    assert "smallest possible" in row["error"]


def test_the_summary_is_mean_and_standard_deviation(folder):
    _, _, rows = rows_of(folder)
    table = summarize(rows).set_index(["method", "budget"])
    values = [r["accuracy"] for r in rows if (r["method"], r["budget"]) == ("pclora", 0.1)]
    mean = sum(values) / 2
    spread = (sum((v - mean) ** 2 for v in values)) ** 0.5
    assert table.loc[("pclora", 0.1), "accuracy_mean"] == pytest.approx(mean)
    assert table.loc[("pclora", 0.1), "accuracy_std"] == pytest.approx(spread)


def test_the_summary_keeps_the_order_that_was_asked_for():
    """The methods and budgets of a command stand in its table as they were typed."""
    cells = [("svd", 0.2), ("svd", 0.1), ("pclora", 0.2), ("lora", 0.1)]
    rows = [
        {"method": method, "budget": budget, "seed": seed, "accuracy": 0.5, "params_after": 1}
        for method, budget in cells
        for seed in (0, 1)
    ]
    table = summarize(rows)
    assert list(zip(table["method"], table["budget"], strict=True)) == cells


def test_the_figure_has_every_method_and_the_front_only_rises(folder):
    _, _, rows = rows_of(folder)
    left, right = pareto_figure(rows).axes[:2]
    names = {text.get_text() for text in left.figure.legends[0].get_texts()}
    assert names == {"PC-LoRA", "SVD", "full fine-tuning"}
    front = left.get_lines()[-2].get_ydata() if len(left.get_lines()) > 1 else [0]
    assert list(front) == sorted(front)


def test_the_command_ends_with_a_list_of_rows(tmp_path, capsys):
    flags = ["--methods", "svd,lora", "--budgets", "0.1", "--seeds", "0", "--steps", "2"]
    flags += ["--device", "cpu", "--set", "lora.alpha=8", "--lrs", "1e-3"]
    assert main(["compare", *flags, "--out", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)  # nothing else is on stdout
    assert "svd " in said.err and "comparison in" in said.err
    assert [row["method"] for row in rows] == ["svd", "lora"]
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["rows"] == rows and record["methods"]["lora"]["alpha"] == 8.0
    assert (tmp_path / "out" / "pareto.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--budgets", "much"], "no list of numbers"),
        (["--set", "pclora"], "is not METHOD.OPTION=VALUE"),
        (["--set", "pclora.color=red"], "has no option 'color'"),
        (["--device", "gpu"], "unknown device"),
    ],
)
def test_bad_flags_are_named(tmp_path, capsys, flags, message):
    assert main(["compare", *flags, "--out", str(tmp_path), "--json"]) == 2
    assert message in capsys.readouterr().err


def test_a_trial_that_fails_is_not_tried_for_ever(tmp_path, monkeypatch):
    apply = METHODS["full"].apply

    def limited(self, model, context):
        if tmp_path.joinpath("cells", "full-s0-lr0.0004-validation").is_dir():
            raise RuntimeError("diverged")
        return apply(self, model, context)

    monkeypatch.setattr(METHODS["full"], "apply", limited)
    monkeypatch.setattr(METHODS["full"], "lr_grid", (1e-4, 2e-4))
    comparison = Comparison(BASE, methods=("full",), budgets=(0.1,), seeds=(0,), out=tmp_path)
    tried = iter((0.1, 0.2))
    result = comparison._results.result
    monkeypatch.setattr(
        comparison._results,
        "result",
        lambda cell: (r := result(cell)) and {**r, "accuracy": next(tried, 0.3)},
    )
    list(comparison.run())
    assert [t["lr"] for t in comparison.tuning] == [1e-4, 2e-4, 4e-4]
    assert comparison.tuning[-1]["error"] == "RuntimeError: diverged"


def test_another_budget_leaves_what_is_finished(tmp_path):
    grid = {"methods": ("pclora",), "seeds": (0,), "lrs": (2e-3, 5e-3), "out": tmp_path}
    first = Comparison(BASE, **grid, budgets=(0.1,))
    list(first.run())
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("cells/*/result.json")}
    second = Comparison(BASE, **grid, budgets=(0.1, 0.2))
    assert [row["error"] for row in second.rows()][0] is None  # known before anything is run
    list(second.run())
    after = {p: p.stat().st_mtime_ns for p in tmp_path.glob("cells/*/result.json")}
    assert set(after) - set(before) == {tmp_path / "cells" / "pclora-b0.2-s0" / "result.json"}
    assert all(after[path] == before[path] for path in before)
    assert len(second.tuning) == 2 and second.tuning == first.tuning


def test_a_mistake_does_not_claim_the_folder(tmp_path):
    with pytest.raises(ValueError, match="lr"):
        Comparison(BASE, **GRID, out=tmp_path / "new", lrs=(0.0,))
    assert not (tmp_path / "new").exists()
    wrong = dataclasses.replace(BASE, data="digitz")
    rows = compare(wrong, **{**GRID, "methods": ("svd",)}, out=tmp_path).to_dict("records")
    assert all("digitz" in row["error"] for row in rows)
    rows = compare(BASE, **{**GRID, "methods": ("svd",)}, out=tmp_path).to_dict("records")
    assert all(pd.isna(row["error"]) for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pela": METHODS["pela"].Config()}, "'pela', which is not compared"),
        ({"svd": METHODS["pela"].Config()}, "options for 'svd' are of 'pela'"),
    ],
)
def test_options_that_belong_to_no_method_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        Comparison(BASE, **GRID, out=tmp_path, options=options)


def test_a_folder_of_an_older_version_that_knew_fewer_settings_is_taken_up_again(tmp_path):
    base, grid = RunConfig(steps=2, evaluations=1), {"methods": ("svd",), "budgets": (0.2,)}
    Comparison(base, **grid, out=tmp_path)
    path = tmp_path / "comparison.json"
    known = json.loads(path.read_text())
    del known["base"]["split_qkv"], known["methods"]["svd"]["embeddings"]
    path.write_text(json.dumps(known))
    (tmp_path / "cells" / "x").mkdir(parents=True)
    (tmp_path / "cells" / "x" / "result.json").write_text("{}")
    Comparison(base, **grid, out=tmp_path)
    with pytest.raises(ValueError, match="differs in split_qkv"):
        Comparison(RunConfig(steps=2, evaluations=1, split_qkv=True), **grid, out=tmp_path)


def test_a_method_that_is_not_installed_stays_in_the_folder(tmp_path):
    grid = {"methods": ("svd",), "budgets": (0.2,), "seeds": (0,), "out": tmp_path}
    Comparison(BASE, **grid)
    path = tmp_path / "comparison.json"
    known = json.loads(path.read_text())
    known["methods"]["of_somebody_else"] = {"name": "of_somebody_else", "power": 3}
    path.write_text(json.dumps(known))
    Comparison(BASE, **grid)
    assert json.loads(path.read_text()) == known


@pytest.mark.parametrize("left", [(), ("config.json.0a.part",)])
def test_a_cell_whose_process_was_killed_at_once_is_run(tmp_path, left):
    grid = Comparison(BASE, methods=["svd"], budgets=[0.3], seeds=[0], out=tmp_path)
    (cell,) = grid.cells("svd")
    folder = tmp_path / "cells" / cell.name
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).write_text("{")
    list(grid.run())
    assert [row["error"] for row in grid.rows()] == [None]
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [cell.name]

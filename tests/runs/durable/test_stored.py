"""A file of a run or a comparison is believed as it was written, or named and made again."""

import json
import math
import os

import pytest
import torch

from pclora_lab.files import load_published_result
from pclora_lab.json_files import write_json
from pclora_lab.plots.curves import curves
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.layers import layer_grid
from pclora_lab.runs.checkpoints import load_checkpoint, save_checkpoint
from pclora_lab.runs.comparison import cells
from pclora_lab.runs.comparison.comparison import Comparison
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.runs.durable.stored import believed_row, read_result
from pclora_lab.runs.estimates.accuracy import rank_points
from pclora_lab.runs.folder import delete_run, is_being_written, new_run_folder
from pclora_lab.runs.reader import Run, UnreadableRun, load_run, scan_runs
from pclora_lab.runs.resuming import can_resume, read_resumption
from pclora_lab.runs.summary import result_lines
from pclora_lab.training.config import RunConfig
from pclora_lab.training.state import Checkpoint

CONFIG = RunConfig(steps=3, evaluations=1, eval_images=40, device="cpu")
RESULT = {
    "method": "pclora", "accuracy": 0.5, "accuracy_if_base_removed": 0.5, "teacher_accuracy": 0.9,
    "max_logit_difference": 0.0, "params_before": 9, "params_after": 5, "params_trained": 4,
    "params_removed_replaced": 0.5, "params_removed_whole": 0.4, "macs_before": 9, "macs_after": 5,
    "macs_removed_whole": 0.4, "bytes_before": 36, "bytes_after": 20, "latency_ms_before": 1.0,
    "latency_ms_after": 0.5, "device": "cpu", "precision": "float32", "peak_memory_mb": 10.0,
    "seed": 0, "lr": 0.005, "steps": 3, "seconds": 1.0, "report_on": "test", "input": "image",
    "class_names": ["a", "b"], "notes": [], "probe_percent": 0.0, "overrides": [],
    "account": None, "run_dir": "runs/one", "bytes_on_disk": 30,
    "accuracy_examples": 2, "hardware": "a CPU, 2 cores",
}  # fmt: skip
ODD = ["many", True, [1], {"a": 1}, -1, 1e400, math.nan, "1", [None], {"a": []}]
BROKEN = {
    "cut": b'{"accuracy": 0.5, "par', "empty": b"", "list": b"[]", "null": b"null", "number": b"3",
    "deep": b"[" * 100_000, "bytes": b"\xff\xfe\x00\x80", "digits": b'{"lr": ' + b"9" * 5000 + b"}",
}  # fmt: skip
SOME = ("cut", "deep", "folder")


def spoil(path, kind):
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(BROKEN[kind])


def finished(root, name="one", **changes):
    folder = new_run_folder(root, CONFIG, name=name)
    (folder / "result.json").write_text(json.dumps({**RESULT, **changes}))
    write_json(folder / "status.json", {"status": "finished", "error": None})
    return folder


@pytest.mark.parametrize("name", [*RESULT, *("remarks", "moves")])
def test_a_result_of_another_type_is_named_and_no_estimate_rests_on_it(tmp_path, name):
    folder = finished(tmp_path)
    assert len(rank_points(tmp_path, CONFIG)) == 1 and read_result(folder) == RESULT
    refused = 0
    for odd in ODD:
        (folder / "result.json").write_text(json.dumps({**RESULT, name: odd}))
        (entry,) = scan_runs(tmp_path)
        if isinstance(entry, Run):  # which it can be
            assert all(isinstance(value, str) for _, value in result_lines(entry.result))
            continue
        refused += 1
        shown = {"remarks": "notes", "moves": "overrides"}.get(name, name)
        assert entry.reason.startswith(f"result.json: {shown}") and "must be" in entry.reason
        with pytest.raises(ValueError, match=rf"result\.json: {shown}"):
            load_run(folder)
        assert rank_points(tmp_path, CONFIG) == ()
    assert refused >= 5


@pytest.mark.parametrize("name", RESULT)
def test_a_result_of_a_version_that_did_not_measure_it_is_shown(tmp_path, name):
    folder = finished(tmp_path)
    for values in (
        {key: value for key, value in RESULT.items() if key != name},
        {**RESULT, name: None},
    ):
        write_json(folder / "result.json", values)
        assert all(isinstance(value, str) for _, value in result_lines(load_run(folder).result))


@pytest.mark.parametrize("kind", [*BROKEN, "folder", "pipe"])
@pytest.mark.parametrize("file", ["result.json", "config.json", "status.json"])
def test_a_run_whose_file_is_broken_is_listed_with_its_reason(tmp_path, file, kind):
    folder = finished(tmp_path)
    spoil(folder / file, kind)
    (entry,) = scan_runs(tmp_path)
    is_none = kind in ("folder", "pipe") and file != "config.json"
    if is_none:
        assert isinstance(entry, Run) and (entry.result is None or file == "status.json")
    elif kind != "digits":  # which are infinite: not measured
        assert isinstance(entry, UnreadableRun) and "json" in entry.reason
    assert not is_being_written(folder) and rank_points(tmp_path, CONFIG) == ()
    assert can_resume(folder) in (True, False)
    for read in (load_run, read_resumption):
        if not is_none and kind != "digits":
            with pytest.raises((ValueError, FileNotFoundError)):
                read(folder)
    delete_run(folder)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["status", "error", "time", "pid", "host", "boot", "started"])
def test_any_status_is_one_or_is_named(tmp_path, name):
    folder = new_run_folder(tmp_path, CONFIG, name="one")
    kept = json.loads((folder / "status.json").read_text())
    for odd in [*ODD, None, ""]:
        (folder / "status.json").write_text(json.dumps({**kept, name: odd}))
        (entry,) = scan_runs(tmp_path)
        assert isinstance(entry, Run) or "status.json says" in entry.reason
        assert is_being_written(folder) in (True, False)
        assert can_resume(folder) in (True, False)


ROW = {
    "phase": "fade", "step": 2, "lam": 0.5, "loss": 1.0, "accuracy": 0.5, "base_held": True,
    "layer_mse": {"fc": 0.5}, "overrides": [],
}  # fmt: skip


@pytest.mark.parametrize("name", [*ROW, "steps"])
def test_a_row_is_drawn_as_far_as_it_can_be_believed(tmp_path, name):
    folder = new_run_folder(tmp_path, CONFIG, name="one")
    odd = [{**ROW, name: value} for value in [*ODD, None, "", "teacher"]]
    rows = [ROW, *odd, {k: v for k, v in ROW.items() if k != name}]
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_run(folder).rows
    assert found[0] == ROW and len(found) >= 2
    assert json.dumps(found, allow_nan=False)
    assert len(curves(found)) and len(layer_grid(found, "layer_mse")[1])


def test_rows_of_any_kind_make_a_figure():
    history_figure([{}, {"step": 1}, {"phase": "teacher", "step": 2}, {**ROW, "loss": "a"}, ROW])


def test_a_row_that_is_none_is_left_out():
    assert believed_row([1]) is None and believed_row({"step": -1}) is None
    assert believed_row({"layer_mse": {"a": "b"}, "layer_cka": 3, "new": [1]}) == {"new": [1]}


@pytest.mark.parametrize("name", ["step", "fingerprint", "overrides", "base_dropped", "evaluated",
                                  "seconds", "probe_seconds", "identity"])  # fmt: skip
@pytest.mark.parametrize("odd", [*ODD, None, "missing"], ids=repr)
def test_the_facts_of_a_checkpoint_are_what_they_were_or_refused(tmp_path, name, odd):
    facts = {"step": 1, "fingerprint": "f", "overrides": (), "base_dropped": False,
             "evaluated": 0, "seconds": 1.0, "probe_seconds": 0.0, "identity": None}  # fmt: skip
    checkpoint = Checkpoint(**facts, tensors={"trained/A": torch.ones(2)})
    save_checkpoint(tmp_path, checkpoint)
    assert vars(load_checkpoint(tmp_path))["step"] == 1
    (tmp_path / "checkpoint.safetensors").unlink()
    object.__setattr__(checkpoint, name, odd)
    try:
        save_checkpoint(tmp_path, checkpoint)
    except (ValueError, AttributeError):  # JSON has no NaN, and an identity is one
        return
    try:
        found = getattr(load_checkpoint(tmp_path), name)
    except ValueError as error:
        assert "the checkpoint of" in str(error)
    else:
        assert found == odd or (name == "identity" and not odd) or math.isinf(odd)


# Of comparisons.


@pytest.fixture
def made(monkeypatch):
    """Cells are not trained: each leaves a result."""
    ran = []

    def execute(config, root, *, name, teachers, cache):
        folder = new_run_folder(root, config, name=name)
        ran.append(name)
        write_json(folder / "result.json", {**RESULT, "method": config.method.name,
                                            "lr": config.lr})  # fmt: skip
        write_json(folder / "status.json", {"status": "finished", "error": None})
        yield from ()

    monkeypatch.setattr(cells, "execute", execute)
    return ran


GRID = {"methods": ("full", "svd"), "budgets": (0.1,), "seeds": (0,)}


def compared(out, **more):
    comparison = Comparison(CONFIG, **{**GRID, **more}, out=out)
    list(comparison.run())
    return comparison.rows()


@pytest.mark.parametrize("kind", [*SOME, "pipe", "loop", "accuracy", "lr", "nan"])
def test_a_cell_whose_result_is_broken_is_said_once_and_run_again(tmp_path, made, recwarn, kind):
    before = compared(tmp_path)
    path = tmp_path / "cells" / "svd-b0.1-s0" / "result.json"
    if kind in ("accuracy", "lr", "nan"):
        odd = {"nan": ("accuracy", math.nan), "lr": ("lr", []), "accuracy": ("accuracy", "0.9")}
        path.write_text(json.dumps({**RESULT, odd[kind][0]: odd[kind][1]}))
    else:
        spoil(path, kind)
    unread = Comparison(CONFIG, **GRID, out=tmp_path).rows()[1]
    is_none = kind in ("loop", "folder", "pipe", "nan")
    assert unread["error"].startswith("its result" if is_none else "not run yet")
    made.clear()
    assert compared(tmp_path) == before and made == ["svd-b0.1-s0"]
    said = [str(w.message) for w in recwarn if "svd-b0.1-s0" in str(w.message)]
    assert bool(said) == (not is_none or kind == "nan")
    assert all("It is run again" in text for text in said)


@pytest.mark.parametrize("kind", [*SOME, 'lr="fast"', "lr=0.7", "lr=NaN",
                                  'tried="none"', 'tried=[{"lr": 1}]', "tried=[3]"])  # fmt: skip
def test_a_choice_that_is_broken_is_said_and_made_again(tmp_path, made, recwarn, kind):
    before = compared(tmp_path)
    path = tmp_path / "tuning" / "full.json"
    kept = json.loads(path.read_text())
    if "=" in kind:
        name, value = kind.split("=", 1)
        path.write_text(json.dumps({**kept, name: json.loads(value)}))
    else:
        spoil(path, kind)
    assert compared(tmp_path) == before
    said = [str(w.message) for w in recwarn]
    assert sum("It is made again" in text for text in said) == 1
    assert sum("can't be kept" in text for text in said) == (kind in ("folder",))
    if kind != "folder":
        assert json.loads(path.read_text()) == kept
        search = LRSearch(tmp_path / "tuning", None)
        search.recall("full")
        assert search.chosen == {"full": kept["lr"]}


@pytest.mark.parametrize("kind", [*SOME, "fields"])
@pytest.mark.parametrize("begun", [True, False])
def test_what_a_comparison_compares_is_written_again_or_asked_for(
    tmp_path, made, recwarn, kind, begun
):
    if begun:
        compared(tmp_path)
    path = tmp_path / "comparison.json"
    if kind == "fields":
        path.write_text(json.dumps({"base": [], "methods": {"full": 3}}))
    else:
        spoil(path, kind)
    refused = begun or kind in ("folder", "pipe", "fields", "digits")
    if refused:
        with pytest.raises(ValueError, match="can't be gone on with.*Choose another folder"):
            compared(tmp_path)
    else:
        assert len(compared(tmp_path)) == 2
        assert any("It is written again" in str(w.message) for w in recwarn)


@pytest.mark.parametrize("name", ["../../pyproject", "starts", "", "a\0b"])
def test_a_record_that_is_none_is_named(name):
    with pytest.raises((FileNotFoundError, ValueError), match="no record|null byte"):
        load_published_result(name)

"""What others may read names no place on this machine."""

import json
import shutil
from pathlib import Path

import pytest

from pclora_lab import load_data, load_model, load_run, resume, save_pretrained
from pclora_lab.cli.main import main
from pclora_lab.export import push_to_hub
from pclora_lab.plots.report import write_report
from pclora_lab.runs.comparison import Comparison
from pclora_lab.training.config import RunConfig, read_config

QUICK = ["--steps", "3", "--evaluations", "1", "--eval-images", "16", "--batch-size", "16"]
QUICK += ["--device", "cpu", "--teacher", "finetune", "--teacher-steps", "2"]
# Of each run; it says where data and model are, so that the run is taken up from anywhere.
OWN = "config.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, a comparison, a report and an export; data, model and results lie in odd places."""
    root = tmp_path_factory.mktemp("root")
    home, secret = root / "HOMEMARK", root / "MARKER" / "SECRET"
    digits = load_data("digits").train
    for number in range(80):
        folder = secret / "pictures" / str(digits.labels[number])
        folder.mkdir(parents=True, exist_ok=True)
        digits.examples[number].save(folder / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.chdir(root)
        save_pretrained(load_model("vit_digits"), home / "SECRET" / "net")
        given = ["--data", "MARKER/SECRET/pictures", "--model", "HOMEMARK/SECRET/net", *QUICK]
        out = ["--out", str(secret / "runs")]
        commands = [
            ["train", *given, "--rank", "4", "--snapshots", "2", *out],
            ["compare", *given, "--methods", "lora", "--budgets", "0.2", "--seeds", "0",
             "--lrs", "1e-3,1e30", "--out", str(secret / "cmp")],
            ["export", str(secret / "runs" / "net-pictures-r4-sine-activation_svd-s0"),
             "--out", str(secret / "exported")],
        ]  # fmt: skip
        for command in commands:
            patch.setattr("sys.argv", ["pclora-lab", *command])
            assert main(command) == 0
        (run,) = (path.parent for path in (secret / "runs").glob("*/result.json"))
        write_report(run)
        yield run


def test_only_the_config_of_a_run_says_where_data_and_model_are(place):
    root = place.parents[3]
    files = [path for path in root.rglob("*") if path.is_file() and "net" not in path.parts]
    written = [path for path in files if "pictures" not in path.parts]
    kinds = {path.name for path in written}
    expected = {"result.json", "comparison.json", "report.html", "README.md", "lora.json"}
    assert expected | {"load.py", "history.jsonl", "model.safetensors"} <= kinds
    marks = [b"MARKER", b"SECRET", b"HOMEMARK", root.name.encode(), b"~/"]
    for path in written:
        if path.name == OWN and (path.parent / "status.json").is_file():
            continue
        data = path.read_bytes()
        # Any two bytes may follow each other in weights and pictures.
        is_binary = path.suffix in (".safetensors", ".png")
        found = [mark for mark in marks if mark in data and not (is_binary and len(mark) == 2)]
        assert not found, (path.relative_to(root), found)


def test_a_result_is_read_with_the_place_it_is_at_now(place, tmp_path):
    assert load_run(place).result["run_dir"].endswith(place.name)
    moved = shutil.copytree(place, tmp_path / "moved")
    assert load_run(moved).result["run_dir"] == str(moved)
    assert read_config(place).data.endswith("MARKER/SECRET/pictures")


def test_a_comparison_still_knows_one_place_from_another(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place.parents[3] / "HOMEMARK"))
    out = place.parents[1] / "cmp"
    base = read_config(next((out / "cells").iterdir()))
    grid = {"methods": ["lora"], "budgets": [0.2], "seeds": [0], "out": out, "lrs": [1e-3, 1e30]}
    facts = json.loads((out / "comparison.json").read_text())
    same = {name: facts["base"][name] for name in ("layer_metrics", "snapshots")}
    known = RunConfig.from_dict({**base.to_dict(), **same})
    Comparison(known, **grid)
    shutil.copytree(place.parents[1] / "pictures", out.parent / "other" / "pictures")
    moved = {**known.to_dict(), "data": str(out.parent / "other" / "pictures")}
    with pytest.raises(ValueError, match="it differs in data"):
        Comparison(RunConfig.from_dict(moved), **grid)
    # As an older version wrote it.
    facts["base"] |= {"data": known.data, "model": known.model}
    (out / "comparison.json").write_text(json.dumps(facts))
    Comparison(known, **grid)
    shutil.rmtree(out.parent / "other")


def test_a_run_folder_is_not_pushed(place):
    (place / "README.md").write_text("# mine")
    with pytest.raises(ValueError, match="run folder.*export the run first"):
        push_to_hub(place, "me/model")


def test_a_run_is_taken_up_from_another_folder(place, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(place.parents[3] / "HOMEMARK"))
    again = shutil.copytree(place, place.with_name("again"))
    for name in ("result.json", "status.json"):
        (again / name).unlink()
    monkeypatch.chdir(tmp_path)
    *_, end = resume(again)
    assert Path(end.result["run_dir"]) == again
    shutil.rmtree(again)

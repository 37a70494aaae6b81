"""The command line as a person and as a machine use it."""

import json
import subprocess
import sys

import pytest
from waiting import until

from pclora_lab.cli.main import main
from pclora_lab.runs.reader import list_runs


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_plan_needs_no_weights_and_gives_the_published_counts(capsys):
    assert main(["plan", "vit_base_patch16_224", "--rank", "32", "--json"]) == 0
    answer = last_json(capsys)
    keys = {
        f"{what}_{when}" for what in ("params", "macs", "bytes") for when in ("before", "after")
    }
    for part in ("dense", "replaced", "whole_model"):
        assert set(answer[part]) == keys | {"params_removed", "macs_removed"}
    assert answer["whole_model"]["params_before"] == 85_806_346
    assert answer["whole_model"]["params_after"] == 5_590_282
    assert answer["replaced"]["params_before"] == 84_934_656 + 82_944
    assert answer["whole_model"]["macs_removed"] == pytest.approx(0.8998, abs=5e-5)


def test_train_ends_with_one_json_object(tmp_path, capsys):
    flags = [
        "--steps",
        "6",
        "--evaluations",
        "2",
        "--rank",
        "4",
        "--init",
        "svd",
        "--device",
        "cpu",
    ]
    flags += ["--device", "cpu", "--schedule", "[[0,1],[0.5,0]]", "--out", str(tmp_path)]
    assert main(["train", *flags, "--json"]) == 0
    answer = last_json(capsys)
    needed = {"accuracy", "teacher_accuracy", "accuracy_if_base_removed", "seconds", "run_dir"}
    needed |= {"params_removed_replaced", "params_removed_whole", "peak_memory_mb"}
    assert needed <= set(answer)
    folder = tmp_path / answer["run_dir"]
    kept = json.loads((folder / "result.json").read_text())
    assert kept == {**answer, "run_dir": folder.name}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rank", "0"], "rank 0 leaves nothing"),
        (["--rank", "-3"], "rank -3 leaves nothing"),
        (["--rank", "7.5"], "rank 7.5 is not a whole number"),
        (["--rank", "48"], "break-even rank 48 of blocks.0.attn.proj"),
        (["--schedule", "cosine"], "unknown schedule 'cosine'"),
        (["--schedule", "[[0,1],"], "it is no JSON"),
        (["--fade-end", "0"], "fade end q is 0.0: it must be in (0, 1]"),
        (["--fade-end", "1.2"], "fade end q is 1.2"),
        (["--alpha", "1.5"], "alpha is 1.5: it must be a number in [0, 1]"),
        (["--init", "random"], "unknown start 'random': use one of zeros, svd, activation_svd"),
        (["--model", "vit_digit"], "did you mean vit_digits"),
        (["--data", "./no/such/folder"], "there is no such folder"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--steps", "0"], "steps is 0: it must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_named_with_its_cure(tmp_path, capsys, flags, message):
    assert main(["train", *flags, "--out", str(tmp_path), "--json"]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert message in json.loads(said.out.splitlines()[-1])["error"]


def test_doctor_finds_both_sides_of_the_widgets(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = last_json(capsys)["facts"]
    assert facts["ipywidgets"].startswith("8.")
    assert facts["JupyterLab's @jupyter-widgets/jupyterlab-manager"].startswith("5.")


def test_doctor_names_a_mismatch(monkeypatch, capsys):
    monkeypatch.setattr("pclora_lab.cli.doctor._extension_version", lambda name: "3.1.0")
    assert main(["doctor", "--json"]) == 1
    assert "JupyterLab serves @jupyter-widgets/jupyterlab-manager 3.1.0" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "train", "plan", "doctor"])
def test_every_command_has_help_and_json(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_module_runs_as_a_command():
    command = [sys.executable, "-m", "pclora_lab", "plan", "vit_digits", "--rank", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "450,730 → 57,514" in done.stdout


def test_plan_takes_targets(capsys):
    flags = ["plan", "vit_digits", "--rank", "8", "--targets", r"\.mlp\.", "--json"]
    assert main(flags) == 0
    names = {f"blocks.{i}.mlp.fc{j}" for i in range(4) for j in (1, 2)}
    assert set(last_json(capsys)["ranks"]) == names


@pytest.mark.slow
def test_a_killed_process_leaves_a_readable_run(tmp_path):
    command = [sys.executable, "-m", "pclora_lab", "train", "--steps", "5000", "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "--init", "svd", "--out", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        history = "*/history.jsonl"
        until(lambda: any(p.read_text().count("\n") > 1 for p in tmp_path.glob(history)), 120)
    finally:
        process.kill()
        process.wait()
    (run,) = list_runs(tmp_path)
    assert run.status == "failed" and "killed" in run.error
    assert run.rows[0]["lam"] == 1.0 and len(run.history()) == len(run.rows) >= 2


@pytest.mark.parametrize(
    "command",
    [["demo", "--out", ""], ["train", "--out", " "], ["app", "--root", ""], ["resume", ""],
     ["export", "runs/a", "--out", ""], ["compare", "--out", ""]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_an_empty_folder_is_a_question(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert " is empty: name a folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

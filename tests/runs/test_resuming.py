"""A run that is taken up ends as if it had never stopped, whatever stopped it."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from waiting import until

from pclora_lab import Session, load_run
from pclora_lab.cli.main import main
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.runs import checkpoints
from pclora_lab.runs.checkpoints import (
    CheckpointWriter,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from pclora_lab.runs.folder import delete_run, new_run_folder
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.resuming import can_resume, read_resumption, resume
from pclora_lab.runs.session import stop_all
from pclora_lab.runs.session_state import Progress
from pclora_lab.runs.snapshots import list_snapshots
from pclora_lab.training import fit
from pclora_lab.training.checkpoints import pace
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, RunEnd, StepEnd
from pclora_lab.training.lambda_override import LambdaOverride, overrides_in
from pclora_lab.training.loop import train
from pclora_lab.training.state import Checkpoint

SVD = PCLoRAConfig(rank=4, init="svd")
QUICK = RunConfig(
    method=SVD, steps=12, evaluations=4, eval_images=40, layer_metrics=False, device="cpu"
)
TIMES = {"seconds", "step_ms", "memory_mb", "run_dir", "latency_ms", "teacher_latency_ms"}


@pytest.fixture(autouse=True)
def no_run_is_left():
    yield
    stop_all()


def stopped(config, root, step, name=None):
    """A folder whose run was stopped after a step."""
    folder = new_run_folder(root, config, name=name)
    with closing(RunRecorder(folder).record(train(config, root))) as events:
        next(e for e in events if isinstance(e, StepEnd) and e.phase == "fade" and e.step == step)
    # There on a slow machine only.
    (folder / "checkpoint.previous.safetensors").unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def stopped_at(tmp_path_factory):
    """Gives a copy of a quick run that was stopped after a step; each is trained once."""
    root, made = tmp_path_factory.mktemp("stopped"), {}

    def copied(step, to):
        if step not in made:
            made[step] = stopped(QUICK, root, step, name=f"at{step}")
        return Path(shutil.copytree(made[step], to / "run"))

    return copied


def whole(config, root):
    folder = new_run_folder(root, config, name="whole")
    return folder, list(RunRecorder(folder).record(train(config, root)))[-1]


def facts(folder):
    """The history without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in load_run(folder).rows]


def test_what_a_run_left_that_was_killed_at_its_end_is_removed(tmp_path, stopped_at):
    folder = stopped_at(5, tmp_path)
    (folder / "result.json").write_text("{}")
    (folder / "status.json.ab12.part").write_text("{")
    (folder / "status.json").write_text('{"status": "running"}')
    assert load_run(folder).status == "finished"
    with pytest.raises(RuntimeError, match="nothing is left to train"):
        resume(folder)
    left = {path.name for path in folder.iterdir()}
    assert not any("checkpoint" in name or name.endswith(".part") for name in left), left


@pytest.mark.parametrize("step", [5, 12])
def test_the_end_is_the_same_bit_for_bit(tmp_path, stopped_at, step):
    untouched, expected = whole(QUICK, tmp_path)
    folder = stopped_at(step, tmp_path)
    assert load_run(folder).status == "stopped" and can_resume(folder)
    *_, finished = resume(folder)
    assert isinstance(finished, RunEnd) and load_run(folder).status == "finished"
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, finished.model.state_dict()[name]), name
    assert facts(folder) == facts(untouched)
    assert not has_checkpoint(folder) and not can_resume(folder)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.trains])
def test_every_method_that_trains_can_be_taken_up(tmp_path, name):
    method = METHODS[name].default_config()
    if name == "snella":  # stopped between two competitions
        method = dataclasses.replace(method, allocations=3)
    config = dataclasses.replace(QUICK, method=method, steps=6, lr=None)
    _, expected = whole(config, tmp_path)
    *_, finished = resume(stopped(config, tmp_path, 3))
    for key, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, finished.model.state_dict()[key]), key


def test_moves_of_lam_are_kept_and_made_again(tmp_path):
    config = dataclasses.replace(QUICK, overrides=((2, 0.9), (6, 0.7), (9, None)))
    untouched, _ = whole(config, tmp_path)
    folder = stopped(config, tmp_path, 4)
    rest = read_resumption(folder)
    assert rest.lambda_override.lam == 0.9 and rest.lambda_override.made == ((2, 0.9),)
    *_, finished = resume(folder)
    assert finished.result["overrides"] == [[2, 0.9], [6, 0.7], [9, None]]
    assert overrides_in(load_run(folder).rows) == config.overrides
    assert facts(folder) == facts(untouched)


@pytest.mark.parametrize("at", [3, 4, 5])
def test_moments_that_a_jump_of_lam_clears_are_cleared_again(tmp_path, at):
    method = dataclasses.replace(SVD, schedule="identity", fade_end=0.5, reset_moments=True)
    config = dataclasses.replace(QUICK, method=method, steps=8, warmup=0.4)
    untouched, expected = whole(config, tmp_path)
    folder = stopped(config, tmp_path, at)
    *_, finished = resume(folder)
    assert facts(folder) == facts(untouched)
    for key, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, finished.model.state_dict()[key]), key


def test_a_hand_that_held_when_the_session_stopped_holds_again(tmp_path):
    session = Session(dataclasses.replace(QUICK, steps=2000), tmp_path).start()
    until(lambda: session.snapshot().step > 2)
    session.override_lambda(0.93)
    until(lambda: session.snapshot().rows[-1]["lam"] == 0.93)
    session.stop()
    before = session.snapshot()
    again = Session.of_run(session.folder)
    assert again.state == "new" and again.lambda_override == 0.93
    again.start()
    until(lambda: again.snapshot().step > before.step + 2)
    assert again.folder == session.folder and again.snapshot().rows[: len(before.rows) - 1]
    until(lambda: again.snapshot().rows[-1]["step"] > before.step + 1)
    assert again.snapshot().rows[-1]["lam"] == 0.93
    again.release_lambda()
    until(lambda: again.snapshot().rows[-1]["lam"] != 0.93)


def test_the_time_left_counts_the_steps_of_this_session_only():
    progress = Progress()
    progress.take(PhaseStart("fade", 100))
    time.sleep(0.5)
    progress.take(StepEnd("fade", 51, 100))
    assert 22 < progress.eta_seconds() < 30


def test_moves_logged_after_the_checkpoint_are_made_again(tmp_path, stopped_at):
    folder = stopped_at(4, tmp_path)
    early = (folder / "checkpoint.safetensors").read_bytes()
    *_, last = (e for e in _until_step(resume(folder), 8))
    assert last.step == 8
    # As a kill leaves it: the history is ahead of the checkpoint, and a hand moved λ meanwhile.
    (folder / "checkpoint.safetensors").write_bytes(early)
    with (folder / "history.jsonl").open("a") as history:
        history.write(json.dumps({"phase": "fade", "step": 9, "overrides": [[8, 0.5]]}) + "\n")
    rest = read_resumption(folder)
    assert max(row["step"] for row in rest.rows) == 4
    *_, finished = rest.events()
    assert finished.result["overrides"] == [[8, 0.5]]
    steps = [row["step"] for row in load_run(folder).rows]
    assert steps == sorted(set(steps)) and steps[-1] == 12


def _until_step(events, step):
    with closing(events):
        for event in events:
            yield event
            if isinstance(event, StepEnd) and event.step == step:
                return


def test_a_base_that_was_gone_stays_gone_while_lam_is_held(tmp_path):
    # The base goes at q = 0.6, step 8; the move at 9 comes too late and must not bring it back.
    config = dataclasses.replace(QUICK, overrides=((9, 0.8),))
    folder = stopped(config, tmp_path, 10)
    rows = [e.values for e in resume(folder) if isinstance(e, LogRow)]
    assert rows and all(row["lam"] == 0 and not row["base_held"] for row in rows)


@pytest.mark.slow
def test_a_killed_process_can_be_taken_up_from_the_command_line(tmp_path, capsys):
    flags = ["train", "--steps", "90", "--device", "cpu", "--init", "svd", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pclora_lab", *flags], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: any(tmp_path.glob("*/checkpoint.safetensors")), 120)
    finally:
        process.kill()
        process.wait()
    (folder,) = (path.parent for path in tmp_path.glob("*/checkpoint.safetensors"))
    step = load_checkpoint(folder).step
    assert 0 < step < 90 and can_resume(folder)
    assert main(["resume", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 90
    steps = [row["step"] for row in load_run(folder).rows]
    assert steps == sorted(set(steps)) and steps[-1] == 90


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "checkpoint.safetensors").write_bytes(b"x" * 40), "can't be read"),
        (lambda f: _edit(f, steps=3), "its config has 3 steps"),
        (lambda f: _edit(f, color="red"), "color"),
        (lambda f: _edit_method(f, rank=2), r"method.rank \(4, now 2\) changed since it began"),
    ],
)
def test_what_cannot_be_taken_up_says_why(tmp_path, stopped_at, spoil, message):
    folder = stopped_at(5, tmp_path)
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list(resume(folder))


@pytest.mark.parametrize("place", [3, 30, -1])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, stopped_at, place):
    folder = stopped_at(5, tmp_path)
    newest = load_checkpoint(folder)
    save_checkpoint(folder, dataclasses.replace(newest, step=6))
    save_checkpoint(folder, dataclasses.replace(newest, step=7))
    assert load_checkpoint(folder).step == 7
    path = folder / "checkpoint.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.warns(
        UserWarning, match="checkpoint.safetensors is damaged.*one before it is taken"
    ):
        assert load_checkpoint(folder).step == 6
    # The good one is not given up for the damaged one.
    save_checkpoint(folder, dataclasses.replace(newest, step=8))
    path.unlink()
    assert has_checkpoint(folder) and load_checkpoint(folder).step == 6


def test_a_finished_run_keeps_neither_of_the_two(tmp_path, stopped_at):
    folder = stopped_at(5, tmp_path)
    save_checkpoint(folder, load_checkpoint(folder))
    assert len(list(folder.glob("checkpoint*"))) == 2
    *_, _ = resume(folder)
    assert not list(folder.glob("checkpoint*"))


def _edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def _edit_method(folder, **changes):
    method = json.loads((folder / "config.json").read_text())["method"]
    _edit(folder, method={**method, **changes})


def test_moments_that_do_not_fit_are_refused(tmp_path, stopped_at):
    folder = stopped_at(5, tmp_path)
    checkpoint = load_checkpoint(folder)
    name = next(n for n in checkpoint.tensors if n.startswith("exp_avg/"))
    tensors = {**checkpoint.tensors, name: torch.zeros(3, 3, 3)}
    save_checkpoint(folder, dataclasses.replace(checkpoint, tensors=tensors))
    with pytest.raises(ValueError, match="moments of .* do not fit"):
        list(resume(folder))


def test_what_looking_at_the_layers_has_cost_is_counted_on(tmp_path):
    folder = stopped(dataclasses.replace(QUICK, layer_metrics=True), tmp_path, 6)
    before = load_checkpoint(folder)
    assert 0 < before.probe_seconds < before.seconds
    *_, finished = resume(folder)
    spent = finished.result["probe_percent"] * finished.result["seconds"] / 100
    assert spent > before.probe_seconds and finished.result["seconds"] > before.seconds


def test_a_stop_is_a_stop_even_if_its_checkpoint_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(checkpoints, "save_checkpoint", fail)
    monkeypatch.setattr(pace, "SECONDS_BETWEEN", 1e9)  # however slow the machine is
    with pytest.raises(RuntimeError, match="the device is gone"):
        stopped(QUICK, tmp_path, 2, name="lost")
    assert load_run(tmp_path / "lost").status == "stopped"


def test_foreign_tensors_are_no_checkpoint(tmp_path, stopped_at):
    folder = stopped_at(5, tmp_path)
    path = folder / "checkpoint.safetensors"
    save_file(load_file(path), path)  # the same tensors without what this package writes beside
    with (
        pytest.warns(UserWarning, match="has no checksum"),
        pytest.raises(ValueError, match="start the run again"),
    ):
        read_resumption(folder)


def test_a_finished_run_and_one_that_trains_are_refused(tmp_path):
    folder, _ = whole(QUICK, tmp_path)
    with pytest.raises(RuntimeError, match="nothing is left to train"):
        read_resumption(folder)
    session = Session(dataclasses.replace(QUICK, steps=3000), tmp_path).start()
    until(lambda: session.snapshot().step > 1)
    with pytest.raises(RuntimeError, match="is being trained"):
        read_resumption(session.folder)


@pytest.mark.parametrize("phase", ["start", "test"])
def test_a_method_that_trains_nothing_is_started_again(tmp_path, phase):
    config = dataclasses.replace(QUICK, method=METHODS["svd"].default_config())
    _, expected = whole(config, tmp_path)
    folder = new_run_folder(tmp_path, config)
    with closing(RunRecorder(folder).record(train(config, tmp_path))) as events:
        next(e for e in events if isinstance(e, PhaseStart) and e.name == phase)
    assert load_run(folder).status == "stopped" and can_resume(folder)
    *_, finished = resume(folder)
    assert load_run(folder).status == "finished" and len(load_run(folder).rows) == 1
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, finished.model.state_dict()[name]), name


def test_a_run_without_a_checkpoint_is_started_again_in_its_folder(tmp_path, stopped_at):
    config = dataclasses.replace(QUICK, snapshots=3, overrides=((2, 0.9), (6, None)))
    untouched, expected = whole(config, tmp_path)
    folder = stopped(config, tmp_path, 5)
    remove_checkpoint(folder)  # as after a kill in the first seconds
    (folder / "versions.json").unlink()
    assert can_resume(folder)
    *_, finished = resume(folder)
    assert facts(folder) == facts(untouched)
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, finished.model.state_dict()[name]), name
    assert list(list_snapshots(folder)) == list(list_snapshots(untouched))
    assert (folder / "versions.json").is_file()


def test_a_hand_is_repeated_where_a_run_is_started_again(tmp_path):
    hold = LambdaOverride()
    folder = new_run_folder(tmp_path, QUICK)
    with closing(
        RunRecorder(folder).record(train(QUICK, tmp_path, lambda_override=hold))
    ) as events:
        next(e for e in events if isinstance(e, StepEnd) and e.step == 3)
        hold.set(0.8)
        next(e for e in events if isinstance(e, StepEnd) and e.step == 5)
    remove_checkpoint(folder)
    *_, finished = resume(folder)
    assert finished.result["overrides"] == [[4, 0.8]]


@pytest.mark.parametrize("left", [[], ["config.json.0a.part"]])
def test_a_folder_of_a_run_that_did_not_begin_says_what_to_do(tmp_path, left):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).write_text("{")
    assert not can_resume(folder)
    with pytest.raises(FileNotFoundError, match="delete the folder and start the run again"):
        resume(folder)
    if left:
        delete_run(folder)
        assert not folder.exists()


def test_what_would_fail_again_is_not_offered_but_can_be_asked_for(tmp_path):
    config = dataclasses.replace(QUICK, lr=1e12, grad_clip=1e12)
    folder = new_run_folder(tmp_path, config)
    with pytest.raises(RuntimeError, match="not finite"):
        list(RunRecorder(folder).record(train(config, tmp_path)))
    assert not can_resume(folder)
    with pytest.raises(RuntimeError, match="not finite"):
        list(resume(folder))


def test_a_cell_of_a_comparison_looks_for_its_teacher_in_the_comparison(tmp_path):
    cells = tmp_path / "cells"
    folder = stopped(dataclasses.replace(QUICK, teacher="finetune", teacher_steps=2), cells, 3)
    (tmp_path / "comparison.json").write_text("{}")
    (cells / "teachers").rename(tmp_path / "teachers")
    events = list(_until_step(resume(folder), 4))
    assert not any(isinstance(e, StepEnd) and e.phase == "teacher" for e in events)
    assert not (cells / "teachers").exists()


def test_the_means_of_a_row_count_the_steps_before_the_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "log_every", lambda steps: max(1, steps // 3))
    untouched, _ = whole(QUICK, tmp_path)
    folder = stopped(QUICK, tmp_path, 6)  # between the rows of 4 and 8
    list(resume(folder))
    assert facts(folder) == facts(untouched)


def test_a_full_disk_ends_no_run_and_is_tried_again(tmp_path, monkeypatch):
    room = []

    def save():
        if not room:
            raise OSError("no space left on device")
        return Checkpoint(1, "", (), False, 0, 1.0, 0.0, {"trained/A": torch.zeros(1)})

    monkeypatch.setattr(pace, "SECONDS_AFTER_FAILURE", 0.0)
    keeper = CheckpointWriter(tmp_path)
    keeper.note(StepEnd("fade", 1, 3, save))
    with pytest.warns(UserWarning, match="no space left on device.*tried again") as said:
        keeper.save()
        keeper.note(StepEnd("fade", 2, 3, save))
    assert len(said) == 1
    room.append("more")
    keeper.note(StepEnd("fade", 3, 3, save))
    assert has_checkpoint(tmp_path)
    room.clear()
    keeper.note(StepEnd("fade", 4, 4, save))
    with pytest.warns(UserWarning, match="no space left on device"):
        keeper.save()


def test_a_finished_run_leaves_no_checkpoint_however_often_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(pace, "SHARE_FOR_WRITING", 1e9)
    folder, _ = whole(QUICK, tmp_path)
    assert not has_checkpoint(folder) and not can_resume(folder)


def test_moves_survive_a_second_interruption(tmp_path, stopped_at):
    folder = stopped_at(4, tmp_path)
    with (folder / "history.jsonl").open("a") as history:
        history.write(json.dumps({"phase": "fade", "step": 9, "overrides": [[8, 0.5]]}) + "\n")
    events = resume(folder)
    next(events)  # killed before the first step: neither a row nor a checkpoint is written
    del events
    assert read_resumption(folder).lambda_override.made_and_planned(4) == ((8, 0.5),)


def test_what_a_hand_asked_for_just_before_the_stop_is_kept(tmp_path):
    hold = LambdaOverride([(2, 0.9), (9, 0.1)])
    folder = new_run_folder(tmp_path, QUICK)
    with closing(
        RunRecorder(folder).record(train(QUICK, tmp_path, lambda_override=hold))
    ) as events:
        next(e for e in events if isinstance(e, StepEnd) and e.phase == "fade" and e.step == 5)
        assert hold.lam == 0.9
        hold.set(None)
    assert load_checkpoint(folder).overrides == ((2, 0.9), (6, None))
    assert read_resumption(folder).lambda_override.at(6) is None


def test_planned_moves_are_kept_with_the_checkpoint(tmp_path):
    config = dataclasses.replace(QUICK, overrides=((2, 0.9), (9, None)))
    assert load_checkpoint(stopped(config, tmp_path, 5)).overrides == config.overrides


def test_snapshots_of_steps_to_be_taken_again_are_removed(tmp_path):
    folder = stopped(dataclasses.replace(QUICK, snapshots=13), tmp_path, 4)
    early = (folder / "checkpoint.safetensors").read_bytes()
    assert [e.step for e in _until_step(resume(folder), 8) if isinstance(e, StepEnd)][-1] == 8
    assert max(list_snapshots(folder)) == 8
    (folder / "checkpoint.safetensors").write_bytes(early)
    assert max(list_snapshots(folder)) == 8
    next(e for e in resume(folder) if isinstance(e, StepEnd))
    assert max(list_snapshots(folder)) <= 5


def test_an_evaluation_that_is_due_is_not_left_out(tmp_path):
    # A row every 2 steps and an evaluation about every 3: due at 3, 6, 9, so read at 4, 6, 10.
    config = dataclasses.replace(QUICK, steps=240, evaluations=80)
    untouched = new_run_folder(tmp_path, config, name="untouched")
    with closing(RunRecorder(untouched).record(train(config, tmp_path))) as events:
        next(e for e in events if isinstance(e, StepEnd) and e.step == 12)
    folder = stopped(config, tmp_path, 3)
    list(_until_step(resume(folder), 12))
    read = [[row["accuracy"] is not None for row in load_run(f).rows] for f in (untouched, folder)]
    assert read[0] == read[1] and any(read[0][1:]) and not all(read[0])


def test_other_data_under_the_same_name_are_refused(tmp_path):
    table = tmp_path / "data.csv"
    texts = [f"{word} {number}" for number in range(40) for word in ("good", "bad")]
    table.write_text("text,label\n" + "".join(f"{t},{t.split()[0]}\n" for t in texts))
    config = dataclasses.replace(
        QUICK, model="bert_glosses", data=str(table), max_tokens=8, teacher_steps=2
    )
    folder = stopped(config, tmp_path, 3)
    *_, last = _until_step(resume(folder), 5)
    assert last.step == 5
    table.write_text(table.read_text().replace("good 7,good", "good 7,bad"))
    with pytest.raises(ValueError, match="the data .* changed since it began"):
        list(resume(folder))


def test_half_of_a_compressed_model_does_not_stand_in_the_way(tmp_path, stopped_at):
    folder = stopped_at(12, tmp_path)
    (folder / "compressed").mkdir()
    (folder / "compressed" / "model.safetensors").write_bytes(b"half")
    *_, finished = resume(folder)
    assert isinstance(finished, RunEnd) and load_run(folder).status == "finished"


def test_a_run_is_named_after_its_folder_wherever_it_is_called_from(
    tmp_path, stopped_at, monkeypatch
):
    folder = stopped_at(3, tmp_path)
    monkeypatch.chdir(folder)
    assert read_resumption(".").folder == folder


def test_what_a_kill_left_half_written_is_gone_once_the_run_is_taken_up(tmp_path, stopped_at):
    folder = stopped_at(3, tmp_path)
    left = [folder / "checkpoint.safetensors.0a.part", folder / "snapshots" / "000001.0b.part"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    list(resume(folder))
    assert not any(path.exists() for path in left)

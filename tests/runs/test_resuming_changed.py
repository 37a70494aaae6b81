"""A run is taken up on what it began with, or not before somebody says that it may be another."""

import dataclasses
import json
import re
import shutil
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load, load_file

from pclora_lab import Session, load_data, load_model, save_pretrained
from pclora_lab.cli.main import main
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.nn.metadata import recipe_of
from pclora_lab.runs.checkpoints import load_checkpoint, save_checkpoint
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.resuming import can_resume, resume
from pclora_lab.training.checkpoints.kept_teacher import keep_teacher, load_kept_teacher
from pclora_lab.training.config import RunConfig, read_config
from pclora_lab.training.events import PhaseStart, StepEnd
from pclora_lab.training.identity import hashes
from pclora_lab.training.loop import train

QUICK = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=6, evaluations=1, eval_images=20,
    layer_metrics=False, snapshots=0, device="cpu", batch_size=8, teacher_steps=2,
)  # fmt: skip


def stopped(config, root, step=3):
    folder = new_run_folder(root, config, name="run")
    with closing(RunRecorder(folder).record(train(config, root))) as events:
        next(e for e in events if isinstance(e, StepEnd) and e.phase == "fade" and e.step == step)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on pictures and a model in folders, stopped; each test gets it as it was."""
    root = tmp_path_factory.mktemp("made")
    digits = load_data("digits").train
    for number in range(120):
        place = root / "pictures" / str(digits.labels[number])
        place.mkdir(parents=True, exist_ok=True)
        digits.examples[number].save(place / f"{number}.png")
    save_pretrained(load_model("vit_digits"), root / "model")
    config = dataclasses.replace(
        QUICK, model=str(root / "model"), data=str(root / "pictures"), teacher="finetune"
    )
    stopped(config, root)
    kept = shutil.copytree(root, tmp_path_factory.mktemp("kept") / "all")

    def again():
        shutil.rmtree(root)
        shutil.copytree(kept, root)
        return root

    return again


def edit_json(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


def other_picture(root):
    path = sorted((root / "pictures" / "3").iterdir())[-1]
    image = Image.open(path)
    image.putpixel((0, 0), image.getpixel((0, 0)) ^ 1)
    image.save(path)


def other_weights(root):
    model = load_model(root / "model")
    with torch.no_grad():
        model.blocks[1].norm1.bias[3] += 1e-6
    save_pretrained(model, root / "model")


def other_mean(root):
    model = load_model(root / "model")
    recipe_of(model)["preprocessing"]["mean"] = [0.25]
    save_pretrained(model, root / "model")


def other_teacher(root):
    # As if it had been made again elsewhere.
    (kept,) = (root / "teachers").iterdir()
    model = load_model(root / "model")
    log = load_kept_teacher(model, kept)
    with torch.no_grad():
        model.norm.bias[0] += 1e-6
    keep_teacher(model, kept, log, read_config(kept))


CHANGES = {
    "the data": other_picture,
    "the model's weights": other_weights,
    "the preprocessing": other_mean,
    "the weights of the fine-tuned teacher": other_teacher,
    r"warmup \(0.05, now 0.5\)": lambda root: edit_json(root / "run" / "config.json", warmup=0.5),
}


def ahead(folder):
    """As a kill leaves it: the history is ahead of the checkpoint, and an error is told."""
    with (folder / "history.jsonl").open("a") as history:
        history.write(json.dumps({"phase": "fade", "step": 5, "overrides": [[4, 0.5]]}) + "\n")
    edit_json(folder / "status.json", status="failed", error="RuntimeError: of before")
    return contents(folder)


def contents(folder):
    """Every file with its bytes and its time, but who holds the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_is_named_and_refused_unless_it_is_allowed(made, what):
    root = made()
    CHANGES[what](root)
    before = ahead(root / "run")
    with pytest.raises(ValueError, match=f"{what}.* changed since it began.*allow_changes"):
        list(resume(root / "run"))
    assert contents(root / "run") == before
    *_, end = resume(root / "run", allow_changes=True)
    # Another teacher comes out of other weights.
    first, *_ = [note for note in end.result["notes"] if "changed since it began" in note]
    assert re.search(f"taken up at step 3 although {what}", first)


def without_room_for_the_student(root):
    checkpoint = load_checkpoint(root / "run")
    name = next(n for n in checkpoint.tensors if n.startswith("exp_avg/"))
    tensors = {**checkpoint.tensors, name: torch.zeros(3, 3, 3)}
    save_checkpoint(root / "run", dataclasses.replace(checkpoint, tensors=tensors))


REFUSALS = {
    "data that are gone": lambda root: shutil.rmtree(root / "pictures"),
    "a model that is gone": lambda root: shutil.rmtree(root / "model"),
    "no such device": lambda root: edit_json(root / "run" / "config.json", device="cuda:77"),
    "a checkpoint that does not fit": without_room_for_the_student,
    "another method": lambda root: edit_json(
        root / "run" / "config.json", method={"name": "svd", "rank": 4}, lr=None
    ),
}


@pytest.mark.parametrize(
    ("why", "has_checkpoint"), [*((why, True) for why in REFUSALS), ("data that are gone", False)]
)
def test_a_run_that_is_refused_is_as_it_was(made, why, has_checkpoint):
    root = made()
    if not has_checkpoint:
        (root / "run" / "checkpoint.safetensors").unlink()
    REFUSALS[why](root)
    before = ahead(root / "run")
    with pytest.raises((ValueError, OSError)):
        list(resume(root / "run"))
    assert contents(root / "run") == before
    assert can_resume(root / "run")


@pytest.mark.parametrize("phase", ["data", "teacher", "start"])
def test_a_run_that_is_stopped_before_its_first_step_is_as_it_was(made, phase):
    root = made()
    shutil.rmtree(root / "teachers")
    before = ahead(root / "run")
    with closing(resume(root / "run")) as events:
        next(e for e in events if isinstance(e, PhaseStart) and e.name == phase)
        assert load_run(root / "run").status == ("failed" if phase == "data" else "running")
    assert contents(root / "run") == before
    *_, end = resume(root / "run")
    assert end.result["overrides"] == [[4, 0.5]]


def test_a_damaged_teacher_is_made_again_to_the_same_bits(made):
    root = made()
    (path,) = (root / "teachers").glob("*/model.safetensors")
    whole = load(path.read_bytes())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="kept teacher .* can't be used.*made again"):
        *_, end = resume(root / "run")
    again = load_file(path)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert not [note for note in end.result["notes"] if "changed since" in note]


def test_all_that_changed_is_named_at_once(made):
    root = made()
    other_picture(root), other_weights(root)
    with pytest.raises(ValueError, match="the data .*, the model's weights changed"):
        list(resume(root / "run"))


def test_what_changes_no_result_and_a_file_that_is_only_newer_are_not_asked_about(made):
    root = made()
    edit_json(root / "run" / "config.json", eval_batch_size=7)
    for path in (root / "pictures").rglob("*.png"):
        path.touch()
    *_, end = resume(root / "run")
    assert not [note for note in end.result["notes"] if "taken up" in note]


def test_another_version_is_a_remark_and_what_was_allowed_is_told_to_the_end(made):
    root = made()
    checkpoint = load_checkpoint(root / "run")
    before = dataclasses.replace(
        checkpoint.identity,
        environment={**checkpoint.identity.environment, "torch": "1.0", "pclora_lab": "0.0.1"},
        notes=("taken up at step 2 although the data changed since it began",),
    )
    save_checkpoint(root / "run", dataclasses.replace(checkpoint, identity=before))
    *_, end = resume(root / "run")
    first, second = [note for note in end.result["notes"] if "taken up" in note]
    assert "step 2 although the data" in first
    assert "torch 1.0, now " in second and "pclora_lab 0.0.1, now " in second


def other_library(monkeypatch, version="6.0", **keys):
    """As if a library had been updated that describes the model by one more key, or otherwise."""
    known, versions = hashes._architecture, hashes._versions
    monkeypatch.setattr(hashes, "_architecture", lambda model: {**known(model), **keys})
    monkeypatch.setattr(hashes, "_versions", lambda: {**versions(), "transformers": version})


def test_keys_that_come_with_a_library_s_version_are_a_remark(made, monkeypatch):
    root = made()
    other_library(monkeypatch, chunk_size=0)
    events = list(resume(root / "run"))
    assert not [e for e in events if isinstance(e, StepEnd) and e.phase == "teacher"]
    (note,) = [note for note in events[-1].result["notes"] if "taken up" in note]
    assert re.search("transformers .*, now 6.0", note) and "although" not in note


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"version": version("transformers"), "chunk_size": 0}, "chunk_size"),
        ({"num_classes": 11}, r"num_classes \(10, now 11\)"),
    ],
)
def test_other_values_and_keys_of_one_version_are_changes(made, monkeypatch, keys, said):
    root = made()
    other_library(monkeypatch, **keys)
    with pytest.raises(ValueError, match=f"the model's architecture: {said} changed"):
        list(resume(root / "run"))


def test_command_line_and_session_have_the_same_way(made, capsys):
    root = made()
    other_picture(root)
    assert main(["resume", str(root / "run")]) == 2
    error = capsys.readouterr().err
    assert "the data" in error and "--allow-changes" in error and "Traceback" not in error
    session = Session.of_run(root / "run", allow_changes=True).start()
    session.wait(timeout=60)
    assert session.state == "finished"
    root = made()
    other_picture(root)
    assert main(["resume", str(root / "run"), "--allow-changes"]) == 0
    assert "note: taken up at step 3 although the data" in capsys.readouterr().err


def test_a_run_of_an_older_version_goes_on_with_a_remark(tmp_path):
    written = Path(__file__).parents[1] / "fixtures" / "before_rooms"
    shutil.copytree(written, tmp_path / "runs")
    with pytest.warns(UserWarning, match="checkpoint.safetensors has no checksum"):
        *_, end = resume(tmp_path / "runs" / "stopped")
    assert any("checkpoint of an older version" in note for note in end.result["notes"])

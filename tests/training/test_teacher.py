"""A teacher is fine-tuned once for all who need the same, told step by step, and found again."""

import dataclasses
import shutil
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from marked import MarkedCache, marked_digits
from safetensors.torch import load_file, save_file
from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.training import teacher as module
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, StepEnd
from pclora_lab.training.identity.former import former_teacher_key
from pclora_lab.training.optimizer import LossDiverged
from pclora_lab.training.setup import prepare
from pclora_lab.training.teacher import (
    key_by_identity,
    needs_finetuning,
    read_teacher,
    teacher_key,
    teacher_scores,
    train_teacher,
)

DATA = marked_digits(train=40, validation=12, test=8)
CONFIG = RunConfig(
    method=FullConfig(), teacher="finetune", teacher_steps=6, teacher_lr=3e-3, batch_size=8,
    device="cpu", precision="float32", evaluations=3, eval_images=5, eval_batch_size=4,
)  # fmt: skip


def setup_of(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return prepare(config, make_method(config.method), MarkedCache(DATA), None)


def taught(setup, folder, **options):
    parts = (setup.model, setup.data, setup.batches, setup.config, setup.accelerator)
    return list(train_teacher(*parts, folder, **options))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with a teacher, its weights, its events and its key."""
    folder, setup = tmp_path_factory.mktemp("teachers"), setup_of()
    key = teacher_key(setup.model, setup.data, setup.config)
    events = taught(setup, folder)
    return SimpleNamespace(folder=folder, weights=weights(setup.model), events=events, key=key)


def rows(events):
    return [e.values for e in events if isinstance(e, LogRow)]


@pytest.mark.parametrize(
    ("teacher", "is_new", "needs"),
    [("auto", True, True), ("auto", False, False), ("finetune", False, True),
     ("finetune", True, True), ("pretrained", True, False), ("pretrained", False, False)],
)  # fmt: skip
def test_auto_fine_tunes_where_the_head_is_new(teacher, is_new, needs):
    model = nn.Linear(2, 2)
    model.pclora_head_is_new = is_new
    assert needs_finetuning(model, dataclasses.replace(CONFIG, teacher=teacher)) is needs


def test_its_phase_its_rows_and_its_steps_are_told(kept):
    assert kept.events[0] == PhaseStart("teacher", 6)
    steps = [e for e in kept.events if isinstance(e, StepEnd)]
    assert steps == [StepEnd("teacher", n, 6) for n in range(1, 7)]
    found = rows(kept.events)
    assert [(r["phase"], r["step"], r["steps"]) for r in found] == [
        ("teacher", step, 6) for step in (2, 4, 6)
    ]
    assert all({"loss", "task", "lr", "accuracy"} <= set(row) for row in found)
    assert all(row["loss"] == row["task"] for row in found)
    # A row comes before the end of its step.
    ends = [kept.events.index(StepEnd("teacher", n, 6)) for n in (2, 4, 6)]
    assert all(isinstance(kept.events[at - 1], LogRow) for at in ends)


@pytest.mark.parametrize(
    ("steps", "evaluations", "at"),
    [(4, 1, [4]), (4, 4, [1, 2, 3, 4]), (5, None, [1, 2, 3, 4, 5]),
     (20, None, list(range(2, 21, 2))), (20, 50, list(range(2, 21, 2))),
     (19, None, [2, 4, 6, 8, 10, 11, 13, 15, 17, 19]), (7, 2, [4, 7])],
)  # fmt: skip
def test_readings_are_as_many_as_were_asked_for_and_of_many_steps_ten(
    tmp_path, monkeypatch, steps, evaluations, at
):
    limits = []
    monkeypatch.setattr(module, "evaluate", lambda *a, **how: limits.append(how) or {})
    setup = setup_of(teacher_steps=steps, evaluations=evaluations, batch_size=1)
    assert [row["step"] for row in rows(taught(setup, tmp_path))] == at
    assert limits == [{"limit": 5, "batch_size": 4}] * len(at)


def test_it_learns_on_the_train_split_and_is_read_on_the_validation_split(tmp_path, monkeypatch):
    setup, read = setup_of(teacher_steps=1), []
    monkeypatch.setattr(module, "evaluate", lambda t, m, part, *a, **k: read.append(part) or {})
    seen = []
    inputs = setup.batches["train"].batch
    monkeypatch.setattr(
        setup.batches["train"], "batch", lambda *a: seen.append(len(a[0])) or inputs(*a)
    )
    taught(setup, tmp_path)
    assert seen == [8] and read == [setup.batches["validation"]]


def test_whoever_needs_the_same_later_gets_its_weights_and_rows_and_no_steps(kept):
    setup = setup_of(seed=9, steps=7)
    events = taught(setup, kept.folder)
    assert events == [PhaseStart("teacher", 0), *map(LogRow, rows(kept.events))]
    assert equal(weights(setup.model), kept.weights)


def test_a_run_finds_the_teacher_that_it_began_with_under_its_old_key(kept):
    setup = setup_of(teacher_steps=5)
    events = taught(setup, kept.folder, begun_with=kept.key)
    assert events[0] == PhaseStart("teacher", 0) and equal(weights(setup.model), kept.weights)


@pytest.mark.parametrize("key", ["../elsewhere", "", "."])
def test_a_key_that_was_edited_leads_nowhere_else(tmp_path, monkeypatch, key):
    looked = []
    monkeypatch.setattr(
        module, "take_kept_teacher", lambda model, folder, **how: looked.append(folder.name)
    )
    setup = setup_of(teacher_steps=1)
    key_now = teacher_key(setup.model, setup.data, setup.config)
    taught(setup, tmp_path, begun_with=key)
    assert set(looked) == {key_now}


def test_what_an_older_version_kept_is_taken_by_who_began_with_it_only(kept, tmp_path):
    setup = setup_of()
    former = former_teacher_key(setup.model, setup.data, setup.config)
    (kept.folder / kept.key).rename(tmp_path / former)
    # An older version wrote no hash of it.
    file = tmp_path / former / "model.safetensors"
    written = file.read_bytes()
    save_file(load_file(file), file)
    try:
        assert taught(setup_of(), tmp_path, allow_former=True)[0] == PhaseStart("teacher", 0)
        assert equal(weights(read_teacher(setup.model, DATA, setup.config, tmp_path)), kept.weights)
        assert taught(setup_of(), tmp_path)[0] == PhaseStart("teacher", 6)
    finally:
        file.write_bytes(written)
        (tmp_path / former).rename(kept.folder / kept.key)


def test_a_teacher_that_somebody_made_meanwhile_is_taken(kept, tmp_path, monkeypatch):
    setup, lock = setup_of(), module.lock_teacher

    def waited(folder):
        (kept.folder / kept.key).rename(tmp_path / kept.key)
        yield PhaseStart("waiting", 0)
        return (yield from lock(folder))

    monkeypatch.setattr(module, "lock_teacher", waited)
    try:
        events = taught(setup, tmp_path)
    finally:
        (tmp_path / kept.key).rename(kept.folder / kept.key)
    assert events[:2] == [PhaseStart("waiting", 0), PhaseStart("teacher", 0)]
    assert equal(weights(setup.model), kept.weights)


def test_it_is_read_again_for_a_replay_or_said_to_be_gone(kept, tmp_path):
    setup = setup_of()
    before = weights(setup.model)
    with pytest.raises(ValueError, match=f"is not in {tmp_path} any more"):
        read_teacher(setup.model, DATA, setup.config, tmp_path)
    assert equal(weights(setup.model), before)
    found = read_teacher(setup.model, DATA, setup.config, kept.folder)
    assert found is setup.model and equal(weights(found), kept.weights)


def test_its_key_is_the_same_from_hashes_that_were_made_before():
    setup = setup_of()
    key = teacher_key(setup.model, setup.data, setup.config)
    assert key == key_by_identity(setup.identity, setup.config) and len(key) == 16
    other = dataclasses.replace(setup.identity, data="other")
    assert key_by_identity(other, setup.config) != key


def test_a_disk_that_is_full_in_the_end_is_said_and_leaves_a_checkpoint(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "keep_teacher", full)
    with pytest.warns(UserWarning, match="can't be kept .*the run goes on with it"):
        taught(setup_of(teacher_steps=1), tmp_path)
    assert len(list(tmp_path.glob("*/checkpoint.safetensors"))) == 1


@pytest.mark.parametrize(
    ("limit", "report_on", "split"),
    [(None, "test", "test"), (None, "validation", "validation"), (5, "test", "validation")],
)
def test_an_accuracy_is_of_the_final_split_or_of_some_of_the_validation_split(
    monkeypatch, limit, report_on, split
):
    asked = []
    monkeypatch.setattr(module, "evaluate", lambda *given, **how: asked.append((given, how)) or {})
    config = dataclasses.replace(CONFIG, report_on=report_on)
    cache, batches = DataCache(), {name: name for name in ("train", "validation", "test")}
    for _ in range(2):
        found = teacher_scores(cache, "model", batches, config, limit=limit, accelerator="a")
        assert found == {}
    given = (IMAGE_CLASSIFICATION, "model", split, "a")
    assert asked == [(given, {"limit": limit, "batch_size": 4})]


def test_the_pre_trained_model_has_an_accuracy_of_its_own(monkeypatch):
    """Methods that start from it see it before any fine-tuning."""
    told = iter([0.25, 0.5, 0.75])
    monkeypatch.setattr(module, "evaluate", lambda *given, **how: next(told))
    cache, batches = DataCache(), {"test": None, "validation": None}
    svd = dataclasses.replace(CONFIG, method=METHODS["svd"].default_config())
    found = [
        teacher_scores(cache, None, batches, config, limit=limit)
        for config, limit in ((CONFIG, None), (svd, None), (CONFIG, None), (CONFIG, 5))
    ]
    assert found == [0.25, 0.5, 0.25, 0.75]


def test_a_teacher_of_this_version_needs_its_hash_to_be_read(kept, tmp_path):
    setup = setup_of()
    shutil.copytree(kept.folder / kept.key, tmp_path / kept.key)
    file = tmp_path / kept.key / "model.safetensors"
    save_file(load_file(file), file)
    with pytest.raises(ValueError, match="its weights carry no hash"):
        read_teacher(setup.model, DATA, setup.config, tmp_path)


def test_the_order_in_which_its_facts_are_told_does_not_change_its_key():
    """Or another version of this package would not find what this one kept."""
    setup = setup_of()
    names = ("data", "preprocessing", "weights", "architecture")
    hashes = {name: getattr(setup.identity, name) for name in names}
    backwards = {name: hashes[name] for name in reversed(names)}
    assert module._key(hashes, setup.config) == module._key(backwards, setup.config)
    assert module._key(hashes, setup.config) == teacher_key(setup.model, DATA, setup.config)


def test_what_ends_a_fine_tuning_decides_what_is_left_of_it(tmp_path, monkeypatch):
    """Stopped: a checkpoint. Diverged, or logits that are not finite: nothing to go on from."""

    def left(folder):
        return sorted(path.name for path in folder.glob("*/*") if path.suffix == ".safetensors")

    setup = setup_of()
    parts = (setup.model, setup.data, setup.batches, setup.config, setup.accelerator)
    with closing(train_teacher(*parts, tmp_path / "stopped")) as events:
        next(e for e in events if e == StepEnd("teacher", 3, 6))
    assert left(tmp_path / "stopped") == ["checkpoint.safetensors"]
    monkeypatch.setattr(module, "evaluate", raising(NotFinite("the logits are NaN")))
    with pytest.raises(LossDiverged, match="the logits are NaN.*than teacher_lr=0.003"):
        taught(setup_of(), tmp_path / "broken")
    assert left(tmp_path / "broken") == []


def raising(error):
    def raised(*args, **options):
        raise error

    return raised

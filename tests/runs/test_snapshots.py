"""Snapshots of a run: named after their step, whole or not there, in order."""

import os

import pytest
import torch

from pclora_lab.runs.snapshots import list_snapshots, load_snapshot, save_snapshot


def test_a_snapshot_is_named_after_its_step_and_comes_back(tmp_path):
    tensors = {"fc.A": torch.arange(3.0), "lam": torch.tensor(0.5)}
    path = save_snapshot(tmp_path, 120, tensors)
    assert path == tmp_path / "snapshots" / "000120.safetensors"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    found = load_snapshot(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_run_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(os, "fsync", waited.append)
    save_snapshot(tmp_path, 1, {"x": torch.ones(1)})
    assert waited == []


def test_they_are_listed_by_their_steps_and_nothing_else_is(tmp_path):
    assert list_snapshots(tmp_path) == {}
    for step in (1_000_000, 999_999, 0, 20):
        save_snapshot(tmp_path, step, {"x": torch.ones(1)})
    for name in ("best.safetensors", "7.txt", "000003.safetensors.ab.part"):
        (tmp_path / "snapshots" / name).write_text("")
    found = list_snapshots(tmp_path)
    assert list(found) == [0, 20, 999_999, 1_000_000]
    assert found[20].name == "000020.safetensors"


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"half"), lambda p: p.unlink()])
def test_one_that_can_not_be_read_is_named_with_the_cure(tmp_path, spoil):
    path = save_snapshot(tmp_path, 3, {"x": torch.ones(1)})
    spoil(path)
    with pytest.raises(ValueError, match=r"snapshot 000003.safetensors can't be .*delete the file"):
        load_snapshot(path)

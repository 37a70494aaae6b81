"""A folder is replaced as one, whatever else is in it, and nothing is removed through a link."""

import contextlib
import os
import stat
import threading

import pytest

from pclora_lab import staging
from pclora_lab.staging import remove_folder, staged_folder


def write(folder, text, **options):
    with staged_folder(folder, **options) as stage:
        for name in ("config.json", "model.safetensors"):
            (stage / name).write_text(text)


def contents(folder):
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


@pytest.fixture(params=["at once", "one by one"])
def folder(request, tmp_path, monkeypatch):
    if request.param == "one by one":
        monkeypatch.setattr(staging, "_can_change_places", lambda folder: False)
    folder = tmp_path / "model"
    write(folder, "old")
    return folder


def test_the_files_are_replaced_and_others_stay(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "model-00001-of-00002.safetensors").write_text("a shard of before")
    write(folder, "new", outdated=lambda name: name.startswith("model-"))
    assert contents(folder) == {
        "config.json": "new",
        "model.safetensors": "new",
        "notes.txt": "mine",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_block_that_fails_changes_nothing(folder):
    with pytest.raises(RuntimeError), staged_folder(folder) as stage:
        (stage / "config.json").write_text("half")
        raise RuntimeError("killed")
    assert set(contents(folder).values()) == {"old"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_that_was_not_there_appears_whole(tmp_path):
    with staged_folder(tmp_path / "a" / "model") as stage:
        assert stat.S_IMODE(stage.stat().st_mode) == 0o700
        (stage / "config.json").write_text("new")
        assert not (tmp_path / "a" / "model").exists()
    probe = tmp_path / "usual"
    probe.mkdir()
    assert (tmp_path / "a" / "model").stat().st_mode == probe.stat().st_mode


def test_a_reader_never_sees_half(tmp_path):
    folder, seen, over = tmp_path / "model", set(), threading.Event()
    write(folder, "0")

    def read():
        while not over.is_set():
            handle = os.open(folder, os.O_RDONLY)
            texts = []
            with contextlib.suppress(FileNotFoundError):  # of a folder that is gone by now
                for name in ("config.json", "model.safetensors"):
                    with open(os.open(name, os.O_RDONLY, dir_fd=handle)) as file:
                        texts.append(file.read())
            os.close(handle)
            seen.update({len(set(texts))} if len(texts) == 2 else ())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        write(folder, str(number))
    over.set()
    reader.join()
    assert seen == {1}


@pytest.mark.parametrize("inner", ["folder", "link", "working directory"])
def test_where_folders_cannot_change_places_their_files_do(folder, monkeypatch, inner, tmp_path):
    if inner == "folder":
        (folder / ".git").mkdir()
    elif inner == "link":
        (folder / "elsewhere").symlink_to(tmp_path)
    else:
        monkeypatch.chdir(folder)
    inode = folder.stat().st_ino
    write(folder, "new")
    assert folder.stat().st_ino == inode
    assert set(contents(folder).values()) == {"new"}


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    write(tmp_path / "model", "new")
    assert (tmp_path / "model").is_symlink() and len(contents(tmp_path / "disk")) == 2


def test_of_a_link_the_link_alone_is_removed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    remove_folder(tmp_path / "link")
    assert not os.path.lexists(tmp_path / "link") and (tmp_path / "theirs" / "file").exists()
    remove_folder(tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()

"""Decoded pictures are kept in memory, on the disk, or nowhere; what is read is the same."""

import os
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import write_parquet

from pclora_lab.data.feeding import pixel_store
from pclora_lab.data.feeding.pixel_store import PixelStore, make_store
from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.loading import load_data

SHAPE = (10, 3, 4, 4)
Free = namedtuple("Free", "f_bavail f_frsize")


@pytest.fixture
def small_memory(monkeypatch, tmp_path):
    """Only what is below 100 bytes is kept in memory."""
    monkeypatch.setattr(pixel_store, "_MEMORY_BYTES", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.mark.parametrize(("most", "is_mapped"), [(480, False), (479, True)])
def test_beyond_the_limit_it_is_a_file_without_a_name(monkeypatch, small_memory, most, is_mapped):
    monkeypatch.setattr(pixel_store, "_MEMORY_BYTES", most)
    store = make_store(SHAPE)
    assert store.pixels.shape == SHAPE and store.pixels.dtype == torch.uint8
    maps = Path("/proc/self/maps")
    if maps.is_file():
        assert (str(small_memory) in maps.read_text()) == is_mapped
    assert list(small_memory.iterdir()) == []


@pytest.mark.parametrize("most", [10**6, 100])
def test_what_was_put_is_there(monkeypatch, small_memory, most):
    monkeypatch.setattr(pixel_store, "_MEMORY_BYTES", most)
    store = make_store(SHAPE)
    pixels = torch.randint(0, 256, (3, *SHAPE[1:]), dtype=torch.uint8)
    numbers = np.array([7, 0, 4])
    assert store.missing(np.arange(10)).tolist() == list(range(10))
    store.put(numbers, pixels)
    assert store.missing(np.arange(10)).tolist() == [1, 2, 3, 5, 6, 8, 9]
    found = store.get(torch.tensor([4, 7]))
    assert torch.equal(found, pixels[[2, 0]])
    found.zero_()
    assert torch.equal(store.get(torch.tensor([0])), pixels[[1]]), "a copy was given"


@pytest.mark.parametrize(("free", "fits"), [(960, True), (959, False), (0, False)])
def test_half_of_what_is_free_is_left_to_others(monkeypatch, small_memory, free, fits):
    monkeypatch.setattr(os, "statvfs", lambda folder: Free(free, 1))
    if fits:
        assert make_store(SHAPE) is not None
        return
    with pytest.warns(UserWarning, match=r"10 pictures .* each is decoded anew .* Set\s+TMPDIR"):
        assert make_store(SHAPE) is None


def test_a_disk_that_fills_up_meanwhile_is_no_error(monkeypatch, small_memory):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.warns(UserWarning, match="no space is left on the disk"):
        assert make_store(SHAPE) is None
    assert list(small_memory.iterdir()) == []


def test_without_tmpdir_it_lies_where_the_disk_is(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    folder = pixel_store._scratch_folder()
    assert str(folder) in ("/var/tmp", tempfile.gettempdir())


@pytest.mark.parametrize("where", ["memory", "disk", "nowhere"])
def test_images_are_the_same_wherever_they_are_kept(monkeypatch, small_memory, vit, where):
    if where == "memory":
        monkeypatch.setattr(pixel_store, "_MEMORY_BYTES", 10**9)
    if where == "nowhere":
        monkeypatch.setattr("pclora_lab.data.images.make_store", lambda shape: None)
    split = load_data(write_parquet(small_memory / "table")).train
    pixels, calls = ImageBatches(split, Preprocessing.of(vit)), []
    decode = pixels._to_bytes
    pixels._to_bytes = lambda image: calls.append(0) or decode(image)
    rows = torch.tensor([3, 1, 20, 5])
    first, again = pixels.raw(rows), pixels.raw(rows.flip(0)).flip(0)
    assert torch.equal(first, again)
    assert torch.equal(first, torch.stack([decode(split.examples[int(i)]) for i in rows]))
    assert len(calls) == (8 if where == "nowhere" else 4)


def test_a_store_knows_only_what_was_put():
    store = PixelStore(torch.zeros(SHAPE, dtype=torch.uint8))
    assert store.missing(np.array([2, 2])).tolist() == [2, 2]

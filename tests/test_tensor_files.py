"""A file of tensors is what was written, or it is refused; whichever byte was flipped."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pclora_lab.tensor_files import (
    DamagedFile,
    is_whole,
    load_tensors,
    read_metadata,
    save_tensors,
    seal,
    verify,
)

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.safetensors"
    save_tensors(path, TENSORS, {"facts": json.dumps({"a": 'quoted "text"'})})
    return path


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_others_read_it_as_any_file_of_the_format(file):
    assert equal(load_file(file), TENSORS) and equal(load_tensors(file), TENSORS)
    assert read_metadata(file)["format"] == "pt"
    assert json.loads(read_metadata(file)["facts"]) == {"a": 'quoted "text"'}
    assert verify(file) == read_metadata(file)["pclora_lab.checksum"]


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
@pytest.mark.filterwarnings("error")
def test_every_flip_of_a_byte_is_detected(file, mask):
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= mask
        file.write_bytes(damaged)
        with pytest.raises(DamagedFile, match="some.safetensors is damaged"):
            load_tensors(file)


@pytest.mark.filterwarnings("error")
def test_a_header_that_ends_before_its_checksum_is_damaged(tmp_path):
    path = tmp_path / "long.safetensors"
    save_file(TENSORS, path, metadata={"facts": 2000 * "x"})
    seal(path)  # which writes the checksum behind the other texts
    whole = path.read_bytes()
    assert whole.index(b"pclora_lab.checksum") > 8 + 2000
    for length in [2, 100, 1000, 2000]:
        path.write_bytes(length.to_bytes(8, "little") + whole[8:])
        assert not is_whole(path)
        with pytest.raises(DamagedFile, match="long.safetensors is damaged"):
            load_tensors(path)


@pytest.mark.parametrize("left", [0, 3, 8, 100, -8, -1])
def test_a_file_cut_short_is_refused(file, left):
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DamagedFile, match="damaged or cut short"):
        load_tensors(file)


def test_what_was_added_at_the_end_is_refused(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DamagedFile):
        load_tensors(file)


def test_a_file_of_an_earlier_version_is_read_with_a_remark(tmp_path):
    path = tmp_path / "old.safetensors"
    save_file(TENSORS, path)
    assert verify(path) is None
    with pytest.warns(UserWarning, match="old.safetensors has no checksum"):
        assert equal(load_tensors(path), TENSORS)


@pytest.mark.parametrize("metadata", [None, {"format": "pt", "other": "kept"}])
def test_a_file_of_another_library_gets_a_checksum(tmp_path, metadata):
    path = tmp_path / "theirs.safetensors"
    save_file(TENSORS, path, metadata=metadata)
    seal(path)
    assert verify(path) is not None and equal(load_tensors(path), TENSORS)
    assert (metadata or {}).items() <= read_metadata(path).items()
    seal(path)
    assert verify(path) is not None
    shutil.copy(path, tmp_path / "copy.safetensors")
    assert verify(tmp_path / "copy.safetensors") == verify(path)

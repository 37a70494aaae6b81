"""What stands in front of a GGUF file's weights, and files that are none."""

import struct
from pathlib import Path

import pytest
from tiny_gguf import ARRAY, header, said, text

from pclora_lab import load_model
from pclora_lab.models.hf.gguf_header import gguf_source, is_gguf, read_header
from pclora_lab.models.loading import local_model

VALUES = {
    "general.name": said("a tiny one"),
    "general.architecture": said("llama"),
    "llama.block_count": said(2),
    "tokenizer.ggml.tokens": said(["a", "bc", ""]),
    "tokenizer.ggml.scores": struct.pack("<IIQ3f", ARRAY, 6, 3, 0.0, 0.5, 1.0),
}
TENSORS = {"token_embd.weight": (3, 4), "output_norm.weight": (4,)}


def write(folder, data: bytes):
    file = folder / "model.gguf"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("version", [2, 3])
def test_it_says_which_architecture_and_which_tensors(tmp_path, version):
    read = read_header(write(tmp_path, header(VALUES, TENSORS, version)))
    assert (read.architecture, read.elements, read.blocks) == ("llama", 16, 0)
    assert {name: tensor.shape for name, tensor in read.tensors.items()} == TENSORS
    assert [tensor.offset for tensor in read.tensors.values()] == [0, 48]


def test_blocks_are_counted_by_their_numbers(tmp_path):
    names = ("blk.0.a.weight", "blk.11.a.weight", "blk.x.weight", "ablk.30.weight")
    read = read_header(write(tmp_path, header(VALUES, dict.fromkeys(names, (1,)))))
    assert read.blocks == 12
    assert read_header(write(tmp_path, header(VALUES, {}))).blocks == 0


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    whole = header(VALUES, TENSORS)
    weights = 16 * 4
    for length in (*range(4, len(whole) - weights, 7), len(whole) - weights):
        file = write(tmp_path, whole[:length])
        with pytest.raises(ValueError, match=f"{file}.*damaged or cut short; fetch it again"):
            read_header(file)


@pytest.mark.parametrize("data", [b"", b"GG", b"PK\x03\x04 a zip", b"{}"])
def test_a_file_that_only_has_the_name_is_refused(tmp_path, data):
    with pytest.raises(ValueError, match="is no GGUF file: it does not begin with the letters"):
        read_header(write(tmp_path, data))


KEY = text("general.architecture")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header(VALUES, TENSORS, 1), "version 1, and versions 2 and 3"),
        (header({"a": said(1)}, TENSORS), "does not say general.architecture"),
        (header({"general.architecture": said(1)}, {}), "does not say general.architecture"),
        (header({"a": struct.pack("<I", 77)}, {}), "77"),
        (header({"a": struct.pack("<IIQ", 9, 8, 2**60)}, {}), "a list of .* texts is announced"),
        (header({"a": struct.pack("<IIQ", 9, 0, 2**60)}, {}), "bytes are announced"),
        (header({"a": struct.pack("<IQ", 8, 2**62)}, {}), "bytes are announced"),
        (header(VALUES, {"a": (1,) * 9}), "a would have 9 axes"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "general.architecture"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "requires a buffer"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"\xff", "utf-8"),
    ],
)
def test_numbers_that_can_not_be_take_neither_time_nor_memory(tmp_path, data, reason):
    with pytest.raises(ValueError, match=f"the header of .*{reason}.*damaged"):
        read_header(write(tmp_path, data))


def test_a_name_of_a_file_is_known_by_its_end(tmp_path, monkeypatch):
    assert is_gguf("A.GGUF") and not is_gguf("gguf") and not is_gguf("a.gguf.json")
    monkeypatch.chdir(tmp_path)
    # Whole, so that nobody takes a file of this name from another folder.
    assert gguf_source("sub/a.gguf") == (
        str(tmp_path / "sub"),
        {"gguf_file": str(tmp_path / "sub/a.gguf")},
    )
    file = write(tmp_path, header(VALUES, TENSORS))
    assert local_model("model.gguf") == local_model(f" {file.name}")
    assert local_model(str(file)) == file


def test_a_file_that_is_not_there_is_said_before_anything_is_asked_of_a_hub():
    with pytest.raises(ValueError, match="'far/away.gguf' is a GGUF file by its name, but there"):
        load_model("far/away.gguf")
    with pytest.raises(FileNotFoundError, match="there is no GGUF file"):
        read_header(Path("none.gguf"))


def test_a_file_that_is_damaged_is_refused_where_a_model_is_loaded(tmp_path):
    file = write(tmp_path, header(VALUES, TENSORS)[:200])
    with pytest.raises(ValueError, match="damaged or cut short; fetch it again"):
        load_model(file)


def test_without_the_package_it_is_said_what_to_install(tmp_path, monkeypatch):
    file = write(tmp_path, header(VALUES, TENSORS))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'pclora-lab\[gguf\]', or gguf"):
        load_model(file)

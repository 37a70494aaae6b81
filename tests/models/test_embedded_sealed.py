"""Weights that come with the package, and those of a standalone export, are what they were."""

import json
import runpy
import shutil

import pytest

from pclora_lab.cli.doctor import examine
from pclora_lab.export.standalone import export_standalone
from pclora_lab.files import data_dir
from pclora_lab.models import embedded, loading
from pclora_lab.models.embedded import EMBEDDED
from pclora_lab.models.loading import load_model
from pclora_lab.tensor_files import DamagedFile, seal


@pytest.fixture
def copied(tmp_path, monkeypatch):
    for name in EMBEDDED:
        shutil.copytree(data_dir(name), tmp_path / name)
    for module in (embedded, loading):
        monkeypatch.setattr(module, "data_dir", lambda name: tmp_path / name)
    return tmp_path


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_flipped_bit_of_an_embedded_model_is_found(copied, name):
    file = copied / name / "model.safetensors"
    load_model(name)
    for place in (file.stat().st_size // 2, -1):
        flip(file, place)
        with pytest.raises(DamagedFile, match=rf"{name}.*(Reinstall|was changed)"):
            load_model(name)
        assert any("not the file that the result.json" in p for p in examine(copied)["problems"])
        flip(file, place)
    load_model(name)
    seal(file)  # made again by somebody
    load_model(name)
    (copied / name / "result.json").unlink()
    load_model(name)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"recipe\.py"):
        load_model(name)


def test_a_standalone_export_refuses_weights_that_are_not_its_own(tmp_path):
    export_standalone(load_model("vit_digits"), tmp_path / "plain")
    file, load = tmp_path / "plain" / "model.safetensors", tmp_path / "plain" / "load.py"
    text = load.read_text()
    assert "pclora_lab" not in text and "import hashlib" in text
    for place in (9, file.stat().st_size // 2, -1):
        flip(file, place, 3)
        with pytest.raises(ValueError, match="is not what was exported: fetch or export it again"):
            runpy.run_path(str(load))["load"]()
        flip(file, place, 3)
    assert runpy.run_path(str(load))["load"]().num_classes == 10
    assert len(json.loads((tmp_path / "plain" / "config.json").read_text())["sha256"]) == 64

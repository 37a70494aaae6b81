"""The benchmark for a GPU machine runs through where one is only pretended."""

import json

import gpu
import pytest
import torch
from pretend_cuda import PretendCuda


@pytest.mark.parametrize("part", [name for name in gpu.PARTS if name != "compiled"])
def test_every_part_is_measured(part, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "_name", lambda device: f"a pretended {device.type}")
    file = tmp_path / "gpu.json"
    with PretendCuda():
        found = gpu.main(
            ["--model", "timm_test_vit", "--turns", "1", "--parts", part, "--result", str(file)]
        )
    assert isinstance(found[part], dict), found[part]
    assert json.loads(file.read_text())["hardware"].startswith("a pretended cuda")


def test_a_part_that_fails_or_finds_no_time_keeps_no_other_from_being_measured(monkeypatch):
    def broken(*_):
        raise torch.OutOfMemoryError("2 GB")

    monkeypatch.setattr(gpu, "PARTS", {"a": broken, "b": lambda *_: {"ms": 1}})
    arguments = ["--device", "cpu", "--model", "timm_test_vit", "--parts", "a", "b"]
    found = gpu.main(arguments)
    assert found["a"] == "OutOfMemoryError: 2 GB" and found["b"] == {"ms": 1}
    found = gpu.main([*arguments, "--seconds", "-1"])
    assert found["a"] == found["b"] == "no time was left"

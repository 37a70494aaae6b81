"""A GPU that is not there, is lost or too small: an error with value, reason and cure."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from device_runs import CACHE, config
from pretend_cuda import PretendCuda

from pclora_lab import Session, resume, train
from pclora_lab.cli.main import main
from pclora_lab.methods.base import Method
from pclora_lab.runs import execute
from pclora_lab.training.device import device_errors_explained

SAVED = Path(__file__).parents[1] / "fixtures/before_rooms/stopped"
OLD = pytest.mark.filterwarnings("ignore:.*has no checksum, as it was written by an earlier")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "mps", "mps:1"])
def test_every_way_to_train_refuses_a_device_that_is_not_there(device, tmp_path):
    made, root = config(tmp_path / "data", "pclora", device=device), tmp_path / "runs"
    ways = [
        lambda: next(train(made, root)),
        lambda: execute(made, root),
        lambda: Session(made, root).start(),
    ]
    for way in ways:
        with pytest.raises(ValueError, match=f"device '{device}' is not available: .*Use auto or"):
            way()
    assert not root.exists()


def test_a_number_that_the_machine_does_not_have_is_refused_with_those_it_has(tmp_path):
    made = config(tmp_path, "pclora", device="cuda:7")
    with (
        PretendCuda(),
        pytest.raises(ValueError, match="'cuda:7' is not .*Use auto or cuda:0, cpu"),
    ):
        next(train(made, tmp_path / "runs"))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "cpu:9", "tpu"])
def test_a_device_that_nobody_knows_is_refused(device, tmp_path):
    made = config(tmp_path, "pclora", device=device)
    with pytest.raises(ValueError, match="use auto or one of|Use auto or"):
        next(train(made, tmp_path / "runs"))


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_the_command_line_says_it_in_a_sentence(device, tmp_path, capsys):
    command = ["train", "--out", str(tmp_path / "runs"), "--device", device, "--steps", "2"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"pclora-lab: device '{device}' is not available: ")
    assert told.count("\n") == 1 and not (tmp_path / "runs").exists()


def began_on_a_gpu(root: Path) -> Path:
    folder = Path(shutil.copytree(SAVED, root / "stopped"))
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "device": "cuda:3"}))
    return folder


@OLD
def test_a_run_of_a_gpu_that_is_gone_says_how_it_can_go_on(tmp_path):
    folder = began_on_a_gpu(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    told = "'cuda:3' is not available: .*as \"device\" in its config.json.*--allow-changes"
    with pytest.raises(ValueError, match=f"stopped can't be taken up: device {told}"):
        resume(folder)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before


ERRORS = {
    "failed": torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with DSA"),
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee docs"),
}
TOLD = {
    "failed": r"device='cpu' failed \(CUDA error: unspecified launch failure\), .*new process",
    "memory": r"memory of device='cpu' is too small .*20.00 GiB\): use .*batch_size than 8",
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_device_that_is_lost_in_between_ends_in_a_sentence(kind, tmp_path, monkeypatch):
    def lost(*args):
        raise ERRORS[kind]

    monkeypatch.setattr(Method, "after_backward", lost)
    made = config(tmp_path, "pclora")
    with pytest.raises(RuntimeError, match=TOLD[kind]) as caught:
        list(train(made, tmp_path / "runs", cache=CACHE))
    assert "\n" not in str(caught.value) and caught.value.__cause__ is ERRORS[kind]


def test_other_errors_go_through_as_they_are(tmp_path):
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError) as caught, device_errors_explained(config(tmp_path, "full")):
        raise error
    assert caught.value is error

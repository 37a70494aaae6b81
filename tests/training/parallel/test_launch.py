"""How the processes of a run find each other, and what is refused before the first step."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import distributed

from pclora_lab import Comparison, RunConfig, Session, resume, train
from pclora_lab.cli.main import main
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.runs import execute
from pclora_lab.training.parallel import launch
from pclora_lab.training.parallel.launch import join, refuse_several_processes
from pclora_lab.training.parallel.ranks import ALONE, Ranks

QUICK = RunConfig(method=SVDConfig(rank=4), steps=2, device="cpu", evaluations=1, eval_images=16)
ONCE = "a launcher such as torchrun has started 2 processes.*torchrun --nproc-per-node 2"


def stopped(root):
    """A run that left a checkpoint."""
    saved = Path(__file__).parents[2] / "fixtures/before_rooms/stopped"
    return Path(shutil.copytree(saved, root / "stopped"))


OLD = pytest.mark.filterwarnings("ignore:.*has no checksum, as it was written by an earlier")


@OLD
@pytest.mark.parametrize("sign", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_every_way_to_train_refuses_processes_that_can_not_find_each_other(
    sign, tmp_path, monkeypatch
):
    folder = stopped(tmp_path / "before")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setenv(sign, "2")
    root = tmp_path / "runs"
    missing = "RANK, LOCAL_RANK" if sign == "WORLD_SIZE" else "RANK, WORLD_SIZE, LOCAL_RANK"
    lost = f"^{sign} is 2, but {missing}, MASTER_ADDR, MASTER_PORT is not set, so that 2 processes"
    ways = {
        lambda: next(train(QUICK, root)): lost,
        lambda: execute(QUICK, root): lost,
        lambda: resume(folder): lost,
        lambda: Session(QUICK, root).start(): f"^{sign} is 2: {ONCE}",
        lambda: Session.of_run(folder).start().wait(): f"^{sign} is 2: {ONCE}",
        lambda: Comparison(QUICK, methods=["svd"], out=root): f"^{sign} is 2: {ONCE}",
    }
    for way, words in ways.items():
        with pytest.raises(RuntimeError, match=words):
            way()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files


@OLD
@pytest.mark.parametrize("command", ["train", "demo", "compare", "resume"])
def test_the_command_line_says_it_in_a_sentence(command, tmp_path, monkeypatch, capsys):
    where = [str(stopped(tmp_path))] if command == "resume" else ["--out", str(tmp_path / "runs")]
    monkeypatch.setenv("WORLD_SIZE", "2")
    capsys.readouterr()
    assert main([command, *where, "--json"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("pclora-lab: WORLD_SIZE is 2")
    assert json.loads(told.out)["type"] == "RuntimeError"
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("RANK", "1")
    assert main([command, *where, "--json"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("pclora-lab (process 1): WORLD_SIZE is 2") and not told.out


def test_one_process_is_no_sign_and_neither_is_an_allocation(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("PMI_SIZE", "many")
    refuse_several_processes()
    assert join(QUICK) is ALONE
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match=f"torch.distributed has a group of 2: {ONCE}"):
        refuse_several_processes()


def test_the_largest_number_of_processes_is_told_and_one_in_a_group_is_none(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 1)
    refuse_several_processes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MV2_COMM_WORLD_SIZE", "4")
    with pytest.raises(RuntimeError, match="^MV2_COMM_WORLD_SIZE is 4: .* 4 processes"):
        refuse_several_processes()
    monkeypatch.setattr(distributed, "get_world_size", lambda: 4)
    with pytest.raises(RuntimeError, match="^MV2_COMM_WORLD_SIZE is 4"):
        refuse_several_processes()
    monkeypatch.setattr(distributed, "get_world_size", lambda: 5)
    with pytest.raises(RuntimeError, match="has a group of 5: .* 5 processes"):
        refuse_several_processes()


@pytest.mark.parametrize(
    ("name", "engine"),
    [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")],
)
def test_engines_that_divide_the_model_are_refused(monkeypatch, name, engine):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "True")
    with pytest.raises(RuntimeError, match=f"{name} is set.*{engine}.*accelerate launch --multi"):
        join(QUICK)
    monkeypatch.setenv(name, "false")
    with pytest.raises(RuntimeError, match="^WORLD_SIZE is 2, but RANK"):
        join(QUICK)


class Told(Ranks):
    """Of processes that say what a test lets them say."""

    def gathered(self, text):
        return list(self.control) if self.control else [text] * self.count


def test_two_processes_on_one_gpu_are_refused(monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="GPU-1")
    )
    gpu = torch.device("cuda", 1)
    own = launch._place(gpu)
    assert own.endswith("cuda GPU-1")
    launch._require_own_devices(Told(1, 3, ["a", own, "b"]), gpu)
    words = "3 processes are more than there are devices: processes 1 and 2 both have cuda:1"
    with pytest.raises(ValueError, match=f"{words}. Start 2 .torchrun --nproc-per-node 2"):
        launch._require_own_devices(Told(1, 3, ["a", own, own]), gpu)
    with pytest.raises(ValueError, match="both have mps. Start 1"):
        launch._require_own_devices(Told(0, 2), torch.device("mps"))
    launch._require_own_devices(Told(0, 2), torch.device("cpu"))


def test_on_one_machine_gloo_listens_on_the_loopback_interface_only(monkeypatch):
    loopback = launch._loopback()
    addresses = {entry.address for entry in psutil.net_if_addrs()[loopback]}
    assert "127.0.0.1" in addresses
    for local, given, used in [
        ("2", None, loopback), ("1", None, None), ("2", "eth7", "eth7"),
    ]:  # fmt: skip
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
        monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
        if given is not None:
            monkeypatch.setenv("GLOO_SOCKET_IFNAME", given)
        with launch._on_loopback():
            assert os.environ.get("GLOO_SOCKET_IFNAME") == used
        assert os.environ.get("GLOO_SOCKET_IFNAME") == given
    monkeypatch.setattr(psutil, "net_if_addrs", dict)
    assert launch._loopback() is None

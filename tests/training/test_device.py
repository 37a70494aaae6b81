"""Where a run computes: in one process, on the device it names, and what it holds there."""

import json
import shutil
from pathlib import Path

import psutil
import pytest
import torch
from torch import distributed

from pclora_lab import Comparison, RunConfig, Session, resume, train
from pclora_lab.cli.main import main
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.runs import execute
from pclora_lab.training.device import (
    make_accelerator,
    memory_mb,
    peak_memory_mb,
    refuse_several_processes,
)

QUICK = RunConfig(method=SVDConfig(rank=4), steps=2, device="cpu", evaluations=1, eval_images=16)
TOLD = "a launcher such as torchrun has started 2 processes.*Start it without the launcher"


def stopped(root):
    """A run that left a checkpoint."""
    saved = Path(__file__).parents[1] / "fixtures/before_rooms/stopped"
    return Path(shutil.copytree(saved, root / "stopped"))


OLD = pytest.mark.filterwarnings("ignore:.*has no checksum, as it was written by an earlier")


@OLD
@pytest.mark.parametrize("sign", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_every_way_to_train_refuses_several_processes(sign, tmp_path, monkeypatch):
    folder = stopped(tmp_path / "before")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setenv(sign, "2")
    root = tmp_path / "runs"
    ways = [
        lambda: next(train(QUICK, root)),
        lambda: execute(QUICK, root),
        lambda: Session(QUICK, root).start(),
        lambda: Session.of_run(folder).start().wait(),
        lambda: resume(folder),
        lambda: Comparison(QUICK, methods=["svd"], out=root),
    ]
    for way in ways:
        with pytest.raises(RuntimeError, match=f"^{sign} is 2: {TOLD}"):
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
    assert told.err.startswith("pclora-lab: WORLD_SIZE is 2: a launcher such as torchrun")
    assert json.loads(told.out)["type"] == "RuntimeError"
    assert not (tmp_path / "runs").exists()


def test_one_process_is_no_sign_and_neither_is_an_allocation(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("PMI_SIZE", "many")
    refuse_several_processes()
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match=f"torch.distributed has a group of 2: {TOLD}"):
        refuse_several_processes()


def test_a_loop_of_your_own_may_have_several_processes(monkeypatch):
    from pclora_lab import Distiller, compress, get_pclora_model, load_model, set_progress

    monkeypatch.setenv("WORLD_SIZE", "2")
    model = load_model("vit_digits")
    student = get_pclora_model(model, rank=4)
    set_progress(student, 0.5)
    Distiller(student, model).terms(torch.rand(2, 1, 8, 8), torch.tensor([1, 2]))
    set_progress(student, 1.0)
    compress(student, allow_unfaded=True)


def test_memory_is_told_in_megabytes(monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda where: 3_000_000_000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda where: 5_000_000_000)
    assert memory_mb(device) == 3000 and peak_memory_mb(device) == 5000
    here = memory_mb(torch.device("cpu"))
    assert here == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.05)
    assert peak_memory_mb(torch.device("cpu")) >= 0.95 * here


def test_a_run_on_the_cpu_asks_for_nothing_else(vit):
    accelerator = make_accelerator(RunConfig(device="cpu"), vit)
    assert accelerator.device.type == "cpu" and accelerator.state._cpu is True

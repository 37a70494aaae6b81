"""What ``auto`` stands for is decided once and kept; float16 loses no small gradient."""

import dataclasses
import json
from contextlib import closing

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.fields import FieldError
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, method_class
from pclora_lab.runs.checkpoints import load_checkpoint, save_checkpoint
from pclora_lab.runs.comparison import Comparison
from pclora_lab.runs.execution import execute
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.resuming import resume
from pclora_lab.training import device as devices
from pclora_lab.training import precision
from pclora_lab.training.config import RunConfig, read_config
from pclora_lab.training.device import make_accelerator
from pclora_lab.training.events import StepEnd
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.optimizer import LossDiverged, Meter, make_optimizer, optimization_steps
from pclora_lab.training.precision import LossScaler, has_bfloat16, pinned, require_precision
from pclora_lab.training.state import load_training_state, training_state

QUICK = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=4, evaluations=1, eval_images=20,
    layer_metrics=False, snapshots=2, device="cpu", batch_size=8, teacher_steps=2,
)  # fmt: skip
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def machine(monkeypatch):
    """Says what the hardware can do, for models of any size."""
    monkeypatch.setattr(precision, "_CPU_AUTOCAST_PARAMS", 0)

    def can(bfloat16):
        monkeypatch.setattr(precision, "has_bfloat16", lambda device: bfloat16)

    can(bfloat16=True)
    return can


@pytest.fixture
def float16_on_cpu(monkeypatch):
    monkeypatch.setattr(devices, "require_precision", lambda precision, device: None)


@pytest.mark.parametrize(
    ("device", "bfloat16", "resolved"),
    [(CPU, True, "bfloat16"), (CPU, False, "float32"), (GPU, True, "bfloat16"),
     (GPU, False, "float16"), (torch.device("mps"), True, "float32")],
)  # fmt: skip
def test_auto_follows_the_hardware(machine, device, bfloat16, resolved):
    machine(bfloat16)
    assert pinned(RunConfig(), nn.Linear(2, 2), device).precision == resolved
    asked = RunConfig(precision="float32")
    assert pinned(asked, nn.Linear(2, 2), device) is asked


@pytest.mark.parametrize(("size", "resolved"), [(999, "float32"), (1000, "bfloat16")])
def test_on_a_cpu_a_small_model_stays_in_float32(machine, monkeypatch, size, resolved):
    monkeypatch.setattr(precision, "_CPU_AUTOCAST_PARAMS", 1_000)
    model = nn.Linear(size, 1, bias=False)
    assert pinned(RunConfig(), model, CPU).precision == resolved


@pytest.mark.parametrize(
    ("name", "device", "words"),
    [("float16", CPU, "a CPU has no arithmetic for: use auto, bfloat16 or float32"),
     ("bfloat16", GPU, "cuda:0 has no arithmetic for: use auto, float16 or float32")],
)  # fmt: skip
def test_what_the_device_lacks_is_refused(machine, name, device, words):
    machine(bfloat16=False)
    with pytest.raises(FieldError, match=words):
        require_precision(name, device)
    require_precision("float32", device)


def test_float16_on_a_cpu_is_refused_before_anything_is_trained(tmp_path):
    events = execute(dataclasses.replace(QUICK, precision="float16"), tmp_path)
    with pytest.raises(FieldError, match="precision is 'float16'"):
        list(events)


def stopped(config, root, name="run"):
    run = execute(config, root, name=name)
    with closing(run):
        next(e for e in run if isinstance(e, StepEnd) and e.phase == "fade" and e.step == 2)
    return run.folder


def test_a_run_keeps_what_auto_stood_for(machine, tmp_path):
    config = dataclasses.replace(QUICK, teacher="finetune")
    folder = stopped(config, tmp_path)
    assert read_config(folder).precision == "bfloat16"
    assert read_config(folder) == dataclasses.replace(config, precision="bfloat16")
    machine(bfloat16=False)
    *_, end = resume(folder)
    assert end.result["precision"] == "bfloat16"
    assert not any("precision" in note for note in end.result["notes"])
    assert Replay(folder).has_teacher
    # On this other machine a new run computes otherwise, and its teacher is another one.
    list(execute(config, tmp_path, name="other"))
    assert read_config(tmp_path / "other").precision == "float32"
    assert len(list((tmp_path / "teachers").iterdir())) == 2


def test_a_run_that_left_no_checkpoint_keeps_it_too(machine, tmp_path):
    run = execute(QUICK, tmp_path)
    for _ in range(3):
        next(run)
    run.close()
    (run.folder / "checkpoint.safetensors").unlink(missing_ok=True)
    machine(bfloat16=False)
    *_, end = resume(run.folder)
    assert end.result["precision"] == "bfloat16"


def test_a_run_of_an_older_version_goes_on_in_its_precision(machine, tmp_path):
    folder = stopped(QUICK, tmp_path)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, "precision": "auto"}))
    checkpoint = load_checkpoint(folder)
    identity = dataclasses.replace(
        checkpoint.identity,
        settings={**checkpoint.identity.settings, "precision": "auto"},
        environment={**checkpoint.identity.environment, "precision": "bf16"},
    )
    save_checkpoint(folder, dataclasses.replace(checkpoint, identity=identity))
    machine(bfloat16=False)
    *_, end = resume(folder)
    assert end.result["precision"] == "bfloat16"


def test_another_precision_than_before_is_a_change(machine, tmp_path):
    folder = stopped(QUICK, tmp_path)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, "precision": "float32"}))
    with pytest.raises(ValueError, match=r"precision \('bfloat16', now 'float32'\) changed"):
        list(resume(folder))


def test_every_cell_of_a_comparison_computes_as_the_first_one_did(machine, tmp_path):
    def comparison():
        base = dataclasses.replace(QUICK, steps=1)
        grid = {"methods": ("svd", "pclora"), "budgets": (0.1,), "seeds": (0,), "lrs": (1e-3,)}
        return Comparison(base, **grid, out=tmp_path / "c")

    steps = comparison().run()
    next(step for step in steps if step.ends_cell)
    steps.close()
    machine(bfloat16=False)
    later = comparison()
    assert later.base.precision == "bfloat16"
    list(later.run())
    assert [row["precision"] for row in later.rows()] == ["bfloat16"] * 2
    assert all(row["error"] is None for row in later.rows())


def test_a_cell_that_was_killed_before_the_comparison_knew_goes_on(machine, tmp_path):
    grid = {"methods": ("pclora",), "budgets": (0.1,), "seeds": (0,), "lrs": (1e-3,)}
    first = Comparison(QUICK, **grid, out=tmp_path / "c")
    (cell,) = first.cells("pclora")
    stopped(cell.config, tmp_path / "c" / "cells", cell.name)
    before = (tmp_path / "c" / "cells" / cell.name).stat().st_ino
    machine(bfloat16=False)
    list(first.run())
    (row,) = first.rows()
    assert row["precision"] == "bfloat16"
    assert (tmp_path / "c" / "cells" / cell.name).stat().st_ino == before


# float16


def trained(name, root, **changes):
    """Rows and weights of a short run of a method."""
    options = {"steps": 3, "method": METHODS[name].default_config(), "lr": None, **changes}
    run = execute(dataclasses.replace(QUICK, **options), root, name=changes.get("precision"))
    *_, end = run
    return end, load_file(run.folder / "compressed" / "model.safetensors")


@pytest.mark.parametrize("name", sorted(n for n in METHODS if METHODS[n].trains))
def test_every_method_trains_in_float16_as_in_float32(name, float16_on_cpu, tmp_path):
    _, full = trained(name, tmp_path, precision="float32")
    end, half = trained(name, tmp_path, precision="float16")
    assert end.result["precision"] == "float16"
    # By tensor, Adam's first steps go anywhere where a gradient is rounding alone.
    one, two = (torch.cat([w[n].flatten().float() for n in sorted(full)]) for w in (full, half))
    assert (one - two).norm() <= 0.02 * one.norm()


class Ones(Batches):
    """The same ones for every index."""

    def inputs(self, indices, device=None):
        return torch.ones(len(indices), 4)


CONFIG = RunConfig(batch_size=4, precision="float16", device="cpu")


def scaled_steps(model, loss, scaler, steps=4, **options):
    return optimization_steps(
        model,
        lambda x, y: {"loss": loss(model(x))},
        Ones(torch.zeros(16, dtype=torch.long)),
        CONFIG,
        make_accelerator(CONFIG, model),
        steps=steps,
        peak_lr=1e-3,
        logged=range(99),
        generator=torch.Generator().manual_seed(0),
        scaler=scaler,
        **options,
    )


def test_a_step_that_overflows_is_left_out_and_the_scale_halved(float16_on_cpu):
    model = nn.Linear(4, 2)
    scaler = LossScaler(make_accelerator(CONFIG, model))
    before, seen = model.weight.detach().clone(), []
    # Four examples, each with 8 times the scale of 2**16, and float16 ends at 65,504.
    steps = scaled_steps(
        model, lambda y: 8 * y.float().sum(), scaler, steps=8,
        after_backward=lambda: seen.append(model.weight.grad.clone()),
    )  # fmt: skip
    next(steps)
    assert scaler.skipped == 1 and not seen and torch.equal(model.weight, before)
    assert scaler.state_dict()["scale"] == 2**15
    list(steps)
    assert scaler.skipped == len(seen) + 4 == 6 and not torch.equal(model.weight, before)
    # What the method sees of the gradients is not scaled.
    assert all(torch.allclose(g, torch.full_like(g, 32.0), rtol=1e-2) for g in seen)


def test_gradients_too_small_for_float16_are_kept(float16_on_cpu):
    torch.manual_seed(0)
    model, seen = nn.Linear(4, 2), []
    scaler = LossScaler(make_accelerator(CONFIG, model))
    steps = scaled_steps(
        model, lambda y: 1e-9 * y.float().sum(), scaler, steps=1,
        after_backward=lambda: seen.append(model.weight.grad.clone()),
    )  # fmt: skip
    list(steps)
    assert torch.allclose(seen[0], torch.full((2, 4), 4e-9), rtol=0.05)


def test_a_gradient_beyond_float16_ends_the_run(float16_on_cpu):
    model = nn.Linear(4, 2)
    scaler = LossScaler(make_accelerator(CONFIG, model))
    with pytest.raises(LossDiverged, match="the gradient was beyond float16 at step"):
        list(scaled_steps(model, lambda y: 1e30 * y.float().sum(), scaler, steps=60))


def test_a_training_in_float16_is_taken_up_to_the_same_bits(float16_on_cpu):
    def began():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
        optimizer, meter = make_optimizer(model, 0.01), Meter(CPU, "lr=0.1")
        scaler = LossScaler(make_accelerator(CONFIG, model))
        return model, optimizer, meter, scaler

    def go(parts, steps, first=0):
        model, optimizer, meter, scaler = parts
        taken = scaled_steps(
            model, lambda y: 2e4 * y.float().square().sum(), scaler, steps=12,
            optimizer=optimizer, meter=meter, first=first,
        )  # fmt: skip
        for _ in range(steps):
            next(taken)
        return training_state(model, optimizer, None, meter, scaler)

    whole = go(began(), 12)
    kept = go(began(), 5)
    assert kept["scaler/skipped"] > 0
    again = began()
    load_training_state(*again[:2], kept, *again[2:])
    rest = go(again, 7, first=5)
    assert whole.keys() == rest.keys()
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_other_precisions_need_no_scale():
    scaler = LossScaler(make_accelerator(RunConfig(device="cpu"), nn.Linear(2, 2)))
    assert not scaler.is_active and scaler.state_dict() == {}
    scaler.load_state_dict({})
    assert method_class("snella").trains


@pytest.mark.parametrize("supported", [True, False])
def test_bfloat16_is_what_the_hardware_computes_in_and_not_what_it_emulates(monkeypatch, supported):
    def is_supported(including_emulation=True):
        return supported or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not supported)
    assert has_bfloat16(GPU) is supported
    assert has_bfloat16(CPU) is not supported
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert has_bfloat16(CPU)
    assert has_bfloat16(torch.device("mps")) is False


@pytest.mark.parametrize(("rows", "columns", "resolved"), [(999, 1001, "float32"),
                                                           (1000, 1000, "bfloat16")])  # fmt: skip
def test_a_million_weights_make_a_model_large_enough_for_bfloat16_on_a_cpu(
    monkeypatch, rows, columns, resolved
):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    model = nn.Linear(columns, rows, bias=False, device="meta")
    assert pinned(RunConfig(), model, CPU).precision == resolved


@pytest.mark.parametrize("begun", ["float32", "bfloat16", "float16", None])
def test_a_run_goes_on_in_the_precision_that_it_began_with(machine, begun):
    settings = {"precision": begun or "auto"}
    identity = Identity("d", "p", "w", "a", settings=settings)
    found = pinned(RunConfig(), nn.Linear(2, 2), CPU, identity).precision
    assert found == (begun or "bfloat16")
    asked = RunConfig(precision="float32")
    assert pinned(asked, nn.Linear(2, 2), CPU, identity) is asked


@pytest.mark.parametrize(
    ("name", "device", "bfloat16"),
    [("float16", GPU, False), ("bfloat16", CPU, False), ("bfloat16", GPU, True),
     ("float16", torch.device("mps"), False), ("float32", GPU, False)],
)  # fmt: skip
def test_what_the_device_can_compute_in_is_let_through(machine, name, device, bfloat16):
    machine(bfloat16)
    require_precision(name, device)


def test_a_scale_is_exhausted_below_one_and_comes_back_as_it_was(float16_on_cpu):
    scaler = LossScaler(make_accelerator(CONFIG, nn.Linear(2, 2)))
    assert scaler.is_active and not scaler.is_exhausted and scaler.skipped == 0
    for scale, exhausted in ((2.0, False), (1.0, False), (0.5, True)):
        state = {"scale": scale, "growth": 7, "skipped": 3}
        state = {name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()}
        scaler.load_state_dict(state)
        assert scaler.is_exhausted is exhausted and scaler.skipped == 3
        assert scaler.state_dict() == state
    scaler.load_state_dict({})
    assert scaler.skipped == 3 and scaler.is_exhausted


def test_an_accelerator_of_your_own_says_no_precision_and_needs_no_scale():
    scaler = LossScaler(Accelerator(cpu=True))
    assert not scaler.is_active and not scaler.is_exhausted
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(model, 0.0)
    assert scaler.backward(model(torch.ones(1, 2)).sum(), optimizer) is True
    assert model.weight.grad.tolist() == [[1.0, 1.0]] and scaler.skipped == 0


def test_a_part_that_the_loss_does_not_reach_has_no_gradient_and_ends_nothing(float16_on_cpu):
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    scaler = LossScaler(make_accelerator(CONFIG, model))
    assert scaler.backward(model[0](torch.ones(1, 2)).sum() / 2**10, make_optimizer(model, 0.0))
    assert model[0].weight.grad.tolist() == [[2**-10] * 2] and model[1].weight.grad is None
    bad = model[1](torch.ones(1, 2)).sum() * float("inf")
    assert scaler.backward(bad, make_optimizer(model, 0.0)) is False and scaler.skipped == 1

"""Runs on a pretended GPU: the history of the CPU, no step that waits, nothing left behind."""

import gc
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch
from device_ledger import LEDGER
from device_runs import CACHE, TIMES, Ran, config, logged_at_the_end, ran
from pretend_cuda import PretendCuda

from pclora_lab.runs import execute
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.resuming import resume
from pclora_lab.training.events import LogRow, PhaseStart, StepEnd
from pclora_lab.training.loop import train

PICTURES = ["pclora", "pela", "snella", "lora", "svd_kd", "svd", "full", "small"]
RUNS = [*((method, "pictures") for method in PICTURES), ("pclora", "texts")]
TRAINED = [(method, kind) for method, kind in RUNS if method != "svd"]


# Of peft with transformers' models.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory):
    """Each run once."""
    folder = tmp_path_factory.mktemp("device")

    @cache
    def once(method: str, kind: str) -> Ran:
        with PretendCuda():
            return ran(config(folder, method, kind, device="cuda"), folder / "gpu")

    once.folder = folder
    return once


def rounded(found: Any, rel: float = 1e-5) -> Any:
    """The same, with every number about as large."""
    if isinstance(found, dict):
        return {name: rounded(value, rel) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value, rel) for value in found]
    return pytest.approx(found, rel=rel, abs=1e-5) if isinstance(found, float) else found


@pytest.mark.parametrize(("method", "kind"), RUNS)
def test_a_run_on_the_device_has_the_history_of_the_cpu(on_gpu, method, kind):
    here = ran(config(on_gpu.folder, method, kind), on_gpu.folder / "cpu")
    there = on_gpu(method, kind)
    assert there.end.result["device"] == "cuda:0"
    # Not to the bit: where memory begins decides in which order a sum is taken.
    assert there.rows == rounded(here.rows, 1e-3)
    for one, other in zip(here.end.model.parameters(), there.end.model.parameters(), strict=True):
        assert type(other) is torch.nn.Parameter
        # A gradient near 0 has either sign, and AdamW divides by its size.
        torch.testing.assert_close(one, other, rtol=1e-2, atol=2e-3)
    assert all(p.is_cpu for p in there.end.teacher.parameters())


@pytest.mark.parametrize(("method", "kind"), TRAINED)
def test_no_ordinary_step_waits_for_the_device(on_gpu, method, kind):
    """The texts are of one length: in a batch with padding, transformers itself asks the mask."""
    assert on_gpu(method, kind).waits == {}


@pytest.mark.parametrize(("method", "kind"), RUNS)
def test_nothing_is_left_on_the_device(on_gpu, method, kind):
    assert on_gpu(method, kind).left <= 0


@pytest.mark.parametrize("method", ["full", "small"])
def test_who_needs_no_teacher_holds_no_dense_model_on_the_device(on_gpu, method):
    """A weight and two moments for each parameter, and the pictures that are looked at again."""
    found, pictures = on_gpu(method, "pictures"), 32 * 3 * 16**2 * 4
    trained = sum(p.numel() * p.element_size() for p in found.end.model.parameters())
    dense = sum(p.numel() * p.element_size() for p in found.end.teacher.parameters())
    assert found.held < 3 * trained + pictures + dense / 2


def test_bfloat16_on_the_device_is_that_of_the_cpu(on_gpu):
    made = config(on_gpu.folder, "pclora", precision="bfloat16")
    rows = ran(made, on_gpu.folder / "cpu").rows
    with PretendCuda():
        there = ran(replace(made, device="cuda"), on_gpu.folder / "gpu").rows
    # The CPU takes attention apart in this precision, a GPU does not.
    for name in ("lam", "loss", "task", "feature"):
        assert [r.get(name) for r in there] == rounded([r.get(name) for r in rows], 0.02)


@pytest.mark.parametrize("method", ["pclora", "snella"])
def test_a_run_that_is_left_leaves_nothing_and_is_taken_up_to_the_same_end(on_gpu, method):
    wanted, before = on_gpu(method, "pictures").end.model, LEDGER.held
    with PretendCuda(), logged_at_the_end():
        made = config(on_gpu.folder, method, device="cuda")
        events = execute(made, on_gpu.folder / "taken_up", cache=CACHE)
        held = next(LEDGER.held for e in events if isinstance(e, StepEnd) and e.step == 2)
        assert held > before + 10_000
        events.close()
        gc.collect()
        assert LEDGER.held < before + 100  # mean and deviation of a picture stay
        *_, end = resume(events.folder, cache=CACHE)
        if method == "pclora":
            replay = Replay(events.folder, cache=CACHE)
            assert replay.predictions(replay.steps[-1], [0, 1]).student.isfinite().all()
    assert end.result["device"] == "cuda:0"
    for one, other in zip(wanted.parameters(), end.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_measuring_the_inputs_is_no_part_of_the_runs_peak(on_gpu):
    with PretendCuda():
        made = config(on_gpu.folder, "pclora", device="cuda", model="vit_digits")
        assert made.method.init == "activation_svd"
        events = train(made, on_gpu.folder / "gpu", cache=CACHE)
        while next(events) != PhaseStart("fade", made.steps):
            pass
        one_covariance = 384**2 * 8  # of one of the four widest layers, in double precision
        assert LEDGER.held > 0 and LEDGER.peak - LEDGER.held < one_covariance
        events.close()


def test_a_default_device_changes_nothing(on_gpu):
    """``torch.set_default_device`` moves what is made without a device, generators not."""
    # transformers reads weights in threads, where nothing is pretended.
    made = config(on_gpu.folder, "pclora", model="vit_digits", device="cuda", steps=2)

    def first_rows():
        events = train(made, on_gpu.folder / "gpu", cache=CACHE)
        rows = islice((e.values for e in events if isinstance(e, LogRow)), 2)
        return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]

    with PretendCuda():
        wanted = first_rows()
        with torch.device("cuda"):
            assert first_rows() == wanted

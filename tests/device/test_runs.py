"""Runs on a pretended GPU: the history of the CPU, no step that waits, nothing left behind."""

import gc
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest
import torch
from device_ledger import LEDGER
from device_runs import TIMES, Ran, config, ran
from pretend_cuda import PretendCuda

from pclora_lab.data.cache import DataCache
from pclora_lab.training.events import LogRow, PhaseStart, StepEnd
from pclora_lab.training.loop import train

PICTURES = ["pclora", "pela", "snella", "lora", "svd_kd", "svd", "activation_svd", "full", "small"]
RUNS = [*((method, "pictures") for method in PICTURES), ("pclora", "texts")]
TRAINED = [(method, kind) for method, kind in RUNS if method not in ("svd", "activation_svd")]


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


@pytest.mark.parametrize(("method", "kind"), RUNS)
def test_a_run_on_the_device_has_the_history_of_the_cpu(on_gpu, method, kind):
    here = ran(config(on_gpu.folder, method, kind), on_gpu.folder / "cpu")
    there = on_gpu(method, kind)
    assert there.end.result["device"] == "cuda:0" and there.rows == here.rows
    for one, other in zip(here.end.model.parameters(), there.end.model.parameters(), strict=True):
        assert type(other) is torch.nn.Parameter and torch.equal(one, other)
    assert all(p.is_cpu for p in there.end.teacher.parameters())


@pytest.mark.parametrize(("method", "kind"), TRAINED)
def test_no_ordinary_step_waits_for_the_device(on_gpu, method, kind):
    """The texts are of one length: in a batch with padding, transformers itself asks the mask."""
    assert on_gpu(method, kind).waits == {}


@pytest.mark.parametrize(("method", "kind"), RUNS)
def test_nothing_is_left_on_the_device(on_gpu, method, kind):
    assert on_gpu(method, kind).left == 0


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
        assert ran(replace(made, device="cuda"), on_gpu.folder / "gpu").rows == rows


def test_a_run_that_is_left_in_the_middle_leaves_nothing(on_gpu):
    before = on_gpu("pclora", "pictures") and LEDGER.held
    with PretendCuda():
        made = config(on_gpu.folder, "pclora", device="cuda")
        events = train(made, on_gpu.folder / "gpu", cache=DataCache())
        for event in events:
            if isinstance(event, StepEnd) and event.step == 2:
                break
        assert LEDGER.held > before + 10_000
        events.close()
    del events, event
    gc.collect()
    assert LEDGER.held < before + 100  # mean and deviation of a picture stay


def test_measuring_the_inputs_is_no_part_of_the_runs_peak(on_gpu):
    with PretendCuda():
        made = config(on_gpu.folder, "pclora", device="cuda", model="vit_digits")
        assert made.method.init == "activation_svd"
        events = train(made, on_gpu.folder / "gpu", cache=DataCache())
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
        events = train(made, on_gpu.folder / "gpu", cache=DataCache())
        rows = islice((e.values for e in events if isinstance(e, LogRow)), 2)
        return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]

    with PretendCuda():
        wanted = first_rows()
        with torch.device("cuda"):
            assert first_rows() == wanted

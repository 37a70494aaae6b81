"""Numbers against known values: times, pictures, padding, ties, first and last steps."""

import copy
import time

import numpy as np
import pytest
import torch
from marked import MarkedCache, Spy, marked_digits
from PIL import Image
from tiny import batch, tiny

from pclora_lab.data.cache import DataCache
from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.splits import Split
from pclora_lab.methods.input_moments import measure_inputs
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller
from pclora_lab.methods.pclora.model import get_pclora_model
from pclora_lab.methods.pclora.removal import base_shares
from pclora_lab.methods.pclora.schedules import SCHEDULES, base_weight_factor
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.nn import latency
from pclora_lab.nn.forward import forward_hooks
from pclora_lab.nn.surgery import find_targets
from pclora_lab.runs.comparison.comparison import Comparison
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.training import loop
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart, StepEnd
from pclora_lab.training.measuring.layer_probe import LayerProbe

DATA = marked_digits(train=100, validation=30, test=20)
QUICK = RunConfig(
    method=PCLoRAConfig(rank=2, init="svd"), steps=3, batch_size=16, evaluations=1, eval_images=11,
    device="cpu", snapshots=0, layer_metrics=False,
)  # fmt: skip


def test_a_latency_is_the_median_after_one_call_to_warm_up(monkeypatch):
    lengths, now = iter([9.0, 0.005, 0.001, 0.003, 0.002, 0.004]), [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def call():
        now[0] += next(lengths)

    assert latency.median_ms(call, repeats=5) == pytest.approx(3.0)
    assert next(lengths, None) is None


def test_a_latency_is_of_the_whole_batch_without_gradients(vit):
    seen = []
    vit.register_forward_hook(lambda m, x, y: seen.append((len(x[0]), torch.is_grad_enabled())))
    assert latency.latency_ms(vit, torch.zeros(5, 3, 16, 16), repeats=2) > 0
    assert seen == 3 * [(5, False)]


class SlowCache(MarkedCache):
    """Takes a while to read anything."""

    def data(self, config):
        time.sleep(1.0)
        return super().data(config)


def test_seconds_are_the_methods_own_without_data_teacher_and_pauses(tmp_path):
    config = RunConfig(**{**vars(QUICK), "teacher": "finetune", "teacher_steps": 2})
    began, paused = time.perf_counter(), 0.0
    for event in loop.train(config, tmp_path, cache=SlowCache(DATA)):
        if isinstance(event, StepEnd):
            time.sleep(0.5)
            paused += 0.5
        if isinstance(event, PhaseStart) and event.name == "start":
            before = time.perf_counter() - began
    result, whole = event.result, time.perf_counter() - began
    assert before > 2.0 and paused == 2.5
    assert result["seconds"] <= whole - before - 1.5 + 0.1


def test_peak_memory_is_of_what_comes_after_teacher_and_start(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(loop, "reset_peak_memory", lambda device: told.append("reset"))
    config = RunConfig(**{**vars(QUICK), "teacher": "finetune", "teacher_steps": 2})
    for event in loop.train(config, tmp_path, cache=MarkedCache(DATA)):
        if isinstance(event, PhaseStart):
            told.append(event.name)
    assert told == ["data", "teacher", "start", "reset", "fade", "test"]


@pytest.mark.parametrize(
    ("mode", "stored", "wanted"),
    [
        ("I;16", np.array([[0, 257], [32896, 65535]], np.uint16), [[0, 1], [128, 255]]),
        ("I", np.array([[0, 100], [200, 255]], np.int32), [[0, 100], [200, 255]]),
        ("L", np.array([[0, 100], [200, 255]], np.uint8), [[0, 100], [200, 255]]),
        ("1", np.array([[0, 255], [255, 0]], np.uint8), [[0, 255], [255, 0]]),
    ],
)
def test_a_gray_picture_of_any_depth_keeps_its_grays(mode, stored, wanted):
    image = Image.fromarray(stored).convert("1") if mode == "1" else Image.fromarray(stored)
    assert image.mode == mode
    preprocessing = Preprocessing((1, 2, 2), (0.0,), (1.0,), "bilinear", 1.0)
    raw = ImageBatches(Split([image], np.zeros(1, int)), preprocessing).raw(torch.tensor([0]))
    assert raw[0, 0].tolist() == wanted


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "LA"])
def test_a_picture_of_any_mode_keeps_its_colors(mode):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    if mode == "LA":
        colors = [(v, v, v) for v in (0, 90, 180, 255)]
    plain = Image.new("RGB", (2, 2))
    plain.putdata(colors)
    image = plain.convert("L").convert("LA") if mode == "LA" else plain.convert(mode)
    preprocessing = Preprocessing((3, 2, 2), (0.0,) * 3, (1.0,) * 3, "bilinear", 1.0)
    raw = ImageBatches(Split([image], np.zeros(1, int)), preprocessing).raw(torch.tensor([0]))
    found = raw[0].permute(1, 2, 0).reshape(4, 3)
    assert (found.int() - torch.tensor(colors)).abs().max() <= 2


def padded(inputs, more=5):
    """The same texts with more padding behind them; what stands there is no padding token."""
    wider = {}
    for name, value in inputs.items():
        filler = torch.zeros(len(value), more, dtype=value.dtype)
        wider[name] = torch.cat([value, filler if name == "attention_mask" else filler + 7], dim=1)
    return wider


def test_padding_is_no_input_no_feature_and_no_share():
    model = tiny("bert").eval()
    inputs = {n: v[:, :6] for n, v in batch(model).items()}
    lengths = torch.tensor([4, 6, 6, 2])
    inputs["attention_mask"] = (torch.arange(6) < lengths[:, None]).long()
    layers, labels = find_targets(model, "blocks"), torch.tensor([0, 1, 2, 0])
    short, wide = (measure_inputs(model, layers, [x]) for x in (inputs, padded(inputs)))
    for name in layers:
        assert short[name].count == wide[name].count == lengths.sum()
        torch.testing.assert_close(short[name].mean, wide[name].mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            short[name].covariance, wide[name].covariance, rtol=1e-4, atol=1e-6
        )
    student = get_pclora_model(model, PCLoRAConfig(rank=2))
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if name.endswith((".B", ".C")):
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    shares, wide_shares = (base_shares(student, x) for x in (inputs, padded(inputs)))
    assert shares == pytest.approx(wide_shares, rel=1e-4) and 0 < min(shares.values())
    distiller = Distiller(student, model)
    with torch.no_grad():
        one, two = (distiller.terms(x, labels) for x in (inputs, padded(inputs)))
    distiller.close()
    assert float(one["feature"]) == pytest.approx(float(two["feature"]), rel=1e-4)
    assert float(one["task"]) == pytest.approx(float(two["task"]), rel=1e-4)


@pytest.mark.parametrize("fade_end", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_is_whole_and_the_last_of_the_fade_is_the_first_at_zero(name, fade_end):
    steps = 100
    lam = [base_weight_factor(step / steps, name, fade_end) for step in range(steps + 1)]
    end = round(fade_end * steps)
    assert lam[0] == 1 and lam[end:] == [0.0] * (steps + 1 - end)
    assert all(value > 0 for value in lam[:end])
    assert all(a >= b for a, b in zip(lam, lam[1:], strict=False))


def test_repair_ends_with_the_step_that_is_no_longer_in_its_share():
    method = make_method(PELAConfig(repair=0.5))
    student = torch.nn.Linear(1, 1)
    told = [method.set_progress(student, step / 10)["repair"] for step in range(11)]
    assert told == [1.0] * 5 + [0.0] * 6


def test_of_equal_learning_rates_the_larger_is_chosen_and_failures_never(tmp_path):
    search = LRSearch(tmp_path, None)
    for lr, accuracy, error in (
        (1e-3, 0.8, None),
        (2e-3, 0.8, None),
        (4e-3, 0.7, None),
        (9e-3, 1.0, "x"),
    ):
        search.note({"method": "full", "lr": lr, "validation_accuracy": accuracy, "error": error})
    assert search.best("full") == 2e-3


def test_a_comparison_chooses_on_validation_and_reports_on_test(tmp_path):
    spy = Spy()
    comparison = Comparison(
        QUICK, methods=["full"], budgets=[0.2], seeds=[0, 1], lrs=[1e-4, 1e-3], out=tmp_path
    )
    kinds = []
    patched = pytest.MonkeyPatch()
    patched.setattr(DataCache, "data", lambda self, config: kinds.append(config) or DATA)
    with spy.watching(), patched.context():
        for step in comparison.run():
            spy.phase = step.cell.name if hasattr(step, "cell") else str(step)
    patched.undo()
    trials = [config for config in kinds if config.report_on == "validation"]
    assert {config.lr for config in trials} == {1e-4, 1e-3} and {c.seed for c in trials} == {0}
    assert {c.seed for c in kinds if c.report_on == "test"} == {0, 1}
    tested = [i for i, p in enumerate(spy.passes) if p.split == "test"]
    learned = [i for i, p in enumerate(spy.passes) if p.grad]
    # Two trials of three steps are over before anything of the test split is read.
    assert tested and sum(i < tested[0] for i in learned) == 3 * 3
    assert {r["accuracy"] for r in comparison.rows()} <= {n / 20 for n in range(21)}


def test_a_layer_that_runs_twice_is_measured_in_both_calls():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(10 * torch.tanh(self.layer(x)))

    model, x = Twice(), torch.randn(5, 6)
    student = get_pclora_model(model, PCLoRAConfig(rank=1, targets="layer"), example=x)
    with torch.no_grad():
        student.layer.C.fill_(0.5)
        W, b = model.layer.weight, model.layer.bias
        first = x @ W.T + b
        second = 10 * torch.tanh(first + 0.5) @ W.T + b
        base = torch.cat([first, second]).norm()
        wanted = float(base / (base + torch.full((10, 6), 0.5).norm()))
    assert base_shares(student, x)["layer"] == pytest.approx(wanted, rel=1e-5)


def test_shares_of_the_base_are_one_half_where_both_parts_are_equal(vit):
    student = get_pclora_model(vit, PCLoRAConfig(rank=4))
    with torch.no_grad():
        for layer in student.modules():
            if hasattr(layer, "lam"):
                layer.lam.fill_(0.5)
                layer.B.normal_(generator=torch.Generator().manual_seed(0))
                layer.base.weight.copy_(2 * layer.B @ layer.A)
                layer.base.bias.copy_(2 * layer.C)
    shares = base_shares(student, torch.randn(3, 3, 16, 16))
    assert shares and all(share == pytest.approx(0.5, abs=1e-4) for share in shares.values())


def test_the_likeness_of_a_layer_is_that_of_its_own_outputs(vit, images):
    """CKA over the tokens of two examples, from the formula."""
    name, inputs = "blocks.0.mlp.fc1", images[:2]
    student = copy.deepcopy(vit)
    torch.nn.init.normal_(student.get_submodule(name).weight)
    outputs = []

    def keep(_, __, output):
        outputs.append(output.double())

    for model in (student, vit):
        with forward_hooks({name: model.get_submodule(name)}, keep), torch.no_grad():
            model.eval()(inputs)
    x, y = (output.reshape(-1, output.shape[-1]) for output in outputs)
    x, y = x - x.mean(0), y - y.mean(0)
    expected = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    method = make_method(METHODS["full"].Config())
    facts = LayerProbe(method, student, vit, [name], inputs).measure()
    assert facts["layer_cka"][name] == pytest.approx(float(expected), rel=1e-4)
    assert facts["layer_mse"][name] == pytest.approx(
        float((outputs[0] - outputs[1]).square().mean()), rel=1e-4
    )

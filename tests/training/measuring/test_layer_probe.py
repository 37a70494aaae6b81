"""Layers are compared on the same few tokens every time, padding left out."""

import pytest
import torch
from torch import nn

from pclora_lab.methods.base import Method
from pclora_lab.nn.forward import call_model
from pclora_lab.training.measuring import layer_probe
from pclora_lab.training.measuring.layer_probe import LayerProbe, centered_gram, linear_cka


class Own(Method):
    """Measures by a pass of its own, or without one."""

    def __init__(self, runs=True):
        super().__init__(None)
        self.runs, self.modes = runs, []

    def measure(self, student, probe):
        if self.runs:
            call_model(student.eval(), probe)
        return {"own": 1.23456789, "layer_base_share": {"first": 2 / 3}}


class Net(nn.Module):
    """Two layers over tokens ``(batch, tokens, 4)``; takes a mask as a text model does."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.calls = []

    def forward(self, x, attention_mask=None):
        self.calls.append((self.training, torch.is_grad_enabled()))
        return self.second(torch.tanh(self.first(x))).mean(1)


def tokens(batch=2, count=5):
    return torch.randn(batch, count, 4, generator=torch.Generator().manual_seed(3))


def probe(student, teacher, inputs, names=("first", "second"), method=None):
    return LayerProbe(method or Own(), student, teacher, names, inputs)


def outputs(model, name, x):
    hidden = model.first(x)
    found = hidden if name == "first" else model.second(torch.tanh(hidden))
    return found.detach().reshape(-1, found.shape[-1])


def test_a_gram_matrix_is_of_centered_rows_and_of_norm_one():
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, 4.0]])
    centered = x - torch.tensor([3.0, 2.0])
    wanted = centered @ centered.T
    torch.testing.assert_close(centered_gram(x), wanted / wanted.norm())
    assert float(centered_gram(x).norm()) == pytest.approx(1)
    assert centered_gram(torch.ones(3, 2)).tolist() == [[0.0] * 3] * 3
    torch.testing.assert_close(centered_gram(1e-4 * x), centered_gram(x))


def test_a_gram_matrix_is_of_single_precision_in_autocast_too():
    x = torch.randn(6, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(centered_gram(x), centered_gram(x.clone()))
        inside = centered_gram(x)
    assert inside.dtype == torch.float32 and torch.equal(inside, centered_gram(x))


def test_cka_is_one_up_to_rotation_scale_and_shift_and_less_otherwise():
    torch.manual_seed(0)
    x = torch.randn(20, 5)
    turn = torch.linalg.qr(torch.randn(5, 5)).Q
    assert linear_cka(x, 3 * x @ turn + 7) == pytest.approx(1, abs=1e-5)
    y = torch.randn(20, 3)
    a, b = x - x.mean(0), y - y.mean(0)
    wanted = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert linear_cka(x, y) == pytest.approx(float(wanted), rel=1e-4) != 1


@pytest.mark.parametrize("runs", [True, False], ids=["its own pass", "no pass"])
def test_distances_are_those_of_each_layers_outputs(runs):
    """Whether or not the method itself runs the student."""
    student, teacher, x = Net(1), Net(0), tokens()
    facts = probe(student, teacher, x, method=Own(runs)).measure()
    assert set(facts) == {"own", "layer_base_share", "layer_mse", "layer_cka"}
    for name in ("first", "second"):
        ours, theirs = (outputs(model, name, x) for model in (student, teacher))
        mse = float((ours - theirs).square().mean())
        assert facts["layer_mse"][name] == pytest.approx(mse, rel=1e-5)
        assert facts["layer_cka"][name] == pytest.approx(linear_cka(ours, theirs), rel=1e-5)
    assert len(student.calls) == 1


def test_a_student_that_is_its_teacher_has_no_distance():
    facts = probe(Net(0), Net(0), tokens()).measure()
    assert facts["layer_mse"] == {"first": 0.0, "second": 0.0}
    assert all(v == pytest.approx(1, abs=1e-5) for v in facts["layer_cka"].values())


def test_without_distances_there_are_the_methods_own_facts_and_no_pass_is_added():
    student = Net(1)
    looked = probe(student, Net(0), tokens(), method=Own(runs=False))
    facts = looked.measure(distances=False)
    assert set(facts) == {"own", "layer_base_share"} and student.calls == []


def test_a_pass_of_its_own_is_in_eval_mode_without_gradients_and_the_mode_is_put_back():
    student, teacher = Net(1).train(), Net(0).train()
    looked = probe(student, teacher, tokens(), method=Own(runs=False))
    looked.measure()
    assert student.calls == teacher.calls == [(False, False)]
    assert student.training and teacher.training


def test_the_teacher_is_read_once_and_hooks_are_gone():
    student, teacher = Net(1), Net(0)
    looked = probe(student, teacher, tokens())
    first = looked.measure()
    assert looked.measure() == first and len(teacher.calls) == 1
    nn.init.zeros_(teacher.first.weight)
    assert looked.measure() == first
    assert not any(m._forward_hooks for model in (student, teacher) for m in model.modules())


def test_values_by_layer_have_six_digits_and_others_are_as_they_are():
    facts = probe(Net(1), Net(0), tokens()).measure()
    assert facts["own"] == 1.23456789
    assert facts["layer_base_share"] == {"first": 0.666667}
    for value in (*facts["layer_mse"].values(), *facts["layer_cka"].values()):
        assert value == float(f"{value:.6g}")


def test_a_layer_that_the_student_lacks_is_left_out():
    student = Net(1)
    student.second = nn.Identity()
    looked = probe(student, Net(0), tokens(), names=("first", "second", "third"), method=Own(False))
    assert looked.names == ["first", "second"]
    facts = looked.measure()
    assert list(facts["layer_mse"]) == list(facts["layer_cka"]) == ["first"]


def test_where_no_layer_is_alike_there_are_no_distances():
    student = Net(1)
    student.first, student.second = nn.Linear(4, 5), nn.Linear(5, 2)
    assert set(probe(student, Net(0), tokens()).measure()) == {"own", "layer_base_share"}
    looked = probe(Net(1), Net(0), tokens(), names=(), method=Own(runs=False))
    assert set(looked.measure()) == {"own", "layer_base_share"} and looked.student.calls == []


def test_of_many_tokens_256_evenly_spread_ones_are_compared():
    student, teacher, x = Net(1), Net(0), tokens(batch=30, count=20)
    facts = probe(student, teacher, x).measure()
    chosen = torch.linspace(0, 599, 256).long()
    assert chosen[0] == 0 and chosen[-1] == 599
    gap = (outputs(student, "second", x) - outputs(teacher, "second", x))[chosen]
    mse = float(gap.square().mean())
    assert facts["layer_mse"]["second"] == pytest.approx(mse, rel=1e-5)
    ours, theirs = (outputs(model, "first", x)[chosen] for model in (student, teacher))
    assert facts["layer_cka"]["first"] == pytest.approx(linear_cka(ours, theirs), rel=1e-5)


def test_padding_is_compared_in_no_layer():
    student, teacher, x = Net(1), Net(0), tokens()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    inputs = {"x": x, "attention_mask": mask}
    facts = probe(student, teacher, inputs).measure()
    other = x.masked_fill(mask[..., None] == 0, 9.0)
    assert probe(student, teacher, {**inputs, "x": other}).measure() == facts
    real = mask.bool().flatten()
    gap = (outputs(student, "first", x) - outputs(teacher, "first", x))[real]
    assert facts["layer_mse"]["first"] == pytest.approx(float(gap.square().mean()), rel=1e-5)


def test_a_mask_of_another_shape_than_the_layers_is_none():
    """Such as where a model puts tokens of its own in front."""
    student, teacher, x = Net(1), Net(0), tokens()
    inputs = {"x": x, "attention_mask": torch.ones(2, 3)}
    assert probe(student, teacher, inputs).measure() == probe(student, teacher, x).measure()


def test_a_layer_that_runs_on_fewer_rows_is_compared_on_its_first_ones():
    """Such as the one behind a pooling; the others are still compared on all of theirs."""

    class Pooled(Net):
        def forward(self, x, attention_mask=None):
            return self.second(torch.tanh(self.first(x)).mean(1))

    student, teacher, x = Pooled(1), Pooled(0), tokens(batch=3, count=4)
    facts = probe(student, teacher, x, method=Own(runs=False)).measure()
    pooled = [m.second(torch.tanh(m.first(x)).mean(1)).detach() for m in (student, teacher)]
    mse = float((pooled[0] - pooled[1]).square().mean())
    assert facts["layer_mse"]["second"] == pytest.approx(mse, rel=1e-5)


@pytest.mark.parametrize("rows", [399, 398, 300, 257, 256])
def test_of_fewer_rows_than_the_first_layers_256_at_most_are_compared(rows):
    class Short(Net):
        def forward(self, x, attention_mask=None):
            return self.second(torch.tanh(self.first(x)).reshape(-1, 6)[:rows])

    student, teacher, x = Short(1), Short(0), tokens(batch=20, count=20)
    facts = probe(student, teacher, x, method=Own(runs=False)).measure()
    short = [m.second(torch.tanh(m.first(x)).reshape(-1, 6)[:256]).detach()
             for m in (student, teacher)]  # fmt: skip
    mse = float((short[0] - short[1]).square().mean())
    assert facts["layer_mse"]["second"] == pytest.approx(mse, rel=1e-5)


def test_a_layer_that_gives_several_outputs_is_compared_by_its_first():
    class Two(nn.Linear):
        def forward(self, x):
            return super().forward(x), "attention"

    class Tupled(Net):
        def __init__(self, seed):
            super().__init__(seed)
            self.first = Two(4, 6)

        def forward(self, x, attention_mask=None):
            return self.second(self.first(x)[0])

    student, teacher, x = Tupled(1), Tupled(0), tokens()
    facts = probe(student, teacher, x, method=Own(runs=False)).measure()
    gap = (student.first(x)[0] - teacher.first(x)[0]).detach()
    mse = float(gap.square().mean())
    assert facts["layer_mse"]["first"] == pytest.approx(mse, rel=1e-5)


def test_a_layer_that_runs_twice_is_compared_in_both():
    class Twice(Net):
        def forward(self, x, attention_mask=None):
            return self.second(torch.tanh(self.first(x)) + torch.tanh(self.first(-x)))

    student, teacher, x = Twice(1), Twice(0), tokens()
    facts = probe(student, teacher, x, method=Own(runs=False)).measure()
    ours, theirs = (torch.cat([m.first(x), m.first(-x)]).detach() for m in (student, teacher))
    mse = float((ours - theirs).square().mean())
    assert facts["layer_mse"]["first"] == pytest.approx(mse, rel=1e-5)


def test_the_seconds_that_looking_costs_are_added_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(layer_probe.time, "perf_counter", lambda: now[0])

    class Slow(Net):
        def forward(self, x, attention_mask=None):
            now[0] += 2.0
            return super().forward(x)

    now[0] = 50.0
    looked = probe(Slow(1), Slow(0), tokens())
    assert looked.seconds == 2.0
    now[0] = 100.0
    looked.measure()
    assert looked.seconds == 4.0
    looked.measure()
    assert looked.seconds == 6.0

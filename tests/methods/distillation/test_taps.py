"""The gap of a feature where it is made: same numbers, less memory."""

import pytest
import torch
from torch import Tensor, nn

from pclora_lab.methods.distillation.losses import feature_gap
from pclora_lab.methods.distillation.taps import FeaturePair, FeatureTaps
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress

REAL = torch.tensor([[True, True, False], [True, False, False]])


def drawn(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).to(dtype)


def plain_gap(h: Tensor, target: Tensor, real: Tensor | None) -> Tensor:
    gap = (h - target) ** 2
    return gap.mean() if real is None else gap[real].mean()


@pytest.mark.parametrize("real", [None, REAL])
@pytest.mark.parametrize(("of_rest", "of_gap"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_gap_and_gradient_are_those_of_the_mean_square(real, of_rest, of_gap):
    def gradient(gap_of):
        h = drawn(0).requires_grad_()
        gap = gap_of(h, drawn(1), real)
        loss = 3 * of_gap * gap + of_rest * h.sin().sum()
        return gap, torch.autograd.grad(loss, h)[0]

    for one, other in zip(gradient(feature_gap), gradient(plain_gap), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_batch_of_padding_alone_has_no_gap():
    assert feature_gap(drawn(0), drawn(1), torch.zeros(2, 3, dtype=torch.bool)) == 0


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_in_half_precision_it_is_summed_up_in_float32(dtype, near):
    """A mean over so many numbers has a slope that float16 itself can't hold."""
    target = torch.zeros(1, 4000, 400, dtype=dtype)
    h = torch.full_like(target, 0.5).requires_grad_()
    gap = feature_gap(h, target)
    assert gap.dtype == torch.float32 and gap.item() == pytest.approx(0.25, rel=near)
    # A scaled loss, as a scaler of gradients makes it.
    (h.sum() * 1e-4 + gap * 2**16).backward()
    assert h.grad.dtype == dtype
    expected = 1e-4 + 2**16 * 2 * 0.5 / h.numel()
    assert h.grad.float().mean().item() == pytest.approx(expected, rel=near)


def test_teachers_features_are_let_go_layer_by_layer():
    student, teacher = (nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))) for _ in range(2))
    pair, x, held = FeaturePair(student, teacher, ["0", "1", "2"]), torch.ones(2, 4), []
    for layer in student:
        layer.register_forward_hook(lambda *_: held.append(len(pair._taps[1].outputs)))
    with pair.comparing():
        teacher(x)
        student(x)
    assert held == [2, 1, 0]
    assert pair.loss() > 0 and pair._gaps == {}


def test_what_was_recorded_in_another_order_is_compared_at_the_end():
    student, teacher = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    pair, x = FeaturePair(student, teacher, ["0"]), torch.ones(2, 4)
    losses = []
    for models in ((teacher, student), (student, teacher)):
        with pair.comparing():
            for model in models:
                model(x)
        losses.append(pair.loss().item())
    assert losses[0] == losses[1] > 0


class InPlace(nn.Module):
    """Scales what its layer gave in place, as Longformer does."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        query = self.layer(x)
        query /= 3.0
        return self.last(query)


def test_what_a_model_changes_in_place_is_compared_as_it_goes_on():
    teacher, x = InPlace(), torch.randn(3, 30, 4)
    student = get_pclora_model(teacher, PCLoRAConfig(rank=1, targets="^layer$"), example=x[:1])
    set_progress(student, 0.3)
    pair = FeaturePair(student, teacher, ["layer"])
    with pair.comparing():
        with torch.no_grad():
            teacher(x)
        student(x)
    loss = pair.loss()
    gap = (student.layer(x) - teacher.layer(x)) / 3.0
    torch.testing.assert_close(loss, gap.square().mean())
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in (student.layer.B, student.layer.C))


def test_in_inference_mode_it_is_compared_too():
    student, teacher = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    pair, x = FeaturePair(student, teacher, ["0"]), torch.ones(2, 4)
    with torch.inference_mode():
        with pair.comparing():
            teacher(x), student(x)
        inside = pair.loss().item()
    with pair.comparing():
        teacher(x), student(x)
    assert pair.loss().item() == inside > 0


def test_features_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 1, 8\) in the student and \(2, 5, 8\)"):
        feature_gap(torch.zeros(2, 1, 8), torch.zeros(2, 5, 8))
    empty = torch.zeros(0, 4, 8)
    assert feature_gap(empty, empty, torch.zeros(0, 4, dtype=torch.bool)) == 0


def body(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_taps_keep_what_their_modules_give_only_while_they_record():
    model, x = body(), torch.ones(2, 4)
    taps = FeatureTaps(model, ["0", "2"], recording=False)
    model(x)
    assert taps.outputs == {}
    taps.record()
    last = model(x)
    kept = taps.take()
    assert list(kept) == ["0", "2"] and kept["2"] is last and taps.outputs == {}
    model(x)
    assert taps.outputs == {}, "it was taken"
    taps.record()
    model(x), taps.record(), model(x)
    assert list(taps.outputs) == ["0", "2"], "begun anew: no second call"
    taps.close()
    assert taps.outputs == {} and hooks(model) == 0


class Repeating(nn.Module):
    """Runs its block three times; it gives a tuple."""

    def __init__(self):
        super().__init__()
        self.block = body()[0]
        self.block.register_forward_hook(lambda module, args, output: (output, "state"))

    def forward(self, x):
        for _ in range(3):
            x = self.block(x)[0]
        return x


def test_every_call_counts_and_of_a_tuple_its_first():
    model = Repeating()
    with FeatureTaps(model, ["block"]) as taps:
        last = model(torch.ones(1, 4))
        assert list(taps.outputs) == ["block", "block (2)", "block (3)"]
        assert taps.outputs["block (3)"] is last
    assert hooks(model) == 1, "the model's own"


def test_taps_leave_with_whoever_made_them_and_after_an_error():
    model = body()
    FeatureTaps(model, ["0"])
    assert hooks(model) == 0
    with pytest.raises(KeyError), FeatureTaps(model, ["0"]):
        raise KeyError
    assert hooks(model) == 0


def test_what_runs_without_gradients_can_teach_nothing():
    model = body()
    taps = FeatureTaps(model, ["0"], recording=False)
    taps.record(gradients=True)
    with torch.no_grad(), pytest.raises(ValueError, match="^0 runs without gradients inside"):
        model(torch.ones(1, 4))
    assert taps.outputs == {} and not taps.recording
    taps.record(gradients=False)
    with torch.no_grad():
        model(torch.ones(1, 4))
    assert list(taps.outputs) == ["0"]


def test_a_change_in_place_is_seen():
    model = body()
    with FeatureTaps(model, ["0"]) as taps, torch.no_grad():
        model(torch.ones(1, 4))
        assert taps.is_as_it_was("0")
        taps.outputs["0"].mul_(2)
        assert not taps.is_as_it_was("0")
    with FeatureTaps(model, ["0"]) as taps, torch.inference_mode():
        model(torch.ones(1, 4))
        assert not taps.is_as_it_was("0"), "where changes are not counted, nobody knows"


def test_a_student_has_one_pair_and_the_older_takes_it_back():
    student, teacher, x = body(), body(1), torch.ones(2, 4)
    older = FeaturePair(student, teacher, ["0"])
    newer = FeaturePair(student, teacher, ["0", "2"])
    assert (hooks(student), hooks(teacher)) == (2, 2)
    other = FeaturePair(body(), teacher, ["0"])
    assert hooks(student) == 2 and hooks(teacher) == 3, "another student's stays"
    other.close()
    losses = []
    for pair, count in ((older, 1), (newer, 2), (older, 1)):
        with pair.comparing():
            teacher(x), student(x)
        losses.append(pair.loss().item())
        assert (hooks(student), hooks(teacher)) == (count, count)
    assert losses[0] == losses[2] != losses[1]
    older.close(), older.close()
    assert (hooks(student), hooks(teacher)) == (0, 0)


def test_the_loss_is_the_mean_over_what_was_compared_whenever():
    student, teacher, x = body(), body(1), torch.ones(2, 4)
    pair = FeaturePair(student, teacher, ["0", "2"])
    wanted = [(student[0](x) - teacher[0](x)).square().mean()]
    wanted.append((student(x) - teacher(x)).square().mean())
    wanted = torch.stack(wanted).mean()
    with pair.comparing():
        teacher(x), student(x)
    torch.testing.assert_close(pair.loss(), wanted)
    pair.record()
    student(x), teacher(x)
    torch.testing.assert_close(pair.loss(), wanted)
    pair.record()
    student(x), teacher(x)
    ours, theirs = pair.take()
    assert list(ours) == list(theirs) == ["0", "2"]


@pytest.mark.parametrize("how", ["loss", "take"])
def test_what_ran_in_one_of_the_two_only_is_named(how):
    student, teacher, x = body(), body(1), torch.ones(2, 4)
    pair = FeaturePair(student, teacher, ["0", "2"])
    cases = {
        "2 ran in the student only": (lambda: (student(x), teacher[0](x)), "2 calls", "1 of the"),
        "0 ran in the teacher only": (lambda: (student[2](x), teacher(x)), "1 calls", "2 of the"),
        "no layer of the student was seen": (lambda: teacher(x), "", "Make the distiller"),
    }
    for message, (act, ours, theirs) in cases.items():
        pair.record()
        act()
        with pytest.raises(ValueError, match=message) as error:
            getattr(pair, how)()
        assert ours in str(error.value) and theirs in str(error.value)
        with pytest.raises(ValueError, match="no layer of the student"):
            getattr(pair, how)()
    assert pair.take(checked=False) == ({}, {})


def test_layers_that_were_compared_count_as_calls_of_both():
    student, teacher, x = body(), body(1), torch.ones(2, 4)
    pair = FeaturePair(student, teacher, ["0", "2"])
    with pair.comparing():
        teacher(x), student(x), student[0](x)
    with pytest.raises(ValueError, match=r"0 \(2\) ran in the student only \(3 calls .*, 2 of the"):
        pair.loss()


def test_a_failed_pass_leaves_nothing_held():
    student, teacher = body(), body(1)
    pair = FeaturePair(student, teacher, ["0"])
    for begin in (pair.comparing, pair.recording):
        with pytest.raises(KeyError), begin():
            teacher(torch.ones(2, 4)), student(torch.ones(2, 4))
            raise KeyError
        assert pair.take(checked=False) == ({}, {})
        student(torch.ones(2, 4))
        assert pair.take(checked=False) == ({}, {}), "and nothing is recorded any more"
    closed = FeaturePair(body(), teacher, ["0"])
    closed.close()
    assert closed.take(checked=False) == ({}, {})


def test_a_mask_of_another_shape_masks_nothing():
    h, target = drawn(0), drawn(1)
    other = torch.zeros(2, 5, dtype=torch.bool)
    assert feature_gap(h, target, other) == feature_gap(h, target)


def test_a_wrapped_models_modules_are_named_without_or_with_the_wrapper():
    model, x = body(), torch.ones(2, 4)
    for names in (["0"], ["module.0"]):
        with FeatureTaps(nn.DataParallel(model), names) as taps:
            model(x)
            assert list(taps.outputs) == names
    inside = nn.Sequential(nn.DataParallel(model), nn.Identity())
    with FeatureTaps(inside, ["0"]) as taps:
        last = model(x)  # the one that runs, also where its wrapper is passed by
        assert taps.outputs["0"] is last
    with pytest.raises(AttributeError, match="has no attribute `?'?nope"):
        FeatureTaps(model, ["nope"])


def test_a_pair_holds_nothing_until_it_is_asked_to_record():
    student, teacher, x = body(), body(1), torch.ones(2, 4)
    pair = FeaturePair(student, teacher, ["0", "2"])
    teacher(x), student(x)
    assert pair.take(checked=False) == ({}, {})

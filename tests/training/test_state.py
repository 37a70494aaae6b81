"""What was trained is put back as it was, under its old names too, or refused as a whole."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from pretend_cuda import PretendCuda
from safetensors.torch import save_file
from torch import nn

from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.training.optimizer import Meter
from pclora_lab.training.state import (
    Checkpoint,
    load_trained,
    load_training_state,
    snapshot_note,
    snapshot_steps,
    trained_bytes,
    trained_tensors,
    training_state,
)


def student() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(LowRankLinear(4, 3, 2), nn.ReLU(), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_weights_and_moments_under_the_old_names_are_put_back():
    model, optimizer = student()
    before = {"0.down.weight": "0.A", "0.up.weight": "0.B", "0.up.bias": "0.C"}
    state = training_state(model, optimizer)
    old = {}
    for name, value in state.items():
        kind, _, rest = name.partition("/")
        old[f"{kind}/{before.get(rest, rest)}"] = value
    assert "trained/0.A" in old and "exp_avg/0.C" in old
    other, its = student()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    its.state.clear()
    load_training_state(other, its, old)
    again = training_state(other, its)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_buffers_are_put_back_as_they_were():
    """Running means of a BatchNorm are no parameters, and a student computes with them."""
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        model(torch.randn(8, 4))
        states.append((model, torch.optim.AdamW(model.parameters())))
    (first, its), (other, others) = states
    assert not torch.equal(other[1].running_mean, first[1].running_mean)
    load_training_state(other, others, training_state(first, its))
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), other.buffers(), strict=True))
    assert int(other[1].num_batches_tracked) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.down.weight"), "lacks 0.down.weight: it was made with other settings"),
        (lambda t: t.clear(), "lacks 0.down.weight: it was made with other settings"),
        (lambda t: t.update({"9.A": torch.zeros(2)}), r"9.A \(2,\) does not fit the student"),
        (
            lambda t: t.update({"0.down.weight": torch.zeros(2, 9)}),
            r"0.down.weight \(2, 9\) does not fit the student",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(change, message):
    model, _ = student()
    tensors = {name: torch.zeros_like(value) for name, value in trained_tensors(model).items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    change(tensors)
    with pytest.raises(ValueError, match=f"the snapshot('s)? {message}"):
        load_trained(model, tensors)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def frozen_part():
    """A model whose first layer is not trained."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).double())
    model[0].requires_grad_(False)
    return model


def test_what_is_trained_is_copied_to_the_cpu_and_what_is_frozen_is_left_out():
    model = frozen_part()
    found = trained_tensors(model)
    assert list(found) == ["1.weight", "1.bias"]
    for name, tensor in found.items():
        parameter = model.get_parameter(name)
        assert torch.equal(tensor, parameter) and not tensor.requires_grad
        assert tensor.data_ptr() != parameter.data_ptr() and tensor.is_contiguous()
    before = found["1.weight"].clone()
    nn.init.zeros_(model[1].weight)
    assert torch.equal(found["1.weight"], before)


def test_a_snapshot_is_as_large_as_its_numbers_and_200_bytes_for_each_header(tmp_path):
    model = frozen_part()
    assert trained_bytes(model) == (6 + 2) * 8 + 2 * 200
    save_file(trained_tensors(model), tmp_path / "snapshot.safetensors")
    size = (tmp_path / "snapshot.safetensors").stat().st_size
    assert 64 < size <= trained_bytes(model)
    assert trained_bytes(model.requires_grad_(False)) == 0


@pytest.mark.parametrize(
    ("count", "fitting", "steps"),
    [
        (5, 9, (0, 2, 5, 8, 10)),
        (3, 9, (0, 5, 10)),
        (2, 9, (0, 10)),
        (5, 3, (0, 5, 10)),
        (5, 2, (0, 10)),
        (5, 1, ()),
        (5, 0, ()),
        (1, 9, ()),
        (0, 9, ()),
        (99, 99, tuple(range(11))),
    ],
)
def test_snapshots_are_even_from_the_first_to_the_last_and_as_many_as_fit(count, fitting, steps):
    assert snapshot_steps(10, count, each=100, most_bytes=fitting * 100 + 50) == steps
    assert snapshot_steps(10, count, each=100, most_bytes=fitting * 100) == steps


def test_a_student_of_which_nothing_is_trained_has_room_for_all():
    assert snapshot_steps(4, 3, each=0, most_bytes=1000) == (0, 2, 4)
    assert snapshot_steps(1, 5, each=1, most_bytes=1000) == (0, 1)
    # One byte is not nothing.
    assert snapshot_steps(3, 5, each=1, most_bytes=3) == (0, 2, 3)


@pytest.mark.parametrize(
    ("taken", "wanted", "said"),
    [
        (5, 5, None),
        (2, 2, None),
        (7, 5, None),
        (0, 0, None),
        (0, 1, "no snapshots are kept: there must be at least two, a first and a last"),
        (3, 5, "3 of 5 snapshots are kept: each takes 1.5 MB, and all together may take 5 MB"),
        (0, 5, "no snapshots are kept: each takes 1.5 MB, and all together may take 5 MB"),
        (0, 2, "no snapshots are kept: each takes 1.5 MB, and all together may take 5 MB"),
    ],
)
def test_it_is_said_where_fewer_snapshots_are_kept_than_wanted_and_why(taken, wanted, said):
    assert snapshot_note(taken, wanted, 1_500_000, 5.0) == said


@pytest.mark.parametrize(
    ("each", "told"), [(149_949_999, "149.9"), (150_050_001, "150.1"), (150_000_000, "150.0")]
)
def test_a_megabyte_is_a_million_bytes(each, told):
    assert f"each takes {told} MB" in snapshot_note(0, 5, each, 1.0)


def test_large_snapshots_are_told_with_their_thousands():
    assert "each takes 2,500,000.0 MB" in snapshot_note(0, 5, 2_500_000_000_000, 1e5)


class Scale:
    """What scales a loss."""

    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"scale": torch.tensor(self.value)}

    def load_state_dict(self, state):
        self.value = float(state["scale"]) if state else None


def test_what_was_summed_up_and_scaled_is_put_back_and_what_is_the_methods_is_returned():
    model, optimizer = student()
    meter = Meter(torch.device("cpu"), "lr=0.1")
    meter.add(0, {"loss": torch.tensor(3.0)})
    own = {"scores": torch.tensor([1.0, 2.0])}
    state = training_state(model, optimizer, own, meter, Scale(8.0))
    own["scores"].zero_()
    other, its = student()
    sums, scale = Meter(torch.device("cpu"), "lr=0.1"), Scale(1.0)
    found = load_training_state(other, its, state, sums, scale)
    assert {name: value.tolist() for name, value in found.items()} == {"scores": [1.0, 2.0]}
    assert sums.means() == {"loss": 3.0} and scale.value == 8.0
    # Whoever has neither needs neither.
    assert load_training_state(other, its, state).keys() == {"scores"}


def test_moments_are_copies_and_the_number_of_steps_stays_a_number_on_the_cpu():
    model, optimizer = student()
    state = training_state(model, optimizer)
    other, its = student()
    its.state.clear()
    load_training_state(other, its, state)
    for name, parameter in other.named_parameters():
        moments = its.state[parameter]
        assert int(moments["step"]) == 1 and moments["step"].ndim == 0
        for kind in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(moments[kind], state[f"{kind}/{name}"])
            assert moments[kind].data_ptr() != state[f"{kind}/{name}"].data_ptr()


def test_on_a_device_the_moments_are_there_and_the_number_of_steps_stays_on_the_cpu():
    state = training_state(*student())
    with PretendCuda():
        other, its = student()
        its.state.clear()
        load_training_state(other.to("cuda"), its, state)
        for parameter in other.parameters():
            moments = its.state[parameter]
            assert moments["step"].is_cpu and moments["exp_avg"].device == parameter.device
            assert moments["exp_avg_sq"].device.type == "cuda"


def test_a_parameter_that_took_no_step_yet_has_no_moments():
    model, _ = student()
    fresh = torch.optim.AdamW(model.parameters())
    state = training_state(model, fresh)
    assert {name.partition("/")[0] for name in state} == {"trained"}
    load_training_state(model, fresh, state)
    assert not fresh.state


@pytest.mark.parametrize("kind", ["exp_avg", "exp_avg_sq"])
def test_moments_of_another_shape_are_refused_before_anything_is_written(kind):
    model, optimizer = student()
    state = training_state(model, optimizer)
    state = {n: torch.zeros_like(v) if n.startswith("trained/") else v for n, v in state.items()}
    state[f"{kind}/2.bias"] = torch.zeros(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="the checkpoint's moments of 2.bias do not fit"):
        load_training_state(model, optimizer, state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_buffer_of_a_layer_that_was_dropped_or_changed_its_shape_is_left_as_it_is():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters())
    state = training_state(model, optimizer)
    state["buffer/1.running_mean"] = torch.full((3,), 5.0)
    state["buffer/1.running_var"] = torch.zeros(7)
    state["buffer/9.mask"] = torch.zeros(2)
    del state["buffer/1.num_batches_tracked"]
    load_training_state(model, optimizer, state)
    assert model[1].running_mean.tolist() == [5.0] * 3
    assert model[1].running_var.tolist() == [1.0] * 3
    assert int(model[1].num_batches_tracked) == 0


def test_a_checkpoint_of_another_student_is_called_a_checkpoint():
    model, optimizer = student()
    state = training_state(model, optimizer)
    del state["trained/2.bias"]
    with pytest.raises(ValueError, match="the checkpoint lacks 2.bias"):
        load_training_state(model, optimizer, state)


def test_a_checkpoint_stays_as_it_was_and_prints_no_tensors():
    checkpoint = Checkpoint(3, "", (), False, 1, 2.0, 0.5, {"trained/A": torch.zeros(2)})
    with pytest.raises(FrozenInstanceError):
        checkpoint.step = 4
    assert "tensor" not in repr(checkpoint) and "step=3" in repr(checkpoint)

"""What an export is measured by, and what a line about it says."""

import dataclasses

import pytest
import torch
from tiny import batch, tiny
from torch import nn

from pclora_lab.export.report import (
    ExportReport,
    bytes_of,
    deployed,
    finite_gap,
    free_axes,
    largest_gap,
    ready,
)
from pclora_lab.nn.forward import call_model, try_inputs

REPORT = ExportReport("onnx", "x", 1_234_000, 4_936_000, 0.000123, 2.04, 8.16)


def test_a_line_tells_size_gap_and_time_beside_those_of_the_dense_model():
    assert str(REPORT) == (
        "onnx: 1.23 MB (dense 4.94), max |Δlogit| 1.2e-04, 2.0 ms per example (dense 8.2, 4.0 "
        "times as long)"
    )
    plain = REPORT.to_dict()
    assert plain.pop("metric") == "accuracy"
    assert ExportReport(**plain) == REPORT and plain["examples"] == 0
    half = dataclasses.replace(REPORT, accuracy=0.5)
    assert str(half) == str(REPORT), "an accuracy says nothing without the one before"


def test_bytes_are_those_of_a_file_of_a_folder_or_of_tensors(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "inner" / "b").write_bytes(b"123")
    assert bytes_of(tmp_path / "a") == 5 and bytes_of(tmp_path) == 8
    assert bytes_of(tmp_path / "nothing") == 0
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2), nn.BatchNorm1d(2))
    net[1].weight = net[0].weight
    # Six weights once, two biases, a norm of four tensors and a count in 8 bytes.
    assert bytes_of(net) == 4 * (6 + 2 + 2 + 4 * 2) + 8
    assert bytes_of(net.half()) == 2 * (6 + 2 + 2 + 4 * 2) + 8


@pytest.mark.parametrize(
    ("logits", "gap", "fits"),
    [(1.0, 0.009, True), (0.001, 0.009, True), (1.0, 0.011, False), (-100.0, 0.9, True),
     (-100.0, 1.1, False)],
)  # fmt: skip
def test_a_gap_of_a_hundredth_of_the_logits_is_more_than_rounding(logits, gap, fits):
    first = torch.tensor([[0.0, logits]], dtype=torch.float64)
    for sign in (1, -1):
        second = first + torch.tensor([[sign * gap, 0.0]], dtype=torch.float64)
        assert finite_gap(first, second) == pytest.approx(gap)
        if fits:
            assert largest_gap(first, second) == pytest.approx(gap)
            continue
        with pytest.raises(ValueError, match=f"logits differ by up to {gap:.2g}. It is not usable"):
            largest_gap(first, second)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_numbers_are_refused(value):
    for compare in (finite_gap, largest_gap):
        with pytest.raises(ValueError, match="computes NaN or infinite logits"):
            compare(torch.zeros(2), torch.tensor([0.0, value]))


@pytest.mark.parametrize(
    ("kind", "free"),
    [
        ("vit_digits", {"pixel_values": {0: "batch"}}),
        ("bert", dict.fromkeys(("input_ids", "attention_mask"), {0: "batch", 1: "tokens"})),
        ("clip", {"input_ids": {0: "batch", 1: "tokens"}, "pixel_values": {0: "batch"}}),
    ],
)
def test_named_inputs_go_in_logits_come_out_and_sizes_of_texts_are_free(kind, free):
    model = tiny(kind).train()
    inputs = try_inputs(model)
    assert free_axes(inputs) == free
    whole = deployed(model, inputs)
    assert not model.training
    given = batch(model)
    named = {"pixel_values": given} if isinstance(given, torch.Tensor) else given
    named = {name: named[name] for name in inputs}
    with torch.no_grad():
        expected = call_model(model, given if kind == "vit_digits" else named)
        assert torch.equal(whole(**named), expected)


def test_both_models_are_made_ready_before_anything_is_written(tmp_path):
    model, file = tiny("vit_digits"), tmp_path / "a" / "b" / "model.onnx"
    own, dense = ready(model, file, None, False)
    assert file.parent.is_dir() and own.state_dict().keys() == dense.state_dict().keys()
    assert ready(model, file, own, False)[1].state_dict().keys() == own.state_dict().keys()
    file.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        ready(model, file, None, False)
    ready(model, file, None, True)
    model.head.bias.data[0] = float("inf")
    with pytest.raises(ValueError, match="it is not exported"):
        ready(model, file, None, True)

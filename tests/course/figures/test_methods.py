"""Figures of PELA and SNELLA draw the numbers they are given; the live heatmap follows a run."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from waiting import until

from pclora_lab import Session
from pclora_lab.course.figures.methods import (
    allocation_figure,
    allocation_grid,
    cut_cost_figure,
    kernel_figure,
    sparsifier_figure,
    spectra_figure,
    takeaway_figure,
)
from pclora_lab.methods.registry import method_class
from pclora_lab.methods.snella.kernels import merge_factors
from pclora_lab.runs.session import stop_all
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.views.allocation_view import allocation_widget

SNELLA = method_class("snella").Config
SHORT = RunConfig(
    method=SNELLA(rank=2, allocations=4), steps=8, evaluations=1, eval_images=40, device="cpu"
)
HISTORY = [
    {"phase": "teacher", "step": 1},
    {"progress": 0.0, "layer_density": {"a": 1.0, "b": 1.0}},
    {"progress": 0.25, "layer_density": {"a": 1.0, "b": 1.0}},
    {"progress": 0.5, "layer_density": {"a": 0.75, "b": 0.25}},
    {"progress": 1.0, "layer_density": {"a": 0.5, "b": 0.0}},
]
RUNNING = SimpleNamespace(rows=HISTORY, state="running", phase="fade")
FINISHED = SimpleNamespace(rows=HISTORY[:4], state="finished", phase="fade")


@pytest.fixture(autouse=True)
def no_run_is_left():
    yield
    stop_all()


def test_spectra_have_a_panel_for_each_kind_and_a_mark_at_the_cut():
    names = [f"blocks.{i}.{kind}" for i in range(2) for kind in ("attn.qkv", "mlp.fc1")]
    spectra = {name: torch.tensor([8.0, 4.0, 2.0, 1.0]) * (i + 1) for i, name in enumerate(names)}
    figure = spectra_figure(spectra, {names[0]: 3})
    assert [axis.get_title() for axis in figure.axes] == ["attn.qkv", "mlp.fc1"]
    lines, mark = figure.axes[0].lines, figure.axes[0].lines[2]
    assert lines[0].get_ydata().tolist() == [1, 0.5, 0.25, 0.125]
    assert (mark.get_xdata().tolist(), mark.get_ydata().tolist()) == ([3], [0.25])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["blocks.0", "blocks.1"]


def test_a_model_with_many_kinds_of_layers_gets_a_second_line_of_panels():
    figure = spectra_figure({f"encoder.layer.0.part{i}": [1.0, 0.0] for i in range(6)})
    assert len(figure.axes) == 6 and figure.axes[5].get_title() == "part5"


def test_cut_costs_stand_beside_their_layer():
    costs = {"plain": {"a": 0.5, "b": 0.3}, "weighted": {"b": 0.2, "a": 0.1}}
    axis = cut_cost_figure(costs).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    np.testing.assert_allclose([line.get_xdata() for line in axis.lines], [[50, 30], [10, 20]])
    with pytest.raises(ValueError, match="'plain' and 'weighted' do not have the same names"):
        cut_cost_figure({"plain": {"a": 0.5}, "weighted": {"b": 0.1}})


def test_the_kernel_has_full_rank_and_lora_does_not():
    A, B = torch.rand(2, 2, 12, 2, generator=torch.Generator().manual_seed(0))
    kinds = ("linear", "piecewise_linear")
    spectrum = kernel_figure({kind: merge_factors(A, B, kind) for kind in kinds}).axes[2]
    lora, kernel = (line.get_ydata() for line in spectrum.lines)
    bottom = spectrum.get_ylim()[0]
    assert (lora > bottom).sum() == 4 and (kernel > bottom).sum() == 12


def test_a_matrix_of_zeros_can_be_drawn():
    figure = kernel_figure({"LoRA at its start": np.zeros((4, 5))})
    assert figure.png().startswith(b"\x89PNG")


def test_sparsifiers_are_drawn_as_they_are():
    squared, soft, mask = (
        line.get_ydata() for line in sparsifier_figure(sparsity=0.5).axes[0].lines
    )
    np.testing.assert_allclose([squared[-1], soft[-1], mask[-1]], [1, 0.5, 1])
    assert [np.count_nonzero(y) for y in (squared, soft, mask)] == [200, 200, 200]


def test_the_grid_has_a_column_for_each_change():
    layers, edges, shares = allocation_grid(HISTORY)
    assert layers == ["a", "b"]
    np.testing.assert_allclose(edges, [0, 50, 100, 100.5])
    assert shares.tolist() == [[100, 75, 50], [100, 25, 0]]
    assert allocation_grid([{"step": 1}])[0] == []


def test_the_competition_is_drawn_with_the_first_layer_on_top():
    figure = allocation_figure(HISTORY)
    axis = figure.axes[0]
    drawn = axis.collections[0].get_array()
    assert drawn.reshape(2, 3).tolist() == [[100, 75, 50], [100, 25, 0]]
    bottom, top = axis.get_ylim()
    assert bottom > top and axis.get_xlim() == (0, 100)
    with pytest.raises(ValueError, match="no row has layer_density"):
        allocation_figure([{"step": 1}])


def test_the_model_to_take_along_is_the_one_without_base():
    faded = [{"step": 0, "accuracy": 0.9, "accuracy_if_base_removed": 0.0}, {"step": 1}]
    small = [{"step": 0, "accuracy": 0.0, "accuracy_if_base_removed": None}]
    small += [{"step": 2, "accuracy": 0.5}]
    lines = takeaway_figure({"pclora": faded, "pela": small}).axes[0].lines
    points = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in lines]
    assert points == [([0], [0]), ([0, 2], [0, 50])]


def test_the_heatmap_follows_a_session_to_its_end(tmp_path):
    session = Session(SHORT, tmp_path).start()
    heatmap = allocation_widget().follow(session)
    session.wait(120)
    layers, edges, shares = allocation_grid(session.snapshot().rows)
    (cells,) = heatmap.figure.data
    until(lambda: cells.x is not None and cells.x[-1] == edges[-1], 20)
    assert list(heatmap.figure.data[0].y) == layers and len(layers) == 16
    np.testing.assert_allclose(heatmap.figure.data[0].z, shares, rtol=1e-6)


def test_the_heatmap_lets_an_earlier_session_go():
    asked = []
    first = SimpleNamespace(snapshot=lambda: asked.append(1) or RUNNING)
    heatmap = allocation_widget().follow(first)
    until(lambda: heatmap.figure.data[0].z is not None, 20)
    heatmap.follow(SimpleNamespace(snapshot=lambda: FINISHED))
    until(lambda: heatmap.figure.data[0].x[-1] == 50.5, 20)
    time.sleep(0.5)
    count = len(asked)
    time.sleep(0.8)
    assert len(asked) == count and heatmap.figure.data[0].x[-1] == 50.5


def test_the_heatmap_draws_nothing_for_a_method_without_competition():
    heatmap = allocation_widget()
    heatmap.update_rows([{"progress": 0.5, "lam": 0.3}])
    assert heatmap.figure.data[0].z is None


def test_what_cannot_be_drawn_is_named_in_the_title():
    rows = [{"progress": None, "layer_density": {"a": 1.0}}]
    last = SimpleNamespace(rows=rows, state="finished", phase="fade")
    heatmap = allocation_widget().follow(SimpleNamespace(snapshot=lambda: last))
    until(lambda: "not drawn" in (heatmap.figure.layout.title.text or ""), 20)

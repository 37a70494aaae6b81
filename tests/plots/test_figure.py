"""A figure draws all that it is given, however much that is, or says that it can't."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from pclora_lab.course.figures.distilling import drift_figure, reach_figure
from pclora_lab.course.figures.methods import cut_cost_figure, kernel_figure, spectra_figure
from pclora_lab.course.figures.records import (
    fades_figure,
    initialization_figure,
    jump_figure,
    outcome_figure,
    parts_figure,
    schedule_figure,
)
from pclora_lab.course.figures.theory import staying_figure
from pclora_lab.plots.figure import common_names, thinned
from pclora_lab.plots.layers import layer_grid
from pclora_lab.plots.palette import INIT_COLORS

PACKAGE = Path(__file__).parents[2] / "pclora_lab"
# A helper that is meant to stop, a call that may leave arguments out, paths of unequal depth.
SHORTER = {"plots/figure.py": 1, "methods/pclora/hf_trainer.py": 1, "data/reading/trees.py": 1}
MANY = 12
NAMES = [f"thing {i}" for i in range(MANY)]
HISTORY = [
    {"step": s, "lam": 1 - s / 2, "accuracy": 0.9, "accuracy_if_base_removed": s / 2}
    for s in range(3)
]
RUNS = [{"label": name, "accuracy": 0.5, "history": HISTORY} for name in NAMES]


def lines(figure):
    """Without guides, which have the same x at both ends."""
    return [
        line
        for axis in figure.axes
        for line in axis.lines
        if len(set(np.ravel(line.get_xdata()).tolist())) > 1
    ]


@pytest.mark.parametrize(
    ("draw", "per_thing"),
    [
        (lambda: schedule_figure([[(0, 1), (0.1 + i / 20, 0)] for i in range(MANY)]), 1),
        (lambda: cut_cost_figure({name: {"a": 0.5, "b": 0.2} for name in NAMES}), 1),
        (lambda: kernel_figure({name: np.eye(3) * (i + 1) for i, name in enumerate(NAMES)}), 1),
        (lambda: spectra_figure({f"kind{i}": [2.0, 1.0] for i in range(MANY)}), 1),
        (lambda: drift_figure({name: [[0.0, 1.0]] for name in NAMES}), 1),
        (lambda: fades_figure(RUNS), 2),
        (lambda: jump_figure(RUNS), 1),
        (lambda: initialization_figure([r | {"start": s} for r in RUNS for s in INIT_COLORS]), 3),
    ],
    ids="schedules cut-costs kernels spectra drifts fades jump starts".split(),
)
def test_every_thing_has_its_lines(draw, per_thing):
    assert len(lines(draw())) == per_thing * MANY


def test_every_run_has_its_mark_and_every_part_its_bars():
    assert len(outcome_figure(RUNS).axes[0].get_yticklabels()) == MANY
    model = {"m": dict.fromkeys(NAMES, 1_000_000)}
    assert [len(axis.patches) for axis in parts_figure(model, model).axes] == [2 * MANY, MANY]
    steps = [i / (MANY - 1) for i in range(MANY)]
    assert len(reach_figure({name: {"a": 1.0} for name in NAMES}).axes[0].texts) == MANY
    assert len(staying_figure(torch.eye(2), torch.eye(2), steps).axes) == MANY


def test_what_only_some_groups_have_is_not_left_out():
    with pytest.raises(ValueError, match="'c' is in one of them only"):
        common_names({"one": {"a": 1}, "other": {"a": 1, "c": 2}})
    with pytest.raises(ValueError, match="nothing to draw"):
        common_names({})
    rows = [{"step": 0, "layer_cka": {"a": 1.0}}, {"step": 1, "layer_cka": {"a": 1.0, "b": 0.5}}]
    layers, _, values = layer_grid(rows, "layer_cka")
    assert layers == ["a", "b"] and np.isnan(values[1, 0]) and values[1, 1] == 0.5


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 999, 12_345])
def test_a_curve_of_fewer_points_keeps_its_ends(count):
    kept = thinned(count, 500)
    assert len(set(kept)) == len(kept) == min(count, 500)
    assert count == 0 or (kept[0], kept[-1]) == (0, count - 1)


def test_nothing_else_stops_at_the_shorter_of_two():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        calls = (
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        )
        loose = [c for c in calls if getattr(c.func, "id", "") == "zip" and not _is_strict(c)]
        if loose:
            found[path.relative_to(PACKAGE).as_posix()] = len(loose)
    assert found == SHORTER


def _is_strict(call):
    return any(k.arg == "strict" and getattr(k.value, "value", False) for k in call.keywords)

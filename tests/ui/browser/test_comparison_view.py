"""The view of a comparison in a notebook, without a browser."""

from types import SimpleNamespace

import pytest

from pclora_lab import Comparison
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.browser import comparison_view as module
from pclora_lab.ui.browser.comparison_view import ComparisonView, watch

BASE = RunConfig(steps=3, evaluations=1, eval_images=40, device="cpu")
GRID = {"methods": ("svd", "full"), "budgets": (0.1,), "seeds": (0,), "lrs": (1e-3,)}


@pytest.fixture
def shown(monkeypatch):
    shown = []
    monkeypatch.setattr(module, "display", shown.append)
    return shown


def test_a_comparison_ends_with_a_full_bar_a_figure_and_its_table(tmp_path, shown):
    table = watch(Comparison(BASE, **GRID, out=tmp_path))
    (view,) = shown
    assert view.bar.value == 1.0 and view.text.value == f"finished: {tmp_path}"
    assert bytes(view.picture.value).startswith(b"\x89PNG")
    assert list(table["method"]) == ["svd", "full"] and table["accuracy"].gt(0).all()


def test_time_left_counts_only_what_has_to_be_run(tmp_path, shown, monkeypatch):
    list(Comparison(BASE, **GRID, out=tmp_path).run())
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    comparison = Comparison(BASE, **{**GRID, "seeds": (0, 1)}, out=tmp_path)
    view, said = ComparisonView(), []
    for step in comparison.run():
        view.update(comparison, step)
        said.append(view.text.value)
    # svd (1 step) and full's first seed (3) are there; at step 5 of 7 one of three took 30 s.
    assert "full-s1: 5 of 7 steps, 60 s left" in said

"""The course's figures draw the numbers they are given, and the animation is small and loops."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pclora_lab.course.figures.diagrams import fade_animation, layer_diagram
from pclora_lab.course.figures.records import (
    fades_figure,
    initialization_figure,
    jump_figure,
    outcome_figure,
    parts_figure,
)
from pclora_lab.course.figures.theory import staying_figure
from pclora_lab.plots.palette import COLORS

LAMS = (1.0, 0.5, 0.0, 0.0)
REMOVED = (0.1, 0.1, 0.6, 0.8)


def history(shift=0.0, steps=(0, 10, 20, 30)):
    return [
        {"step": s, "lam": lam, "accuracy": 0.9, "accuracy_if_base_removed": r + shift}
        for s, lam, r in zip(steps, LAMS, REMOVED, strict=True)
    ]


def runs(*labels):
    return [{"label": n, "accuracy": 0.8, "history": history(i / 10)} for i, n in enumerate(labels)]


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_the_weight_is_as_opaque_as_lambda_and_the_adapter_always_opaque():
    for lam in (1.0, 0.3, 0.0):
        axis = layer_diagram(lam).axes[0]
        filled = [p for p in axis.patches if p.get_facecolor()[3] > 0 or p.get_alpha() == 0]
        assert [p.get_alpha() for p in filled[:5]] == [lam, lam, 1, 1, 1]
        assert f"× λ = {lam:.2f}" in words(axis)
        assert ("the base is gone" in words(axis)) == (lam == 0)


def test_lambda_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"λ is 1\.5: it must be in \[0, 1\]"):
        layer_diagram(1.5)


def test_the_animation_has_a_frame_for_each_measured_row_loops_and_is_small():
    rows = [*history(), {"step": 31, "lam": 0.0, "accuracy": None}]
    film = fade_animation(rows, seconds=2)
    image = Image.open(io.BytesIO(film.gif))
    assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 4, 0)
    durations = []
    for frame in range(4):
        image.seek(frame)
        durations.append(image.info["duration"])
    assert durations == [500, 500, 500, 2500]
    assert len(film.gif) < 120_000
    image.seek(0)
    first = image.convert("RGB")
    assert first.getpixel((2, 2)) == (255, 255, 255)
    still = Image.open(io.BytesIO(film.still)).convert("RGB")
    base = tuple(int(COLORS["base"][i : i + 2], 16) for i in (1, 3, 5))
    gaps = [np.abs(np.asarray(picture, dtype=int) - base).max(-1) for picture in (first, still)]
    much, little = ((gap < 24).sum() for gap in gaps)
    assert much > 3 * little, "W is as blue at the end as at the beginning"


def test_a_run_of_many_rows_is_still_small():
    rows = [
        {"step": s, "lam": 1 - s / 30, "accuracy": 0.9, "accuracy_if_base_removed": (s / 30) ** 3}
        for s in range(31)
    ]
    film = fade_animation(rows)
    assert len(film.gif) < 120_000 and "λ 1.00 → 0.00" in film.text
    assert Image.open(io.BytesIO(film.gif)).n_frames == 16


def test_who_wants_less_motion_gets_the_still_and_words():
    film = fade_animation(history())
    shown = film._repr_html_()
    assert '<source media="(prefers-reduced-motion: reduce)" srcset="data:image/png;base64,' in (
        shown
    )
    assert f'alt="{film.text}"' in shown and "10% → 80%" in film.text


def test_an_animation_of_one_row_is_refused():
    with pytest.raises(ValueError, match=r"1 row\(s\) with both accuracies"):
        fade_animation(history()[:1])


def test_fades_are_means_over_the_runs_of_a_label():
    pair = [{"label": "a", "history": history(0)}, {"label": "a", "history": history(0.1)}]
    figure = fades_figure([*pair, *runs("b")])
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    removed = figure.axes[0].lines[1]
    assert removed.get_xdata().tolist() == [0, 10, 20, 30]
    assert removed.get_ydata().tolist() == pytest.approx([15, 15, 65, 85])


def test_runs_of_one_label_measured_at_different_steps_are_refused():
    pair = [{"label": "a", "history": history(steps=s)} for s in ((0, 10, 20, 30), (0, 5, 20, 30))]
    with pytest.raises(ValueError, match="'a' were measured at different steps"):
        fades_figure(pair)


def test_the_jump_ends_where_lambda_first_is_zero():
    line = jump_figure(runs("a")).axes[0].lines[0]
    assert line.get_xdata().tolist() == [1, 0.5, 0]
    assert line.get_ydata().tolist() == pytest.approx([10, 10, 60])
    assert jump_figure(runs("a")).axes[0].get_xlim() == (1.02, -0.02)


def test_outcomes_show_every_run_their_mean_and_the_teacher():
    three = [{"label": "a", "accuracy": v} for v in (0.7, 0.8, 0.9)]
    axis = outcome_figure([*three, {"label": "b", "accuracy": 0.5}], teacher=0.95).axes[0]
    assert axis.lines[0].get_xdata().tolist() == pytest.approx([70, 80, 90])
    assert list(axis.lines[1].get_xdata()) == pytest.approx([80])
    assert list(axis.lines[-1].get_xdata()) == pytest.approx([95, 95])
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a", "b"]
    names = [text.get_text() for text in axis.figure.legends[0].get_texts()]
    assert names == ["one run", "mean", "teacher"]
    even = outcome_figure(three).legends[0].get_texts()
    assert [text.get_text() for text in even] == ["one run", "mean of 3"]


def test_a_start_has_one_entry_for_its_runs_and_the_teacher_a_line():
    starts = [{"start": "zeros", "history": history(i / 10)} for i in range(2)]
    (axis,) = initialization_figure(starts, teacher=0.95).axes
    assert [list(line.get_ydata()) for line in axis.lines[:2]] == [
        pytest.approx([100 * (value + i / 10) for value in REMOVED]) for i in range(2)
    ]
    assert list(axis.lines[2].get_ydata()) == pytest.approx([95, 95])
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["zeros", "teacher"] and len(initialization_figure(starts).axes[0].lines) == 2


def test_what_stays_of_a_weight_at_lambda_zero_is_the_adapter():
    fading, adapter = torch.diag(torch.tensor([0.0, 3.0])), torch.diag(torch.tensor([5.0, 0.0]))
    figure = staying_figure(fading, adapter, lams=(1.0, 0.0))
    sums = [axis.lines[2].get_ydata().tolist() for axis in figure.axes]
    assert sums == [pytest.approx([5, 3]), pytest.approx([5, 0])]
    assert [axis.get_title() for axis in figure.axes] == ["λ = 1", "λ = 0"]


def test_records_are_what_the_figures_take():
    from pclora_lab.files import data_dir

    for name in ("schedules", "distillation"):
        record = json.loads((data_dir("results") / f"{name}.json").read_text(encoding="utf8"))
        labels = list(record["summary"])
        axis = outcome_figure(record["rows"]).axes[0]
        assert [tick.get_text() for tick in axis.get_yticklabels()] == labels
        assert len(fades_figure(record["rows"]).axes) == len(labels)


def test_parts_make_bars_and_what_is_left_is_drawn_again():
    before = {"a": {"W": 8e6, "head": 1e6}, "b": {"W": 4e6, "head": 1e6}}
    after = {"a": {"W": 1e6, "head": 1e6}, "b": {"W": 5e5, "head": 1e6}}
    both, small = parts_figure(before, after, "rank 2").axes
    assert [bar.get_width() for bar in small.patches] == [1, 1, 1, 0.5]
    assert [bar.get_x() for bar in small.patches] == [0, 0, 1, 1]
    assert sum(bar.get_width() for bar in both.patches) == 17.5
    labels = [label.get_text() for label in both.get_yticklabels()]
    assert labels == ["a\ndense", "a\nrank 2", "b\ndense", "b\nrank 2"]

"""Time and λ by hand are read from a history, also from one that was interrupted or edited."""

import math

import pytest

from pclora_lab.plots.live import held_shapes
from pclora_lab.plots.run_axis import BY_HAND, held_spans, step_seconds, with_held


def fade(step, **more):
    return {"phase": "fade", "step": step, **more}


def test_time_of_a_run_that_was_taken_up_never_falls():
    times = (0.2, 3.0, 5.0, 1.0, 4.0, 0.5, 2.0)
    steps, seconds = step_seconds(fade(10 * i, seconds=time) for i, time in enumerate(times))
    assert steps == [0, 10, 20, 30, 40, 50, 60]
    assert seconds == pytest.approx([0.2, 3, 5, 6, 9, 9.5, 11])


def test_rows_without_a_time_have_none():
    rows = [
        {"phase": "teacher", "step": 1, "steps": 4, "seconds": 9.0}, fade(0), fade(2, seconds=None),
        fade(4, seconds=math.nan), fade(6, seconds="7"), fade(8, seconds=True),
        fade("x", seconds=1.0), fade(10, seconds=2),
    ]  # fmt: skip
    assert step_seconds(rows) == ([10], [2])
    assert step_seconds([]) == ([], [])


@pytest.mark.parametrize(
    ("moves", "spans"),
    [
        ([], []),
        ([[3, 0.5]], [(3, 20)]),
        ([[3, 0.5], [7, None]], [(3, 7)]),
        ([[3, 0.5], [5, 0.0], [7, "reset"], [9, 1.0], [12, None]], [(3, 7), (9, 12)]),
        ([[7, None]], []),
    ],
)
def test_a_hand_holds_until_it_lets_go(moves, spans):
    rows = [fade(0), fade(10, overrides=moves[:2]), fade(20, overrides=moves[2:])]
    assert held_spans(rows) == spans
    assert [(shape["x0"], shape["x1"]) for shape in held_shapes(spans)] == spans


@pytest.mark.parametrize("moves", ["x", [[1]], [["a", 0.5]], [[5, 0.5], [1, None]], [[1, 7.0]]])
def test_moves_that_no_hand_makes_are_left_out(moves):
    rows = [fade(10, lam=0.5, overrides=moves)]
    assert held_spans(rows) == [] and list(with_held(rows)) == rows


def test_lambda_by_hand_is_lambda_where_it_is_the_hands():
    moves = [[10, 0.5], [20, 0.25], [30, None]]
    lams = {0: 1.0, 10: 0.5, 15: 0.5, 20: 0.25, 30: 0.1, 40: 0.0}
    rows = [fade(step, lam=lam, overrides=moves * (step == 40)) for step, lam in lams.items()]
    held = [row[BY_HAND] for row in with_held([{"phase": "teacher", BY_HAND: 7}, *rows])]
    assert held[0] == 7 and held[2:5] == [0.5, 0.5, 0.25]
    assert all(math.isnan(value) for value in (held[1], *held[5:]))


def test_at_the_last_step_the_schedule_has_its_way():
    rows = [fade(10, lam=0.5, overrides=[[5, 0.5]]), fade(20, lam=0.0)]
    assert [row[BY_HAND] for row in with_held(rows)] == [0.5, pytest.approx(math.nan, nan_ok=True)]

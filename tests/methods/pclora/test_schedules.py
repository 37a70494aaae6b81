"""λ(progress): the published shapes, exactly 0 after the fade, and drawn schedules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.schedules import (
    SCHEDULES,
    _checked,
    base_weight_factor,
    check_schedule,
    fade_is_over,
    parse_points,
    schedule_notes,
    schedule_points,
)
from pclora_lab.plugins import PluginError

# λ at 0, a quarter, half, three quarters and all of the fade, worked out by hand.
ROOT_HALF = math.sqrt(2) / 2
COS_22_5, SIN_22_5 = math.sqrt(2 + math.sqrt(2)) / 2, math.sqrt(2 - math.sqrt(2)) / 2
QUARTERS = {
    "sine": (1, 1 - SIN_22_5, 1 - ROOT_HALF, 1 - COS_22_5, 0),
    "one_minus_cosine": (1, COS_22_5, ROOT_HALF, SIN_22_5, 0),
    "linear": (1, 0.75, 0.5, 0.25, 0),
    "identity": (1, 1, 1, 1, 0),
}
names = st.sampled_from(sorted(QUARTERS))
shares = st.floats(0, 1)
ends = st.floats(0.01, 1)


@st.composite
def drawn_points(draw):
    """A valid schedule by points."""
    count = draw(st.integers(2, 6))
    progress = draw(st.lists(shares, min_size=count, max_size=count, unique=True))
    lams = draw(st.lists(shares, min_size=count - 1, max_size=count - 1))
    return list(zip(sorted(progress), [*sorted(lams, reverse=True), 0.0], strict=True))


def test_every_named_schedule_has_a_row_in_the_table():
    assert set(SCHEDULES) == set(QUARTERS)


@pytest.mark.parametrize("fade_end", [0.6, 1.0, 0.25])
@pytest.mark.parametrize("name", QUARTERS)
def test_values_at_the_quarters_of_the_fade(name, fade_end):
    lams = [base_weight_factor(i / 4 * fade_end, name, fade_end) for i in range(5)]
    assert lams == pytest.approx(QUARTERS[name], abs=1e-12)


@given(name=names, tenths=st.integers(1, 10), steps=st.integers(1, 2000), data=st.data())
def test_lambda_is_zero_exactly_from_the_end_of_the_fade_on(name, tenths, steps, data):
    step = data.draw(st.integers(0, steps))
    lam = base_weight_factor(step / steps, name, tenths / 10)
    assert (lam == 0.0) == (10 * step >= tenths * steps)


@given(name=names, fade_end=ends, first=shares, second=shares)
def test_a_named_schedule_stays_within_0_and_1_and_never_rises(name, fade_end, first, second):
    early, late = sorted((first, second))
    before, after = (base_weight_factor(p, name, fade_end) for p in (early, late))
    assert 0 <= after <= before + 1e-12 <= 1 + 1e-12


@given(points=drawn_points(), first=shares, second=shares)
def test_a_drawn_schedule_stays_within_0_and_1_and_never_rises(points, first, second):
    early, late = sorted((first, second))
    before, after = (base_weight_factor(p, points) for p in (early, late))
    assert 0 <= after <= before + 1e-11 <= 1 + 1e-11


@pytest.mark.parametrize(
    ("points", "progress", "lam"),
    [
        ([(0, 1), (0.2, 0.7), (0.6, 0)], 0.1, 0.85),
        ([(0, 1), (0.2, 0.7), (0.6, 0)], 0.2, 0.7),
        ([(0, 1), (0.2, 0.7), (0.6, 0)], 0.4, 0.35),
        ([(0, 1), (0.2, 0.7), (0.6, 0)], 0.6, 0.0),
        ([(0, 1), (0.2, 0.7), (0.6, 0)], 1.0, 0.0),
        ([(0.3, 0.8), (0.5, 0)], 0.0, 0.8),
        ([(0, 1), (0.5, 1), (1, 0)], 0.5, 1.0),
    ],
)
def test_points_are_joined_by_straight_lines(points, progress, lam):
    assert base_weight_factor(progress, points) == pytest.approx(lam, abs=1e-12)


def test_points_carry_their_own_end_of_the_fade():
    points = [(0, 1), (0.8, 0)]
    assert base_weight_factor(0.4, points, fade_end=0.1) == pytest.approx(0.5)


def test_points_become_pairs_of_floats():
    assert check_schedule([[0, 1], [1, 0]]) == ((0.0, 1.0), (1.0, 0.0))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("cosine", "unknown schedule 'cosine'.*sine, one_minus_cosine, linear, identity"),
        ([(0, 1)], "at least two"),
        ([(0, 1), (1.5, 0)], r"1\.5.*must both lie in \[0, 1\]"),
        ([(0, 2), (1, 0)], r"2\.0.*must both lie in \[0, 1\]"),
        ([(0, math.nan), (1, 0)], r"nan.*must both lie in \[0, 1\]"),
        ([(0, 1), (0.5, 0.5), (0.5, 0)], "progress must rise, but 0.5 follows 0.5"),
        ([(0, 0.5), (0.5, 0.6), (1, 0)], "λ must not rise, but 0.6 follows 0.5"),
        ([(0, 1), (1, 0.1)], "ends at λ = 0.1"),
        ([1, 0], "neither a name"),
        (None, "schedule None is neither a name"),
    ],
)
def test_a_bad_schedule_is_refused_with_its_reason(schedule, message):
    with pytest.raises(ValueError, match=message):
        check_schedule(schedule)


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_progress_outside_0_and_1_is_refused(progress):
    with pytest.raises(ValueError, match=f"progress {progress} .*step / total_steps"):
        base_weight_factor(progress)


def test_a_curve_may_rise_only_if_asked():
    points = [(0, 1), (0.2, 0.2), (0.3, 0.6), (0.6, 0)]
    with pytest.raises(ValueError, match="needs may_rise=True"):
        PCLoRAConfig(schedule=points)
    config = PCLoRAConfig(schedule=points, may_rise=True)
    assert base_weight_factor(0.25, config.schedule) == pytest.approx(0.4)
    assert any("comes back" in note for note in schedule_notes(points))
    assert schedule_points(points) == points


def test_the_base_leaves_only_when_lam_is_zero_for_good():
    points = [(0, 1), (0.2, 0), (0.4, 0), (0.5, 0.3), (0.6, 0), (1, 0)]
    assert [fade_is_over(p, points) for p in (0.3, 0.55, 0.6, 0.9)] == [False, False, True, True]
    assert fade_is_over(0.6, "sine", 0.6) and not fade_is_over(0.59, "sine", 0.6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_preset_as_points_is_close_to_the_named_schedule(name):
    points = schedule_points(name, 0.6)
    assert check_schedule(points)[-1] == (0.6, 0.0)
    gaps = [
        abs(base_weight_factor(i / 100, points) - base_weight_factor(i / 100, name, 0.6))
        for i in range(101)
        if not (name == "identity" and i == 59)
    ]
    assert max(gaps) < 0.025


@pytest.mark.parametrize("fade_end", [0.002, 0.01, 0.5, 1])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_preset_as_points_is_a_schedule_wherever_the_fade_ends(name, fade_end):
    points = schedule_points(name, fade_end)
    assert check_schedule(points)[-1] == (fade_end, 0.0)
    assert base_weight_factor(0, points) == 1


@pytest.mark.parametrize("text", ["0:1, 0.5", "a:b", "", "0:1:2"])
def test_points_that_are_none_say_how_to_write_them(text):
    with pytest.raises(ValueError, match="write progress:λ"):
        parse_points(text)


def test_a_drawn_curve_says_what_its_ends_mean():
    assert "before the first step" in schedule_notes([(0, 0.5), (1, 0)])[0]
    assert schedule_notes("sine") == schedule_notes([(0, 1), (1, 0)]) == []
    with pytest.raises(ValueError, match="nothing could be removed"):
        check_schedule([(0, 1), (1, 0.1)])


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (0.5, "0.5 can't be called"),
        (lambda t: 1 / t, "fails on a t in .* ZeroDivisionError"),
        (lambda t: 1 - 2 * t, "gives -0.0625"),
        (lambda t: 0.5, "gives 0.5 at t = 0"),
        (lambda t: math.nan, "gives nan"),
    ],
)
def test_a_schedule_of_another_package_must_be_one(schedule, reason):
    with pytest.raises(PluginError, match=reason):
        _checked("theirs", schedule)


def test_a_schedule_of_another_package_may_end_above_zero_just_before_the_end():
    assert _checked("hard", lambda t: 1)(0.9) == 1


def test_points_have_a_least_and_a_largest_number():
    assert len(check_schedule([(0, 1), (1, 0)])) == 2
    many = [(i / 9_999, 1 - i / 9_999) for i in range(10_000)]
    assert len(check_schedule(many)) == 10_000
    with pytest.raises(ValueError, match="a schedule of 10,001 points: 10,000 are the most"):
        check_schedule([*((p / 2, v) for p, v in many), (1, 0)])
    with pytest.raises(ValueError, match=r"has 0 point\(s\): give at least two"):
        check_schedule([])


def test_a_plateau_neither_rises_nor_is_over():
    plateau = [(0, 1), (0.2, 1), (0.4, 0.5), (0.6, 0.5), (0.8, 0)]
    assert check_schedule(plateau) and schedule_notes(plateau) == []
    assert not fade_is_over(0.79, plateau) and fade_is_over(0.8, plateau)
    nothing = [(0.1, 0), (1, 0)]
    assert fade_is_over(0.1, nothing) and not fade_is_over(0.05, nothing)


def test_before_the_first_point_lambda_is_its_own_and_after_the_last_it_is_0():
    points = [(0.25, 0.75), (0.5, 0)]
    assert [base_weight_factor(p, points) for p in (0, 0.25, 0.375, 0.5, 1)] == [
        *(0.75, 0.75, 0.375, 0, 0)
    ]
    assert base_weight_factor(0.3, [(0, 1), (1, 0)]) == 0.7, "rounded to what was meant"
    assert base_weight_factor(1 / 3, [(0, 1), (1, 0)]) == 0.666666666667, "to twelve digits"


def test_both_odd_things_about_a_curve_are_told():
    starts, rises = schedule_notes([(0, 0.5), (0.2, 0.9), (1, 0)])
    assert starts.startswith("λ starts at 0.5") and rises.startswith("λ rises on the way")


def test_points_may_be_parted_by_semicolons_too():
    assert parse_points("0:1; 0.5 : 0.25,1:0") == [(0, 1), (0.5, 0.25), (1, 0)]


def test_a_preset_has_as_many_points_as_asked_in_even_steps():
    points = schedule_points("one_minus_cosine", 0.5, count=5)
    assert [p for p, _ in points] == [0, 0.125, 0.25, 0.375, 0.5]
    assert [v for _, v in points] == [1.0, 0.924, 0.707, 0.383, 0.0]
    assert len(schedule_points("sine")) == 6
    assert schedule_points("identity", 0.5) == [(0, 1), (0.49, 1), (0.5, 0)]


def test_a_schedule_of_another_package_is_tried_up_to_the_end_of_its_fade():
    asked = []
    _checked("theirs", lambda t: asked.append(t) or 1 - t)
    assert asked[0] == 0 and 0.95 < asked[-1] < 1
    for value in (1 + 5e-7, 1 - 5e-7):
        assert _checked("rounded", lambda t, value=value: min(1.0, value) - t) is not None
    with pytest.raises(PluginError, match=r"theirs fails on a t in \[0, 1\) with TypeError"):
        _checked("theirs", lambda: 1.0)
    with pytest.raises(PluginError, match="theirs gives 1.5") as error:
        _checked("theirs", lambda t: 1 + t if t == 0.5 else 1)
    assert "at t = 0" not in str(error.value)


def test_unless_told_otherwise_it_is_the_papers_sine_until_0_6_of_the_steps():
    assert base_weight_factor(0.3) == base_weight_factor(0.3, "sine", 0.6)
    assert base_weight_factor(0.599) > 0 == base_weight_factor(0.6)
    assert fade_is_over(0.6, "linear") and not fade_is_over(0.599, "linear")
    assert schedule_points("linear")[-1] == (0.6, 0)


@pytest.mark.parametrize(
    ("name", "inner"), [("linear", (0.1667, 0.5)), ("sine", (0.1667, 0.293)), ("identity", None)]
)
def test_points_of_a_preset_have_four_digits_of_progress_and_three_of_lambda(name, inner):
    points = schedule_points(name, 1 / 3, count=3)
    assert points[0] == (0, 1) and points[-1] == (1 / 3, 0)
    assert points[1:-1] == [inner or (0.3233, 1.0)]

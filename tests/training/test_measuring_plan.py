"""When a run is measured: by what is counted, where λ moves, and often enough for a curve."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import pytest

from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.schedules import base_weight_factor
from pclora_lab.training import teacher
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow
from pclora_lab.training.loop import train
from pclora_lab.training.measuring import metrics
from pclora_lab.training.measuring_plan import (
    MeasuringPlan,
    evenly,
    log_every,
    plan_measuring,
    spread,
    teacher_examples,
    teacher_readings,
)


def planned(**options: object) -> MeasuringPlan:
    return plan_measuring(RunConfig(**options), small_share=0.2, probe_examples=32)


def cost(plan: MeasuringPlan) -> float:
    """Of all readings, in passes of one example."""
    return len(plan.steps) * plan.examples * 1.2


@pytest.mark.parametrize("batch_size", [16, 64, 256])
@pytest.mark.parametrize("steps", [100, 300, 1000, 20_000])
def test_readings_cost_a_tenth_of_the_steps_and_make_a_curve(steps, batch_size):
    plan = planned(steps=steps, batch_size=batch_size)
    training = 3 * steps * batch_size
    least = 10 * 64 * 1.2
    assert cost(plan) <= max(0.1 * training, least)
    assert cost(plan) >= min(0.095 * training, 31 * 512 * 1.2) or cost(plan) == least
    assert 10 <= len(plan.steps) <= 31 and 64 <= plan.examples <= 512
    assert plan.steps[0] == 0 and plan.steps[-1] == steps
    assert sorted(set(plan.steps)) == list(plan.steps)
    # The layers' distances: a twentieth, but the ends.
    assert {0, steps} <= set(plan.distances) <= set(plan.steps)
    assert len(plan.distances) == 2 or 4 * 32 * len(plan.distances) <= 0.05 * training


def test_what_was_asked_for_is_done():
    plan = planned(steps=100, evaluations=4, eval_images=17)
    assert len(plan.steps) == 5 and plan.examples == 17
    assert planned(steps=100, evaluations=1).steps == (0, 100)
    assert planned(steps=3, evaluations=30).steps == (0, 1, 2, 3)
    assert len(planned(steps=100, eval_images=2000).steps) == 10


def test_a_plan_is_kept_to():
    plan = planned()
    with pytest.raises(FrozenInstanceError):
        plan.examples = 1


def gaps(steps: Sequence[int]) -> list[int]:
    return [after - before for before, after in zip(steps, steps[1:], strict=False)]


@pytest.mark.parametrize("schedule", ["sine", "linear", "one_minus_cosine"])
def test_points_are_closer_where_lambda_moves(schedule):
    method = PCLoRAConfig(rank=8, schedule=schedule)
    plan = planned(steps=1200, method=method)
    during = [s for s in plan.steps if s <= 0.6 * 1200]
    after = [s for s in plan.steps if s >= 0.6 * 1200]
    assert len(during) > 0.7 * len(plan.steps) and len(after) >= 4
    lams = [base_weight_factor(s / 1200, schedule, 0.6) for s in during]
    assert max(a - b for a, b in zip(lams, lams[1:], strict=False)) < 0.12
    assert max(gaps(plan.steps)) < 1200 / 10


def test_a_switch_is_seen_before_and_after():
    plan = planned(steps=1200, method=PCLoRAConfig(rank=8, schedule="identity"))
    after = [step for step in plan.steps if step >= 720]
    assert after[:5] == [720, 730, 740, 750, 760] and plan.steps[-1] == 1200


def test_without_lambda_they_are_even():
    plan = planned(steps=1200, method=FullConfig())
    assert max(gaps(plan.steps)) - min(gaps(plan.steps)) <= 10


def test_a_teachers_readings_cost_a_share_of_its_own_steps():
    assert teacher_examples(RunConfig(teacher_steps=100)) == 192
    assert teacher_examples(RunConfig(teacher_steps=10_000)) == 512
    assert teacher_examples(RunConfig(teacher_steps=1)) == 64
    assert teacher_examples(RunConfig(eval_images=7)) == 7


@pytest.mark.parametrize("small_share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("steps", "batch_size"), [(50, 8), (300, 64), (400, 64), (900, 128)])
def test_more_examples_come_before_more_readings_and_both_have_their_bounds(
    steps, batch_size, small_share
):
    """A step costs three passes, a reading 1 + small_share; 256 examples are well read."""
    config = RunConfig(steps=steps, batch_size=batch_size)
    plan = plan_measuring(config, small_share=small_share, probe_examples=128)
    passes = 0.1 * 3 * steps * batch_size / (1 + small_share)
    points = min(31, max(10, int(passes / 256)))
    assert len(plan.steps) == points
    assert plan.examples == min(512, max(64, int(passes / points)))
    # A look at the layers costs four passes of its examples, all of them a twentieth.
    looks = int(0.05 * 3 * steps * batch_size / (4 * 128))
    assert len(plan.distances) == min(points, max(2, looks))


@pytest.mark.parametrize(
    ("steps", "every"), [(1, 1), (119, 1), (120, 1), (239, 1), (240, 2), (1200, 10), (1319, 10)]
)
def test_a_history_has_about_120_rows(steps, every):
    assert log_every(steps) == every


def test_readings_are_at_steps_that_are_logged():
    for steps in (100, 241, 1200, 5000):
        plan = planned(steps=steps)
        assert all(step % log_every(steps) == 0 or step == steps for step in plan.steps)


@pytest.mark.parametrize("points", [2, 3, 4, 5, 7, 8, 11, 31])
@pytest.mark.parametrize("every", [1, 2, 7])
def test_without_lambda_points_are_exactly_even_where_they_can_be(points, every):
    logged = range(0, 5 * every * (points - 1) + 1, 5)
    wanted = tuple(range(0, logged[-1] + 1, 5 * every))
    assert spread(logged, points, None) == wanted
    # A λ that never moves is none.
    assert spread(logged, points, lambda progress: 1.0) == wanted


def test_one_half_of_the_points_is_where_lambda_moves_whichever_way():
    logged = range(0, 101)
    down = spread(logged, 11, lambda progress: max(0.0, 1 - 4 * progress))
    up = spread(logged, 11, lambda progress: min(1.0, 4 * progress))
    assert down == up
    # However far it moves in all.
    for far in (0.3, 3.0):
        assert (
            spread(logged, 11, lambda progress, far=far: far * max(0.0, 1 - 4 * progress)) == down
        )
    # λ's whole way and a quarter of the training are 0.625 of both.
    assert sum(step <= 25 for step in down) == 7
    assert max(gaps(down)) <= 20 and gaps(down)[:6] == [4] * 6


def test_points_that_fall_together_take_the_steps_beside_them():
    assert spread(range(11), 5, lambda progress: float(progress < 1)) == (0, 5, 8, 9, 10)
    assert spread(range(11), 5, lambda progress: float(progress <= 0)) == (0, 1, 2, 5, 10)


@pytest.mark.parametrize("points", [2, 3, 5, 9, 10, 11, 12, 40])
def test_there_are_as_many_points_as_were_asked_for_or_all(points):
    for lam in (None, lambda progress: 1 - progress**8, lambda progress: float(progress < 0.95)):
        found = spread(range(0, 55, 5), points, lam)
        assert len(found) == min(points, 11) and found[0] == 0 and found[-1] == 50
        assert list(found) == sorted(set(found))


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (2, (3, 40)),
        (3, (3, 9, 40)),
        (4, (3, 5, 20, 40)),
        (5, (3, 5, 9, 20, 40)),
        (9, (3, 5, 9, 20, 40)),
    ],
)
def test_evenly_takes_the_first_the_last_and_what_is_between(count, chosen):
    assert evenly((3, 5, 9, 20, 40), count) == chosen


def test_of_one_step_there_is_one():
    assert evenly((3,), 1) == evenly((3,), 2) == (3,)


def test_a_fade_without_an_end_of_its_own_takes_the_whole_training():
    own = SimpleNamespace(schedule="linear")
    config = SimpleNamespace(
        steps=1200, batch_size=64, method=own, evaluations=None, eval_images=None
    )
    steps = plan_measuring(config, small_share=0.0, probe_examples=32).steps
    assert max(gaps(steps)) - min(gaps(steps)) <= 10
    own.fade_end = 0.1
    steps = plan_measuring(config, small_share=0.0, probe_examples=32).steps
    # λ's whole way and a tenth of the training are 0.55 of both.
    assert sum(step <= 120 for step in steps) == pytest.approx(0.55 * len(steps), abs=6)


def test_as_many_points_as_were_asked_for_are_even_whatever_lambda_does():
    plan = planned(steps=120, evaluations=4, method=PCLoRAConfig(rank=8, fade_end=0.1))
    assert plan.steps == (0, 30, 60, 90, 120)


@pytest.mark.parametrize("asked", [None, 1, 2, 9, 10, 11, 300])
@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 19, 25, 29, 600])
def test_a_teacher_is_read_as_often_as_asked_for_and_ten_times_at_most(steps, asked):
    found = teacher_readings(RunConfig(teacher_steps=steps, evaluations=asked))
    assert len(found) == min(steps, 10 if asked is None else asked, 10)
    # Evenly, from one reading's worth of steps on; the last is of what is kept.
    between = gaps([0, *found])
    assert found[-1] == steps and max(between) - min(between) <= 1


@pytest.mark.parametrize(
    ("steps", "batch_size", "examples"),
    [(1, 64, 64), (34, 64, 65), (100, 64, 192), (266, 64, 510), (267, 64, 512), (100, 128, 384)],
)
def test_a_teachers_ten_readings_cost_a_tenth_of_its_steps(steps, batch_size, examples):
    config = RunConfig(teacher_steps=steps, batch_size=batch_size)
    assert teacher_examples(config) == examples


def test_the_history_is_measured_as_planned_and_says_on_how_many(tmp_path, monkeypatch):
    read = []
    evaluate = metrics.evaluate
    monkeypatch.setattr(
        metrics, "evaluate", lambda *a, **k: read.append(k["limit"]) or evaluate(*a, **k)
    )
    config = RunConfig(steps=24, device="cpu", teacher_steps=2, batch_size=16)
    rows = [e.values for e in train(config, tmp_path) if isinstance(e, LogRow)]
    rows = [row for row in rows if row["phase"] == "fade"]
    plan = plan_measuring(config, small_share=0.2, probe_examples=32)
    assert [row["step"] for row in rows if row["accuracy"] is not None] == list(plan.steps)
    assert {row["examples"] for row in rows} == set(read) == {plan.examples}
    looked = [row["step"] for row in rows if "layer_mse" in row]
    assert looked == list(plan.distances)
    assert [r["step"] for r in rows if "layer_base_share" in r] == list(plan.steps)


def test_a_teachers_accuracy_is_read_once_for_all_runs_and_processes(tmp_path, monkeypatch):
    whole = []
    evaluate = teacher.evaluate

    def counted(*args, limit, **how):
        whole.append(limit)
        return evaluate(*args, limit=limit, **how)

    monkeypatch.setattr(teacher, "evaluate", counted)
    config = RunConfig(steps=1, teacher="finetune", teacher_steps=2, evaluations=1, device="cpu")

    def told(seed: int) -> float:  # each with a cache of its own, as in another process
        *_, end = train(replace(config, seed=seed), tmp_path)
        return end.result["teacher_accuracy"]

    first = told(0)
    assert told(1) == first and whole.count(None) == 1
    [file] = (tmp_path / "teachers").glob("*/accuracy_test.json")
    for edited in ("{", file.read_text().replace('"test"', '"train"'), '{"accuracy": 2}'):
        file.write_text(edited)
        assert told(2) == first
    assert whole.count(None) == 4

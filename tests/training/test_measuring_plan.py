"""When a run is measured: by what is counted, where λ moves, and often enough for a curve."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.schedules import base_weight_factor
from pclora_lab.training import teacher
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow
from pclora_lab.training.loop import train
from pclora_lab.training.measuring import metrics
from pclora_lab.training.measuring_plan import MeasuringPlan, plan_measuring, teacher_examples


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


def test_the_history_is_measured_as_planned_and_says_on_how_many(tmp_path, monkeypatch):
    read = []
    accuracy = metrics.accuracy
    monkeypatch.setattr(
        metrics, "accuracy", lambda *a, **k: read.append(k["limit"]) or accuracy(*a, **k)
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
    accuracy = teacher.accuracy

    def counted(model, batches, *args, limit, **how):
        whole.append(limit)
        return accuracy(model, batches, *args, limit=limit, **how)

    monkeypatch.setattr(teacher, "accuracy", counted)
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

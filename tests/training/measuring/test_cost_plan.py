"""What the parts of a run cost: which there are, in order, and how they depend on the config."""

import pytest

from pclora_lab import PCLoRAConfig, RunConfig
from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.training.measuring.cost_plan import first_step_without_base, planned_phases
from pclora_lab.training.setup import prepare

CACHE = DataCache()


def parts(**settings):
    config = RunConfig(device="cpu", **{"steps": 20, **settings})
    return planned_phases(prepare(config, make_method(config.method), CACHE, None))


def names(**settings):
    return [part.name for part in parts(**settings)]


def test_the_parts_of_each_kind_of_run():
    assert names() == ["fade", "after", "test"]
    assert names(teacher="finetune", teacher_steps=5) == ["teacher", "fade", "after", "test"]
    assert names(method=METHODS["lora"].Config()) == ["fade", "test"]
    assert names(method=METHODS["svd"].Config()) == ["test"]


def test_the_steps_are_those_of_the_run():
    whole = {part.name: part for part in parts(teacher="finetune", teacher_steps=7)}
    assert (whole["teacher"].steps, whole["fade"].steps, whole["after"].steps) == (7, 12, 8)
    assert (
        whole["fade"].passes / 12 > whole["after"].passes / 8
    )  # a step without the base is faster


@pytest.mark.parametrize("end, first", [(0.6, 12), (1.0, 20), (0.05, 1)])
def test_the_base_goes_where_lambda_is_zero(end, first):
    assert first_step_without_base(RunConfig(steps=20, method=PCLoRAConfig(fade_end=end))) == first


def test_more_steps_and_larger_batches_cost_more():
    one, two, three = (
        sum(part.passes for part in parts(**more)[:-1])
        for more in ({}, {"steps": 40}, {"batch_size": 128})
    )
    assert two == pytest.approx(2 * one) and three == pytest.approx(2 * one)

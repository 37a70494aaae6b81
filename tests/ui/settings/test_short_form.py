"""The lab's form asks for what a beginner decides; scripts and the command line take the rest."""

from dataclasses import fields

import pytest

from pclora_lab.fields import options_of
from pclora_lab.methods.registry import method_class
from pclora_lab.training.config import RunConfig

ASKED = {
    "run": "task model data img_size max_tokens method steps lr batch_size seed teacher "
    "teacher_steps device",
    "pclora": "rank budget rank_allocation schedule may_rise fade_end alpha init taps "
    "reset_moments",
    "pela": "ratio rank budget rank_allocation repair distil_weight perturbation_weight",
    "snella": "rank budget sparsity kernel sparsifier start_sparsity allocations floor",
    "lora": "rank budget alpha",
    "svd_kd": "rank budget rank_allocation init alpha taps",
    "svd": "rank budget rank_allocation",
    "activation_svd": "rank budget rank_allocation",
    "full": "",
    "small": "budget width",
}


@pytest.mark.parametrize("name", ASKED)
def test_the_form_asks_for_these(name):
    config = RunConfig() if name == "run" else method_class(name).default_config()
    described = options_of(config)
    assert sorted(f.name for f in fields(config) if f.name in described) == sorted(described)
    shown = {option for option, how in described.items() if not how.hidden}
    assert shown == set(ASKED[name].split())


@pytest.mark.parametrize("name", ASKED)
def test_one_press_of_an_arrow_key_is_a_small_step_forward(name):
    config = RunConfig() if name == "run" else method_class(name).default_config()
    for option, described in options_of(config).items():
        if described.kind == "number":
            assert 0 < described.step <= (described.high - described.low) / 5, option

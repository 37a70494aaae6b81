"""What a form shows of every method, and where the range of each of its options ends."""

import pytest

from pclora_lab.fields import options_of
from pclora_lab.methods.registry import METHODS

# Shown in the lab's form; the others are for scripts and the command line.
SHOWN = {
    "full": "",
    "lora": "rank budget alpha",
    "pclora": "rank budget rank_allocation schedule may_rise fade_end init alpha taps "
    "reset_moments",
    "pela": "ratio rank budget rank_allocation repair distil_weight perturbation_weight",
    "small": "budget width",
    "snella": "rank budget sparsity kernel sparsifier start_sparsity allocations floor",
    "svd": "rank budget rank_allocation",
    "activation_svd": "rank budget rank_allocation",
    "svd_kd": "rank budget rank_allocation init alpha taps",
}
# What changes how large the result is, or how much of it trains.
SIZES = {
    "full": "",
    "lora": "rank budget",
    "pela": "ratio rank budget rank_allocation",
    "small": "budget width",
    "snella": "rank budget sparsity",
}
BUDGET = ("budget", (1e-6, 1), (0, 1.001, "half"))
ALPHA = ("alpha", (0, 1), (-0.1, 1.1))
LOGIT = ("logit_weight", (0, 1e6), (-0.1,))
TEMPERATURE = ("temperature", (1e-3, 100), (0, 9e-4))
RANGES = {
    "pela": [
        ("ratio", (1.001, 50), (1, 0.5, 0, -2, float("nan"), float("inf"), "2")),
        ("rank", (1, 2**16, None), (0, 2**16 + 1, 2.5)),
        BUDGET,
        ("repair", (0, 1), (-0.1, 1.1)),
        ("distil_weight", (0, 1e6), (-0.1,)),
        ("perturbation_weight", (0, 1e6), (-0.1,)),
        ("epsilon", (0, 1e3), (-1e-3,)),
    ],
    "svd": [BUDGET],
    "svd_kd": [BUDGET, ALPHA, LOGIT, TEMPERATURE],
    "pclora": [BUDGET, ALPHA, LOGIT, TEMPERATURE],
    "snella": [BUDGET],
    "lora": [BUDGET],
}
CASES = [(method, *row) for method, rows in RANGES.items() for row in rows]


@pytest.mark.parametrize("method", METHODS)
def test_the_form_shows_what_a_person_chooses(method):
    shown = [name for name, how in options_of(METHODS[method].Config).items() if not how.hidden]
    assert sorted(shown) == sorted(SHOWN[method].split())


@pytest.mark.parametrize("method", SIZES)
def test_it_is_said_which_options_change_the_size(method):
    sizes = {name for name, how in options_of(METHODS[method].Config).items() if how.sizes}
    assert sizes == set(SIZES[method].split())


@pytest.mark.parametrize(
    ("method", "option", "inside", "outside"), CASES, ids=[f"{m}-{o}" for m, o, *_ in CASES]
)
def test_an_option_has_a_range_and_is_named_outside_it(method, option, inside, outside):
    config = METHODS[method].Config
    for value in inside:
        assert getattr(config(**{option: value}), option) == value
    label = options_of(config)[option].label
    for value in outside:
        with pytest.raises(ValueError) as error:
            config(**{option: value})
        assert option in str(error.value) or label in str(error.value)


# What each is, in the order of the attributes below; see the docstring of Method.
IS = {
    "full": "trained, in the comparison, as large as before",
    "lora": "trained, in the comparison, as large as before",
    "snella": "trained, in the comparison, as large as before",
    "pclora": "trained, in the comparison, fading, can be replayed",
    "pela": "trained, in the comparison",
    "svd": "in the comparison",
    "activation_svd": "",
    "svd_kd": "trained, can be replayed",
    "small": "trained",
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    method = METHODS[name]
    said = {
        "trained": method.trains,
        "in the comparison": method.in_default_comparison,
        "as large as before": not method.compresses,
        "fading": method.fades,
        "can be replayed": method.supports_replay,
    }
    assert ", ".join(what for what, is_so in said.items() if is_so) == ", ".join(
        sorted(filter(None, IS[name].split(", ")), key=list(said).index)
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_comparison_tries_rates_around_the_default_in_rising_order(name):
    grid, default = METHODS[name].lr_grid, METHODS[name].Config.default_lr
    assert list(grid) == sorted(set(grid)) and grid[-1] <= 10 * grid[0]
    assert grid[0] / 4 <= default <= 4 * grid[-1]


# By method and option: what must be chosen for it to change anything, and what leaves it idle.
MATTERS = {
    ("pclora", "fade_end"): ({"schedule": "linear"}, {"schedule": [(0, 1), (1, 0)]}),
    ("pclora", "taps"): ({"alpha": 0.99}, {"alpha": 1}),
    ("svd_kd", "taps"): ({"alpha": 0.99}, {"alpha": 1}),
    ("pela", "distil_weight"): ({"repair": 0.01}, {"repair": 0}),
    ("pela", "perturbation_weight"): ({"repair": 0.01}, {"repair": 0}),
    ("snella", "start_sparsity"): ({"allocations": 2}, {"allocations": 1}),
}


def test_what_another_option_makes_idle_is_known_of_every_method():
    told = {
        (method, name)
        for method in METHODS
        for name, how in options_of(METHODS[method].Config).items()
        if how.matters is not None
    }
    assert told == set(MATTERS)


@pytest.mark.parametrize(("method", "option"), MATTERS)
def test_an_option_matters_as_long_as_another_does_not_make_it_idle(method, option):
    config, (used, idle) = METHODS[method].Config, MATTERS[method, option]
    matters = options_of(config)[option].matters
    assert matters(config()) and matters(config(**used)) and not matters(config(**idle))

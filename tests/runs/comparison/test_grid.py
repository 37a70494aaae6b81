"""A grid has a run for every method, budget and seed, each under a name of its own."""

import dataclasses

import pytest

from pclora_lab.methods.registry import METHODS, compared_methods
from pclora_lab.runs.comparison.grid import Grid
from pclora_lab.training.config import RunConfig

BASE = RunConfig(steps=7, seed=99, device="cpu", layer_metrics=True, snapshots=5, batch_size=3)


def grid(methods=("pclora", "svd", "full"), budgets=(0.3, 0.1, 0.2), seeds=(4, 5), options=None):
    return Grid(BASE, methods, budgets, seeds, options or {})


def test_a_cell_is_named_by_what_it_differs_in_and_has_its_settings():
    cell = grid().cell("pclora", 0.1, 5, 1e-3)
    assert (cell.name, cell.method, cell.budget, cell.seed) == ("pclora-b0.1-s5", "pclora", 0.1, 5)
    config = cell.config
    assert (config.method.name, config.method.budget, config.seed) == ("pclora", 0.1, 5)
    assert (config.lr, config.report_on, config.steps, config.batch_size) == (1e-3, "test", 7, 3)
    # Nobody looks into the layers of so many runs, and their time is compared.
    assert config.layer_metrics is False and config.snapshots == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.seed = 0


def test_a_trial_is_of_the_first_seed_and_the_middle_budget_on_validation_data():
    trial = grid().trial("pclora", 2e-3)
    assert trial.name == "pclora-b0.2-s4-lr0.002-validation"
    assert (trial.budget, trial.seed, trial.config.report_on) == (0.2, 4, "validation")
    assert grid(budgets=(0.4, 0.1)).trial("pclora", 1e-3).budget == 0.4  # the larger of two
    assert grid(budgets=(0.4, 0.1, 0.2, 0.3)).trial("pclora", 1e-3).budget == 0.3


def test_cells_are_every_budget_with_every_seed_in_the_order_that_was_asked_for():
    cells = grid().cells("pclora", 1e-3)
    assert [(c.budget, c.seed) for c in cells] == [
        (0.3, 4), (0.3, 5), (0.1, 4), (0.1, 5), (0.2, 4), (0.2, 5),
    ]  # fmt: skip


def test_what_draws_nothing_is_run_for_the_first_seed_and_what_has_no_size_for_no_budget():
    assert [cell.name for cell in grid().cells("svd", 1e-3)] == [
        "svd-b0.3-s4", "svd-b0.1-s4", "svd-b0.2-s4",
    ]  # fmt: skip
    full = grid().cells("full", 1e-3)
    assert [(cell.name, cell.budget) for cell in full] == [("full-s4", None), ("full-s5", None)]


def test_a_cell_has_the_steps_of_its_config_and_one_if_nothing_is_trained():
    assert grid().cell("pclora", 0.1, 4, 1e-3).steps == 7
    assert grid().cell("svd", 0.1, 4, 1e-3).steps == 1


def test_methods_have_the_options_that_were_given_or_their_usual_ones():
    given = METHODS["pclora"].Config(rank=4, alpha=0.25)
    made = grid(options={"pclora": given})
    assert made.configs["pclora"] is given
    assert made.configs["svd"] == METHODS["svd"].default_config()
    assert made.cell("pclora", 0.1, 4, 1e-3).config.method.alpha == 0.25
    assert grid(methods=None).methods == compared_methods()
    assert (made.methods, made.budgets, made.seeds) == (
        ("pclora", "svd", "full"), (0.3, 0.1, 0.2), (4, 5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"methods": []}, r"methods is \[\]: name at least one, and each once"),
        ({"methods": ["svd", "svd"]}, r"methods is \['svd', 'svd'\]: name at least one"),
        ({"budgets": ()}, r"budgets is \[\]"),
        ({"budgets": (0.1, 0.1)}, r"budgets is \[0.1, 0.1\]"),
        ({"seeds": ()}, r"seeds is \[\]"),
        ({"seeds": (1, 1)}, r"seeds is \[1, 1\]"),
        (
            {"options": {"pela": METHODS["pela"].Config()}},
            "options for 'pela', which is not compared: the methods are pclora, svd, full",
        ),
        ({"options": {"svd": METHODS["pela"].Config()}}, "'svd' are of 'pela': pass its own"),
    ],
)
def test_a_grid_that_compares_nothing_or_one_thing_twice_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        grid(**given)

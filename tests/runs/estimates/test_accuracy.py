"""An estimate rests on finished runs of the same kind, and says on which."""

from dataclasses import FrozenInstanceError

import pytest

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.runs.estimates import accuracy as module
from pclora_lab.runs.estimates.accuracy import accuracy_estimate, expected_accuracy, rank_points
from pclora_lab.runs.estimates.finished import FinishedRun
from pclora_lab.training.config import RunConfig

CONFIG = RunConfig(method=PCLoRAConfig(rank=8), steps=10)


def run(accuracy, params=None, seed=0, is_shipped=False, **method):
    config = RunConfig(method=PCLoRAConfig(**{"rank": 4, **method}), steps=10, seed=seed)
    params = params if params is not None else 1000 * config.method.rank
    numbers = {"accuracy": accuracy, "params_after": params}
    return FinishedRun(config, numbers, is_shipped=is_shipped)


@pytest.fixture
def there(monkeypatch):
    """Sets the runs of the folder, oldest first, and those that are shipped."""

    def put(*runs, shipped=()):
        monkeypatch.setattr(module, "finished_runs", lambda folder: iter(runs))
        monkeypatch.setattr(module, "shipped_runs", lambda: tuple(shipped))

    return put


# Points


def test_points_stand_by_size_with_mean_spread_and_seeds(there):
    there(run(0.9, rank=16), run(0.5), run(0.7, seed=1), run(0.8, seed=2))
    small, large = rank_points("runs", CONFIG)
    assert (small.rank, small.params, small.seeds, small.shipped) == (4, 4000, 3, 0)
    assert small.mean == pytest.approx(2 / 3) and small.std == pytest.approx(0.152753, abs=1e-6)
    assert (large.rank, large.params, large.seeds) == (16, 16000, 1)
    assert large.mean == 0.9 and large.std is None
    with pytest.raises(FrozenInstanceError):
        small.mean = 1.0


def test_shipped_runs_count_where_they_are_asked_for_and_nobody_made_the_same(there):
    there(run(0.5), shipped=[run(0.9, is_shipped=True), run(0.7, seed=1, is_shipped=True)])
    (alone,) = rank_points("runs", CONFIG)
    assert (alone.mean, alone.seeds, alone.shipped) == (0.5, 1, 0)
    (both,) = rank_points("runs", CONFIG, with_shipped=True)
    assert (both.mean, both.seeds, both.shipped) == (0.6, 2, 1)


@pytest.mark.parametrize(
    ("method", "rank"),
    [
        ({"rank": 4}, 4),
        ({"rank": "25%"}, None),
        ({"rank": {"fc": 4}}, None),
        ({"rank": 4, "budget": 0.5}, None),
        ({"rank": 4, "rank_allocation": "energy"}, None),
    ],
)
def test_a_point_has_a_rank_only_where_all_layers_have_it(there, method, rank):
    there(run(0.5, params=7, **method))
    config = RunConfig(method=PCLoRAConfig(**method), steps=10)
    (point,) = rank_points("runs", config)
    assert point.rank == rank and point.params == 7


def test_runs_of_one_rank_that_left_two_sizes_are_two_points(there):
    there(run(0.5, params=7), run(0.6, params=8, seed=1))
    assert [(p.rank, p.params, p.seeds) for p in rank_points("runs", CONFIG)] == [
        (4, 7, 1), (4, 8, 1),
    ]  # fmt: skip


# Estimates


@pytest.fixture
def four_and_16(there):
    there(run(0.6), run(0.8, seed=1), run(0.9, rank=16), run(0.92, seed=1, rank=16))


def test_an_estimate_counts_the_runs_that_it_was_read_from(four_and_16):
    at, between = (accuracy_estimate("runs", CONFIG, rank) for rank in (4, 8))
    assert (at.rank, at.seeds, at.note) == (4, 2, "from rank 4 (2 seeds)")
    assert at.mean == pytest.approx(0.7) and at.std == pytest.approx(0.2 / 2**0.5)
    assert (between.rank, between.seeds) == (8, 4)
    assert between.mean == pytest.approx((0.7 + 0.91) / 2)
    assert between.std == pytest.approx((0.2 + 0.02) / 2 / 2**0.5)
    outside = accuracy_estimate("runs", CONFIG, 17)
    assert (outside.rank, outside.mean, outside.std, outside.seeds) == (17, None, None, 0)
    assert outside.points == at.points == between.points and len(at.points) == 2


def test_the_ends_of_what_was_run_are_inside(four_and_16):
    assert accuracy_estimate("runs", CONFIG, 16).mean == pytest.approx(0.91)
    below = accuracy_estimate("runs", CONFIG, 3)
    assert below.note == "rank 3 is outside of what was run (4 to 16)"


def test_where_one_rank_was_run_it_is_told_once(there):
    there(run(0.6))
    assert accuracy_estimate("runs", CONFIG, 5).note == (
        "rank 5 is outside of what was run (rank 4)"
    )
    found = accuracy_estimate("runs", CONFIG, 4)
    assert (found.mean, found.std, found.seeds) == (0.6, None, 1)
    assert found.note == "from rank 4 (1 seed); one seed at rank 4: spread unknown"


def test_a_mean_between_single_seeds_says_of_both_that_their_spread_is_unknown(there):
    there(run(0.6), run(0.9, rank=16))
    found = accuracy_estimate("runs", CONFIG, 8)
    assert found.std is None and found.mean == pytest.approx(0.75)
    assert found.note == (
        "between rank 4 (1 seed) and rank 16 (1 seed); one seed at rank 4 and at rank 16: "
        "spread unknown"
    )


def test_of_two_points_at_one_place_the_one_with_more_seeds_counts(there):
    budget = [run(0.9, params=4000, seed=s, budget=0.5) for s in range(3)]
    for runs in ([run(0.6), *budget], [*budget, run(0.6)]):
        there(*runs, run(0.5, rank=2), run(0.7, rank=8))
        found = accuracy_estimate("runs", CONFIG, None, params=4000)
        assert found.seeds == 3 and found.mean == pytest.approx(0.9)
        assert found.note == "from 4,000 parameters (3 seeds)"
        for params, side in ((3999, 0.9), (4001, 0.9)):  # the neighbor on either side
            near = accuracy_estimate("runs", CONFIG, None, params=params)
            assert near.mean == pytest.approx(side, abs=1e-3)


def test_ranks_that_are_not_one_number_need_parameters(four_and_16):
    found = accuracy_estimate("runs", CONFIG, "25%")
    assert (found.rank, found.mean, found.std, found.seeds) == (None, None, None, 0)
    assert found.note == "ranks by layer are compared by their parameters: pass params="
    assert len(found.points) == 2
    assert accuracy_estimate("runs", CONFIG, "25%", params=4000).mean == pytest.approx(0.7)


def test_where_no_run_had_one_rank_parameters_take_its_place(there):
    there(run(0.6, params=100, budget=0.5), run(0.8, params=400, budget=0.7))
    found = accuracy_estimate("runs", CONFIG, 8, params=200)
    assert found.mean == pytest.approx(0.7) and found.rank is None
    assert found.note.startswith("between 100 parameters (1 seed) and 400 parameters (1 seed)")


def test_it_is_said_where_all_runs_were_shipped_and_only_there(there):
    shipped = [run(0.5 + s / 10, seed=s, is_shipped=True) for s in range(2)]
    more = [run(0.9 + s / 100, seed=s, rank=16, is_shipped=True) for s in range(2)]
    there(shipped=[*shipped, *more])
    words = "between rank 4 (2 seeds) and rank 16 (2 seeds)"
    found = accuracy_estimate("runs", CONFIG, 8, with_shipped=True)
    assert found.note == f"{words}, shipped with the package"
    there(run(0.5), shipped=[*shipped, *more])
    assert accuracy_estimate("runs", CONFIG, 8, with_shipped=True).note == words
    assert accuracy_estimate("runs", CONFIG, 4, with_shipped=True).note == "from rank 4 (2 seeds)"


def test_nothing_is_known_of_a_config_that_no_run_is_like(there):
    there(run(0.5), shipped=[run(0.6, is_shipped=True)])
    other = RunConfig(method=PCLoRAConfig(rank=4), steps=11)
    assert rank_points("runs", other) == () and accuracy_estimate("runs", other, 4) is None
    assert expected_accuracy("runs", other, 4000) is None
    svd = RunConfig(method=SVDConfig(rank=4), steps=10)
    assert rank_points("runs", svd) == ()


def test_what_to_expect_of_a_config_is_asked_by_its_rank_or_by_its_parameters(there):
    there(run(0.5, params=5000), shipped=[run(0.9, rank=16, is_shipped=True)])
    by_rank = expected_accuracy("runs", CONFIG, 99)  # rank 8; no run left so few parameters
    assert by_rank.mean == pytest.approx(0.7) and by_rank.rank == 8
    energy = RunConfig(method=PCLoRAConfig(rank=8, budget=0.5), steps=10)
    found = expected_accuracy("runs", energy, 5000)
    assert found.rank is None and found.mean == 0.5

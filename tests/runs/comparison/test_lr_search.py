"""A learning rate is chosen on validation data, outwards from a method's own, and kept."""

import pytest

from pclora_lab.json_files import read_json, write_json
from pclora_lab.methods.base import LARGEST_LR
from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.comparison import lr_search
from pclora_lab.runs.comparison.lr_search import LRSearch

OWN = METHODS["pclora"].lr_grid  # 0.002 and 0.005


def trial(lr, accuracy, method="pclora", error=None):
    return {"method": method, "lr": lr, "validation_accuracy": accuracy, "error": error}


def searched(folder, given=None, **accuracies):
    search = LRSearch(folder, given)
    for lr, accuracy in accuracies.items():
        error = "diverged" if accuracy is None else None
        search.note(trial(float(lr), accuracy, error=error))
    return search


# What is tried


def test_a_method_that_trains_begins_with_its_own_rates_or_those_given(tmp_path):
    assert LRSearch(tmp_path, None).first("pclora") == OWN
    assert LRSearch(tmp_path, (0.1, 0.2)).first("pclora") == (0.1, 0.2)


def test_where_there_is_no_choice_nothing_is_tried(tmp_path):
    assert LRSearch(tmp_path, (0.1,)).first("pclora") == ()
    assert LRSearch(tmp_path, None).first("svd") == ()  # it only cuts
    assert LRSearch(tmp_path, (0.1,)).best("pclora") == 0.1


@pytest.mark.parametrize(
    ("accuracies", "further"),
    [
        ({}, None),
        ({"0.002": 0.5, "0.005": 0.6}, 0.01),
        ({"0.002": 0.6, "0.005": 0.5}, 0.001),
        ({"0.001": 0.5, "0.002": 0.6, "0.005": 0.5}, None),  # inside
        ({"0.002": 0.6, "0.005": 0.6}, 0.01),  # the larger of two that are as good
        ({"0.002": 0.5, "0.005": 0.6, "0.01": None}, None),  # it failed
        ({"0.002": None, "0.005": None}, None),
        # Three steps beyond a method's own on either side, and no more.
        ({"0.01": 0.5, "0.02": 0.6}, 0.04),
        ({"0.02": 0.5, "0.04": 0.6}, None),
        ({"0.0005": 0.6, "0.001": 0.5}, 0.00025),
        ({"0.00025": 0.6, "0.0005": 0.5}, None),
    ],
)
def test_it_goes_on_outwards_while_the_best_is_at_an_edge(tmp_path, accuracies, further):
    assert searched(tmp_path, **accuracies).further("pclora") == further


def test_of_rates_that_were_given_none_is_left(tmp_path):
    assert searched(tmp_path, given=OWN, **{"0.002": 0.5, "0.005": 0.6}).further("pclora") is None


def test_it_never_leaves_what_an_optimizer_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(METHODS["pclora"], "lr_grid", (LARGEST_LR / 2, LARGEST_LR))
    rates = {f"{LARGEST_LR / 2}": 0.5, f"{LARGEST_LR}": 0.6}
    assert searched(tmp_path, **rates).further("pclora") is None
    monkeypatch.setattr(METHODS["pclora"], "lr_grid", (1e-9, 2e-9))
    assert searched(tmp_path, **{"1e-9": 0.6, "2e-9": 0.5}).further("pclora") is None


def test_trials_of_other_methods_say_nothing(tmp_path):
    search = searched(tmp_path, **{"0.002": 0.5, "0.005": 0.6})
    search.note(trial(0.01, 0.9, method="lora"))
    assert search.further("pclora") == 0.01 and search.best("pclora") == 0.005
    search.begin("pclora")
    assert [t["method"] for t in search.tried] == ["lora"]
    assert search.best("pclora") == OWN[0]


def test_trials_stand_in_the_order_of_the_methods(tmp_path):
    search = LRSearch(tmp_path, None)
    for lr, method in ((1, "full"), (2, "other"), (3, "pclora"), (4, "full"), (5, "pclora")):
        search.note(trial(lr, 0.5, method=method))
    search.sort(("pclora", "full"))
    assert [t["lr"] for t in search.tried] == [3, 5, 1, 4, 2]


# What is chosen


def test_the_choice_is_the_best_that_did_not_fail_and_it_stays(tmp_path):
    search = searched(tmp_path, **{"0.002": 0.5, "0.005": 0.6, "0.01": None})
    search.choose("pclora")
    assert search.chosen == {"pclora": 0.005}
    search.note(trial(0.02, 0.9))
    assert search.best("pclora") == 0.005
    kept = read_json(tmp_path / "pclora.json")
    assert kept["lr"] == 0.005 and [t["lr"] for t in kept["tried"]] == [0.002, 0.005, 0.01]


def test_a_choice_that_rests_on_no_trial_is_not_kept(tmp_path):
    for search in (LRSearch(tmp_path, None), searched(tmp_path, **{"0.002": None})):
        search.choose("pclora")
        assert search.chosen == {"pclora": OWN[0]} and not list(tmp_path.iterdir())


def test_a_choice_is_recalled_with_its_trials_by_its_own_method(tmp_path):
    searched(tmp_path / "tuning", **{"0.002": 0.5, "0.005": 0.6}).choose("pclora")
    again = LRSearch(tmp_path / "tuning", None)
    again.recall("lora")
    assert again.chosen == {} and again.tried == []
    again.recall("pclora")
    assert again.chosen == {"pclora": 0.005} and [t["lr"] for t in again.tried] == [0.002, 0.005]


def test_a_choice_that_can_not_be_believed_or_kept_is_said(tmp_path, monkeypatch):
    write_json(tmp_path / "pclora.json", {"lr": 0.7, "tried": [trial(0.002, 0.5)]})
    search = LRSearch(tmp_path, None)
    with pytest.warns(UserWarning, match="lr is 0.7, which was not tried.*It is made again"):
        search.recall("pclora")
    assert search.chosen == {} and search.tried == []

    def full(*args):
        raise OSError(28, "full")

    monkeypatch.setattr(lr_search, "write_json", full)
    search.note(trial(0.002, 0.5))
    with pytest.warns(UserWarning, match="the learning rate of pclora can't be kept .no space"):
        search.choose("pclora")
    assert search.chosen == {"pclora": 0.002}


def test_the_smallest_rate_there_is_is_still_tried_and_nothing_below(tmp_path, monkeypatch):
    accuracies = {"0.002": 0.6, "0.005": 0.5}
    for smallest, further in ((0.001, 0.001), (0.0011, None)):
        monkeypatch.setattr(lr_search, "SMALLEST_LR", smallest)
        assert searched(tmp_path, **accuracies).further("pclora") == further

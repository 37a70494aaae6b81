"""A latency is measured once for each thing that it depends on, and told with its spread."""

import threading
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.runs.estimates import latency
from pclora_lab.runs.estimates.latency import LatencyEstimate, latency_estimate

FOUND = LatencyEstimate(3.0, 1.5, 0.25, 0.125, 2.0, 30, 4, "cpu", 2, 1.5)
MODEL = describe_model("vit_digits", num_classes=3)
RANKS = resolve_ranks(count_model(MODEL).layers, 3)


@pytest.fixture
def measured(monkeypatch):
    """What was measured, by name of the argument; each answer is another object."""
    asked = []

    def measure(model, ranks, batch_size, turns, seconds, device):
        asked.append({"ranks": dict(ranks), "batch_size": batch_size, "turns": turns,
                      "seconds": seconds, "device": device})  # fmt: skip
        return replace(FOUND)

    monkeypatch.setattr(latency, "_measure", measure)
    monkeypatch.setattr(latency, "_measured", {})
    return asked


def test_it_is_of_one_example_in_at_most_thirty_turns_and_four_seconds_on_the_cpu(measured):
    latency_estimate(MODEL, RANKS)
    assert measured == [
        {"ranks": RANKS, "batch_size": 1, "turns": 30, "seconds": 4.0, "device": "cpu"}
    ]


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 2}, {"turns": 5}, {"seconds": 1.0}, {"device": "cuda"},
     {"ranks": {**RANKS, "blocks.0.attn.qkv": 2}}],
    ids=str,
)  # fmt: skip
def test_what_it_depends_on_is_measured_anew_and_all_else_is_known(measured, change):
    first = latency_estimate(MODEL, RANKS)
    backwards = dict(reversed(RANKS.items()))
    assert latency_estimate(MODEL, backwards) is first and len(measured) == 1
    other = latency_estimate(MODEL, **{"ranks": RANKS, **change})
    assert other is not first and len(measured) == 2
    assert latency_estimate(MODEL, RANKS) is first and len(measured) == 2


def test_another_model_or_number_of_threads_is_measured_anew(measured, monkeypatch):
    latency_estimate(MODEL, RANKS)
    latency_estimate(describe_model("vit_digits", num_classes=4), RANKS)
    assert len(measured) == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    latency_estimate(MODEL, RANKS)
    assert len(measured) == 3


def test_the_last_64_answers_are_kept(measured):
    for batch_size in range(1, 66):
        latency_estimate(MODEL, RANKS, batch_size=batch_size)
    assert len(measured) == 65
    latency_estimate(MODEL, RANKS, batch_size=2)
    assert len(measured) == 65
    latency_estimate(MODEL, RANKS, batch_size=1)  # the oldest went
    assert len(measured) == 66 and len(latency._measured) == 64


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ranks": {}}, "no ranks are given: a model that is not compressed is not faster"),
        ({"batch_size": 0}, "batch_size is 0: it must be a whole number of at least 1"),
        ({"batch_size": True}, "batch_size is True: it must be"),
        ({"turns": 0}, "turns is 0: it must be a whole number of at least 1"),
        ({"turns": 2.0}, "turns is 2.0: it must be"),
    ],
)
def test_what_can_not_be_measured_is_refused_with_the_reason(measured, given, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        latency_estimate(MODEL, **{"ranks": RANKS, **given})
    assert measured == []
    latency_estimate(MODEL, RANKS, batch_size=1, turns=1)


def test_two_measurements_do_not_go_on_at_once(monkeypatch):
    """They would measure each other."""
    inside, seen = [], []

    def measure(*args):
        inside.append(1)
        seen.append(len(inside))
        threading.Event().wait(0.05)
        inside.pop()
        return FOUND

    monkeypatch.setattr(latency, "_measure", measure)
    monkeypatch.setattr(latency, "_measured", {})
    ask = lambda size: latency_estimate(MODEL, RANKS, batch_size=size)  # noqa: E731
    threads = [threading.Thread(target=ask, args=(size,)) for size in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1, 1, 1]


def test_an_answer_is_of_the_medians_and_the_quartiles_of_the_turns(monkeypatch):
    times = [[40.0, 10.0, 20.0, 30.0, 50.0], [4.0, 5.0, 5.0, 3.0, 5.0]]
    given = []

    def turns(models, inputs, count, seconds):
        given.append((models, inputs, count, seconds))
        return times, 1.5

    monkeypatch.setattr(latency, "_take_turns", turns)
    found = latency._measure(MODEL, RANKS, 6, 30, 4.0, "cpu")
    assert (found.dense_ms, found.small_ms) == (30.0, 5.0)
    assert (found.dense_spread_ms, found.small_spread_ms) == (20.0, 1.0)
    assert found.speed_up == 10.0  # the median of 10, 2, 4, 10 and 10, not of the medians
    assert (found.turns, found.batch_size, found.seconds) == (5, 6, 1.5)
    assert (found.device, found.threads) == ("cpu", torch.get_num_threads())
    (((dense, small), inputs, count, seconds),) = given
    assert (len(inputs), count, seconds) == (6, 30, 4.0)
    assert not dense.training and not small.training
    replaced = {n: m for n, m in small.named_modules() if isinstance(m, LowRankLinear)}
    assert {name: layer.rank for name, layer in replaced.items()} == RANKS
    assert all(layer.B.std() > 0.01 and layer.B.std() < 0.03 for layer in replaced.values())
    # All else is the same, once.
    assert small.get_submodule("head").weight is dense.get_submodule("head").weight


def test_a_spread_is_from_the_first_to_the_third_quartile():
    assert latency._spread([7.0]) == 0.0
    assert latency._spread([1.0, 3.0]) == 1.0
    assert latency._spread([5.0, 1.0, 2.0, 3.0, 4.0]) == 2.0


def test_an_answer_is_told_in_one_line_and_as_plain_numbers():
    assert str(FOUND) == (
        "3.00 → 1.50 ms, 2.00 times as fast (median of 30 turns, spread 0.25 and 0.12 ms; "
        "batch size 4, cpu, threads: 2)"
    )
    assert str(replace(FOUND, device="cuda")).endswith("batch size 4, cuda)")
    assert FOUND.to_dict() == vars(FOUND)
    with pytest.raises(FrozenInstanceError):
        FOUND.turns = 1


def test_every_pass_is_timed_without_gradients_after_one_of_each_to_warm_up(monkeypatch):
    passes, clock = [], [0.0]

    def one(model, inputs):
        clock[0] += 1.0
        passes.append((model, inputs, torch.is_inference_mode_enabled()))
        return float(len(passes))

    monkeypatch.setattr(latency, "_pass_ms", one)
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])
    times, took = latency._take_turns(("dense", "small"), "x", 2, 100.0)
    assert [model for model, *_ in passes] == ["dense", "small", "small", "dense", "dense", "small"]
    assert {tuple(rest) for _, *rest in passes} == {("x", True)}
    assert times == [[4.0, 5.0], [3.0, 6.0]] and took == 4.0  # without the warm-up


@pytest.mark.parametrize(("seconds", "turns"), [(0.0, 3), (6.0, 4), (7.9, 4), (8.0, 5)])
def test_no_turn_begins_after_the_time_but_three_are_made(monkeypatch, seconds, turns):
    clock = [0.0]

    def one(model, inputs):
        clock[0] += 1.0
        return 1.0

    monkeypatch.setattr(latency, "_pass_ms", one)
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])
    times, took = latency._take_turns((0, 1), None, 9, seconds)
    assert [len(column) for column in times] == [turns, turns] and took == 2 * turns

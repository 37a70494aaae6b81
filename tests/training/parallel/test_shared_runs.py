"""A run in two processes ends where one process ends, and both end together."""

import json

import pytest
import shared_runs
import torch
from pairs import two_of
from safetensors.torch import load_file

from pclora_lab import load_run, resume
from pclora_lab.runs.checkpoints import load_checkpoint


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes left, and the weights of one."""
    folder = tmp_path_factory.mktemp("shared")
    with two_of(shared_runs.__file__, folder):
        alone = shared_runs.straight(folder / "alone")
    return folder, alone


@pytest.mark.parametrize("name", shared_runs.CONFIGS)
def test_stopped_and_resumed_they_end_where_one_process_ends(both, name):
    folder, alone = both
    first, second = (load_file(folder / f"{rank}.safetensors") for rank in (0, 1))
    own = {key: value for key, value in alone.items() if key.startswith(f"{name}/")}
    assert own and all(torch.equal(first[key], second[key]) for key in own)
    assert {value.dtype for value in own.values() if value.is_floating_point()} == {torch.float64}
    torch.testing.assert_close({key: first[key] for key in own}, own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", shared_runs.CONFIGS)
def test_the_history_tells_of_whole_batches_and_of_each_step_once(both, name):
    folder, _ = both
    shared, alone = (load_run(folder / root / name) for root in ("runs", "alone"))
    assert shared.status == "finished"
    assert [row["step"] for row in shared.rows] == [row["step"] for row in alone.rows]
    terms = ("loss", "task", "feature", "logit", "perturbation", "lam", "density", "accuracy")
    for one, other in zip(shared.rows, alone.rows, strict=True):
        known = {term: other[term] for term in terms if other.get(term) is not None}
        assert {term: one.get(term) for term in known} == pytest.approx(known, rel=1e-5)


def test_the_first_process_alone_writes(both):
    folder, _ = both
    made = {path.name for path in (folder / "runs").iterdir()}
    assert made == {*shared_runs.CONFIGS, "teachers", "stops", "fails"}
    assert len(list((folder / "runs/teachers").glob("*/model.safetensors"))) == 2


def told(folder, scene):
    return [json.loads((folder / f"{rank}.json").read_text())[scene] for rank in (0, 1)]


def test_a_process_that_is_stopped_stops_the_other_after_the_same_step(both):
    folder, _ = both
    first, second = told(folder, "stops_alone")
    assert first == "StoppedElsewhere: process 1 of 2 was stopped" and not second
    run = load_run(folder / "runs/stops")
    assert run.status == "stopped" and run.rows[-1]["step"] == 3
    assert load_checkpoint(run.folder).step == 3


def test_what_two_processes_began_one_can_end_and_says_so(both):
    folder, alone = both
    with shared_runs.in_double():
        *_, end = resume(folder / "runs/stops", cache=shared_runs.CACHE)
    remark = "taken up at step 3 with processes 2, now 1: the last digits may differ"
    assert remark in end.result["notes"]
    own = {key: value for key, value in alone.items() if key.startswith("lora/")}
    torch.testing.assert_close(shared_runs.weights_of(end, "lora"), own, rtol=0, atol=1e-5)


def test_a_process_that_fails_ends_the_other_which_says_so(both):
    folder, _ = both
    first, second = told(folder, "fails_alone")
    assert first.startswith("ProcessLost: process 1 of 2 has failed (its own message says why)")
    assert second == "OSError: no such disk"
    assert "process 1 of 2 has failed" in load_run(folder / "runs/fails").error


def test_what_the_processes_can_not_share_is_refused_by_both(both):
    folder, _ = both
    for scene, words in {
        "differs": "different settings: lr is 0.001 in process 0 and 0.002 in process 1. Start all",
        "is_small": "batch_size is 1, which can't be divided among 2 processes",
    }.items():
        assert all(words in message for message in told(folder, scene))

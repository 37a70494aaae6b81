"""How long a run would take is told by earlier ones of its kind, and by nothing else."""

import dataclasses
import json
import shutil

import pytest

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.estimates.accuracy import rank_points
from pclora_lab.runs.estimates.time import expected_seconds
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import scan_runs
from pclora_lab.training.config import RunConfig

CONFIG = RunConfig(method=PCLoRAConfig(rank=4, init="svd"), steps=6, evaluations=2, eval_images=16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    *_, end = execute(CONFIG, root, name="one")
    return root, end.result["seconds"]


@pytest.fixture
def runs(trained, tmp_path):
    shutil.copytree(trained[0] / "one", tmp_path / "one")
    return tmp_path


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_run_tells_of_its_like(trained):
    runs, seconds = scan_runs(trained[0]), trained[1]
    alike = dataclasses.replace(CONFIG, seed=3, method=PCLoRAConfig(rank=9, init="svd"), lr=0.1)
    assert expected_seconds(alike, runs) == pytest.approx(seconds)


def test_a_run_that_was_really_made_tells_of_accuracies_too(trained):
    # It has kept the precision that "auto" stood for.
    assert [point.rank for point in rank_points(trained[0], CONFIG)] == [4]


def test_more_steps_take_longer_and_the_rest_stays(runs):
    rows = [{"phase": "fade", "step": s, "seconds": 2.0 + s} for s in (0, 6)]
    (runs / "one" / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    change(runs / "one" / "result.json", seconds=10.0)
    found = scan_runs(runs)
    assert expected_seconds(CONFIG, found) == pytest.approx(10)
    twice = dataclasses.replace(CONFIG, steps=12)
    assert expected_seconds(twice, found) == pytest.approx(2 * 6 + 4)


@pytest.mark.parametrize(
    "other",
    [{"batch_size": 32}, {"img_size": 16}, {"precision": "bfloat16"}, {"method": PCLoRAConfig()}],
)
def test_runs_of_another_kind_tell_nothing(trained, other):
    assert expected_seconds(dataclasses.replace(CONFIG, **other), scan_runs(trained[0])) is None


def test_what_is_no_whole_run_of_this_machine_tells_nothing(runs):
    change(runs / "one" / "status.json", boot="another")
    assert expected_seconds(CONFIG, scan_runs(runs)) is None
    shutil.rmtree(runs / "one")
    (runs / "empty").mkdir()
    assert expected_seconds(CONFIG, scan_runs(runs)) is None

"""How long a run would take is told by earlier ones of its kind, and by nothing else."""

import dataclasses
import json
import shutil

import pytest

from pclora_lab.json_files import write_json
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.estimates.accuracy import rank_points
from pclora_lab.runs.estimates.time import expected_seconds
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import Run, scan_runs
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


def made(folder, seconds=10.0, rows=((0, 2.0), (6, 8.0)), config=CONFIG):
    """A run as it was read: it took so long, and its rows came at these steps and seconds."""
    write_json(folder / "status.json", {"status": "finished"})
    return Run(
        folder,
        config.to_dict(),
        "finished",
        None,
        [{"phase": "fade", "step": s, "seconds": t} for s, t in rows],
        None if seconds is None else {"seconds": seconds},
    )


def test_the_newest_five_of_its_kind_tell_by_their_median(tmp_path):
    other = dataclasses.replace(CONFIG, batch_size=3)
    runs = [made(tmp_path, seconds) for seconds in (20.0, 10.0, 50.0, 40.0, 30.0, 8.0, 8.0, 8.0)]
    assert expected_seconds(CONFIG, runs) == 30.0
    assert expected_seconds(CONFIG, runs[:4]) == 30.0  # halfway between two
    assert expected_seconds(CONFIG, runs[:1]) == 20.0
    # Those that tell nothing are not among the five.
    mixed = [made(tmp_path, 1.0, config=other), object(), made(tmp_path, None), *runs]
    assert expected_seconds(CONFIG, mixed) == 30.0
    assert expected_seconds(CONFIG, mixed[:3]) is None


@pytest.mark.parametrize(
    ("seconds", "rows", "found"),
    [
        (10.0, ((0, 2.0), (6, 8.0)), 6 * 2 + 4),  # six of ten seconds were the steps'
        (10.0, ((0, 2.0), (3, 8.0)), 6 * 4 + 4),  # of three steps
        (10.0, ((0, 2.0), (2, 3.0), (6, 8.0)), 16),
        (10.0, ((0, 0.0), (6, 12.0)), 20),  # a clock that went wrong: no more than the whole
        (10.0, ((0, 8.0), (6, 2.0)), 10),  # and none at all
        (10.0, (), None),
        (10.0, ((0, 2.0),), None),  # no step was made
        (10.0, ((0, None), (6, 8.0)), None),
        (10.0, ((0, 2.0), (6, None)), None),
        (10.0, ((0, 2.0), (None, 8.0)), None),
        (float("nan"), ((0, 2.0), (6, 8.0)), None),
    ],
)
def test_the_time_of_a_run_is_that_of_its_steps_and_of_all_else(tmp_path, seconds, rows, found):
    twice = dataclasses.replace(CONFIG, steps=12)
    assert expected_seconds(twice, [made(tmp_path, seconds, rows)]) == found


def test_only_the_rows_of_the_methods_training_are_its_steps(tmp_path):
    run = made(tmp_path)
    teacher = [{"phase": "teacher", "step": s, "seconds": s / 9} for s in (1, 90)]
    run = dataclasses.replace(run, rows=[*teacher, *run.rows, {"phase": "test", "step": 1}])
    assert expected_seconds(dataclasses.replace(CONFIG, steps=12), [run]) == 16


@pytest.mark.parametrize(
    ("status", "is_told"), [({}, True), ({"boot": "another"}, False), (None, True)]
)
def test_a_run_tells_of_the_machine_that_it_ran_on(tmp_path, status, is_told):
    run = made(tmp_path)
    if status is None:
        (tmp_path / "status.json").unlink()
    else:
        write_json(tmp_path / "status.json", {"status": "finished", **status})
    assert (expected_seconds(CONFIG, [run]) is not None) is is_told
    (tmp_path / "status.json").write_text("{ cut")
    assert expected_seconds(CONFIG, [run]) is None


def test_a_config_of_another_version_tells_nothing(tmp_path):
    run = dataclasses.replace(made(tmp_path), config={"quantum": 1})
    assert expected_seconds(CONFIG, [run]) is None

"""What the code wrote before it moved into rooms can still be read, gone back to and taken up."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch

from pclora_lab import Comparison, RunConfig, from_pretrained, load_run, resume
from pclora_lab.nn import call_model, example_input
from pclora_lab.plots import write_report
from pclora_lab.runs import Replay

WRITTEN = Path(__file__).parents[1] / "fixtures" / "before_rooms"
OVERRIDES = ((4, 0.5), (8, None))

# Said once for each file; a test of a model holds that it is.
pytestmark = pytest.mark.filterwarnings("ignore:.* has no checksum")


@pytest.fixture
def written(tmp_path):
    """A copy of the folders, as they stood in a folder of runs."""
    return shutil.copytree(WRITTEN, tmp_path / "runs")


def test_a_finished_run_is_read_under_the_present_names():
    run = load_run(WRITTEN / "finished")
    assert run.status == "finished" and run.result["notes"] == []
    assert run.result["overrides"] == [[4, 0.5], [8, None]]
    assert [row["overrides"] for row in run.rows if "overrides" in row] == [
        [[4, 0.5]],
        [[8, None]],
    ]
    config = RunConfig.from_dict(run.config)
    assert config.overrides == OVERRIDES and config.layer_metrics
    assert config.method.budget_unit == "params" and config.method.rank_allocation == "uniform"
    assert set(dict(config.method.rank).values()) == {2}


def test_its_configuration_is_read_from_the_file_too():
    written = json.loads((WRITTEN / "finished" / "config.json").read_text())
    assert {"moves", "layer_facts"} < set(written) and "spend" in written["method"]
    assert RunConfig.from_dict(written).overrides == OVERRIDES


def test_its_model_computes_what_the_standalone_export_computes():
    with pytest.warns(UserWarning, match="model.safetensors has no checksum"):
        model = from_pretrained(WRITTEN / "finished" / "compressed")
    assert sum(p.numel() for p in model.parameters()) == 20650
    plain = WRITTEN / "export" / "plain"
    exported = runpy.run_path(str(plain / "load.py"))["load"](plain)
    images = torch.randn(4, *example_input(model).shape[1:], generator=torch.manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(call_model(exported, images), call_model(model, images))


def test_its_report_and_its_snapshots_can_be_shown(written):
    assert "PC-LoRA" in write_report(written / "finished").read_text()
    replay = Replay(written / "finished")
    assert replay.steps == (0, 24)
    replayed = call_model(replay.student_at(24), example_input(replay.teacher))
    small = from_pretrained(written / "finished" / "compressed")
    torch.testing.assert_close(replayed, call_model(small, example_input(small)))


def test_a_stopped_run_is_taken_up_with_its_overrides(written):
    *_, end = resume(written / "stopped")
    assert end.result["overrides"] == [[4, 0.5], [20, None]] and end.result["steps"] == 24
    steps = [row["step"] for row in load_run(written / "stopped").rows if row["phase"] == "fade"]
    assert steps == sorted(set(steps)) and steps[-1] == 24


def test_a_comparison_goes_on_in_its_folder(written):
    base = RunConfig(steps=8, evaluations=1, eval_images=32, device="cpu")
    grid = {"methods": ("svd",), "budgets": (0.05,), "seeds": (0,), "lrs": (1e-3,)}
    comparison = Comparison(base, **grid, out=written / "comparison")
    assert [step.ends_cell for step in comparison.run()] == [True]
    (row,) = comparison.rows()
    assert row["accuracy"] is not None and row["error"] is None

"""A run whose task only the data tell is shown by that task's metric as soon as they are read."""

import pytest
from segmenters import write_small_vit
from waiting import until

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.plots.live import story_curves, story_figure
from pclora_lab.plots.run_axis import BY_HAND
from pclora_lab.tasks.segmentation import MIOU
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    config = RunConfig(
        model=f"local-dir:{write_small_vit(root / 'vit')}", data="digit_scenes", steps=2,
        teacher_steps=2, batch_size=4, evaluations=1, eval_images=8, snapshots=2, device="cpu",
        method=PCLoRAConfig(rank=2, init="svd"), layer_metrics=False, precision="float32",
    )  # fmt: skip
    lab = Lab(config, root=root / "runs")
    lab.train()
    until(lambda: lab.buttons.status.value == "finished")
    until(lambda: "mIoU" in lab.shown.tiles.accuracy.value)
    yield lab
    lab.close()


def test_chart_and_tiles_speak_of_its_metric(lab):
    assert lab.session.config.task is None
    assert lab.shown.config.task == "semantic-segmentation"
    assert "test mIoU" in lab.shown.tiles.accuracy.value
    figure = lab.views.live.story.figure
    assert figure.layout.title.text == "mIoU (8 validation examples)"
    drawn = {
        trace.name: list(trace.y) for trace in figure.data if trace.y is not None and len(trace.y)
    }
    read = [row["miou"] for row in lab.session.snapshot().rows if row["phase"] == "fade"]
    assert drawn["student as it is"] == [value for value in read if value is not None]


def test_a_replay_shows_masks(lab):
    lab.views.tabs.selected_index = 2
    until(lambda: "<img" in lab.views.examples.shown.value)
    assert lab.views.problem.value == ""


def test_the_next_run_like_it_is_expected_to_give_what_it_gave(lab):
    until(lambda: lab.controls.data_preview.task == "semantic-segmentation", 20)
    found = lab.ranks.accuracy
    lab.tabs.selected_index = 3
    lab._refresh_outlook()
    result = lab.session.result["miou"]
    assert f"expected mIoU: {MIOU.roughly(result)}" in found.value


def test_lambda_has_an_axis_of_its_own_behind_the_scores():
    figure = story_figure()
    axes = {
        curve.column: trace.yaxis for curve, trace in zip(story_curves(), figure.data, strict=True)
    }
    assert axes.pop("lam") == axes.pop(BY_HAND) == "y2" and not any(axes.values())
    right = figure.layout.yaxis2
    assert (right.overlaying, right.side, tuple(right.range)) == ("y", "right", (0, 1.02))
    # Scores keep their own range, and λ's stays as it is.
    assert all((t.zorder or 0) == (-1 if t.yaxis == "y2" else 0) for t in figure.data)

"""Four large numbers: what they say while a run is planned, trains, and is over."""

import dataclasses
import re

import pytest

from pclora_lab import plan
from pclora_lab.models import describe_model
from pclora_lab.runs.estimates.accuracy import AccuracyEstimate
from pclora_lab.ui.monitor.lambda_slider import LambdaSlider
from pclora_lab.ui.monitor.tiles import Tiles


@pytest.fixture
def tiles():
    return Tiles(LambdaSlider(lambda: None, lambda action: action()))


def text(tile):
    return re.sub(r"<[^>]+>", " ", tile.value).strip()


def words(tile):
    return " ".join(text(tile).split())


def test_nothing_is_claimed_before_it_is_measured(tiles):
    assert text(tiles.accuracy).startswith("–") and text(tiles.speed).startswith("–")
    assert text(tiles.size).startswith("–")


def test_the_sizes_of_the_plan_are_there_before_training(tiles):
    planned = plan(describe_model("vit_digits", num_classes=10), 8)
    tiles.clear(planned)
    assert "−88.2%" in text(tiles.size) and "−87.2% in all" in text(tiles.size)


def test_the_newest_accuracy_stands_beside_its_teachers(tiles):
    rows = [
        {"phase": "fade", "step": 0, "accuracy": 0.5, "teacher_accuracy": 0.9},
        {"phase": "fade", "step": 9, "accuracy": 0.8, "teacher_accuracy": 0.9},
        {"phase": "fade", "step": 10, "accuracy": None},
    ]
    tiles.update(rows)
    assert "80.0%" in text(tiles.accuracy) and "−10.0" in text(tiles.accuracy)
    assert "validation accuracy · teacher 90.0%" in text(tiles.accuracy)


def test_while_the_teacher_is_fine_tuned_it_is_its_own_accuracy(tiles):
    tiles.update([{"phase": "teacher", "step": 5, "steps": 10, "accuracy": 0.4}])
    assert "40.0%" in text(tiles.accuracy) and "while it is fine-tuned" in text(tiles.accuracy)


def test_a_result_names_its_split_sizes_and_speed(tiles):
    tiles.show_result(
        {
            "accuracy": 0.78, "teacher_accuracy": None, "report_on": "validation",
            "params_removed_whole": 0.5, "params_removed_replaced": 0.6,
            "latency_ms_before": 9.0, "latency_ms_after": 3.0, "accuracy_examples": 50,
        }
    )  # fmt: skip
    assert "78.0%" in text(tiles.accuracy) and "validation accuracy" in text(tiles.accuracy)
    assert "−60.0%" in text(tiles.size) and "−50.0% in all" in text(tiles.size)
    assert text(tiles.speed) == "3.0×  faster · 9 → 3 ms for 50 examples"


def test_a_result_of_another_version_changes_nothing_it_does_not_hold(tiles):
    before = [tile.value for tile in (tiles.accuracy, tiles.size, tiles.speed)]
    tiles.show_result({"accuracy": "much", "params_removed_whole": float("nan")})
    assert [tile.value for tile in (tiles.accuracy, tiles.size, tiles.speed)] == before


def test_a_model_that_got_slower_or_larger_is_not_called_the_opposite(tiles):
    tiles.show_result({
        "params_removed_whole": -0.1, "params_removed_replaced": -0.2,
        "latency_ms_before": 3.0, "latency_ms_after": 4.0,
    })  # fmt: skip
    assert "−" not in text(tiles.size) and "+20.0%" in text(tiles.size)
    assert "slower" in text(tiles.speed)


def test_what_runs_let_one_expect_is_marked_as_such(tiles):
    found = AccuracyEstimate(8, 0.97, 0.012, (), "from rank 8", seeds=6)
    tiles.show_forecast(found, 3.04)
    assert words(tiles.accuracy) == "≈ 97.0% ± 1.2 expected, as 6 earlier runs tell"
    assert words(tiles.speed) == "≈ 3.0× faster, as a run of this size was here"
    tiles.show_forecast(dataclasses.replace(found, std=None, seeds=1), 0.5)
    assert words(tiles.accuracy) == "≈ 97.0% expected, as 1 earlier run tells"
    assert words(tiles.speed) == "≈ 2.0× slower, as a run of this size was here"
    tiles.show_forecast(dataclasses.replace(found, mean=None), None)
    assert text(tiles.accuracy).startswith("–") and text(tiles.speed).startswith("–")

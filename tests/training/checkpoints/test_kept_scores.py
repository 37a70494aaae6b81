"""A teacher's scores are read once, and believed only where nothing that it rests on changed."""

import dataclasses
import json

import pytest

from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.training.checkpoints import kept_scores as module
from pclora_lab.training.checkpoints.kept_scores import kept_scores
from pclora_lab.training.identity.record import Identity

METRICS = IMAGE_CLASSIFICATION.metrics
MADE = Identity("data", "preprocessing", "weights", "architecture", teacher="teacher")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


class Measure:
    """Counts how often it is asked."""

    def __init__(self, value=0.75):
        self.value, self.asked = value, 0

    def __call__(self):
        self.asked += 1
        return {"accuracy": self.value}


def again(folder, identity=MADE, split="test"):
    """What is told, and whether it was measured."""
    measure = Measure(0.25)
    scores = kept_scores(folder, identity, split, METRICS, measure)
    return scores["accuracy"], bool(measure.asked)


def test_it_is_measured_once_and_written_down_with_what_it_rests_on(folder):
    measure = Measure()
    assert kept_scores(folder, MADE, "test", METRICS, measure) == {"accuracy": 0.75}
    assert measure.asked == 1
    assert json.loads((folder / "accuracy_test.json").read_text()) == {
        "teacher": "teacher", "data": "data", "preprocessing": "preprocessing", "split": "test",
        "accuracy": 0.75,
    }  # fmt: skip
    assert again(folder) == (0.75, False)


@pytest.mark.parametrize("name", ["teacher", "data", "preprocessing"])
def test_another_teacher_data_or_preprocessing_is_measured_anew(folder, name):
    kept_scores(folder, MADE, "test", METRICS, Measure())
    other = dataclasses.replace(MADE, **{name: "other"})
    assert again(folder, other) == (0.25, True)
    assert again(folder, other) == (0.25, False)


def test_what_it_does_not_rest_on_changes_nothing(folder):
    kept_scores(folder, MADE, "test", METRICS, Measure())
    other = dataclasses.replace(MADE, settings={"steps": 3}, environment={"torch": "9"})
    assert again(folder, other) == (0.75, False)


def test_each_split_has_its_own(folder):
    kept_scores(folder, MADE, "test", METRICS, Measure())
    assert again(folder, split="validation") == (0.25, True)
    assert again(folder) == (0.75, False)
    # A file under another name is not believed.
    (folder / "accuracy_test.json").write_text((folder / "accuracy_validation.json").read_text())
    assert again(folder) == (0.25, True)


@pytest.mark.parametrize(
    ("value", "is_believed"),
    [(0, True), (1, True), (0.5, True), (-0.01, False), (1.01, False), (True, False),
     ("0.5", False), (None, False)],
)  # fmt: skip
def test_only_a_number_from_0_to_1_is_believed(folder, value, is_believed):
    kept_scores(folder, MADE, "test", METRICS, Measure())
    file = folder / "accuracy_test.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "accuracy": value}))
    assert again(folder) == ((value, False) if is_believed else (0.25, True))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_a_file_that_can_not_be_read_costs_a_measurement(folder, text):
    (folder / "accuracy_test.json").write_text(text)
    assert again(folder) == (0.25, True)
    assert again(folder) == (0.25, False)


def test_without_a_teacher_nothing_is_kept_and_nothing_believed(folder):
    nobody = dataclasses.replace(MADE, teacher="")
    made_up = {"teacher": "", "data": "data", "preprocessing": "preprocessing", "split": "test"}
    (folder / "accuracy_test.json").write_text(json.dumps({**made_up, "accuracy": 0.9}))
    before = (folder / "accuracy_test.json").read_text()
    assert again(folder, nobody) == (0.25, True)
    assert (folder / "accuracy_test.json").read_text() == before


def test_beside_no_weights_nothing_is_kept(tmp_path):
    assert again(tmp_path) == (0.25, True)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_a_measurement_and_is_said(folder, monkeypatch):
    def full(path, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.warns(UserWarning, match="the teacher's accuracy can't be kept"):
        assert again(folder) == (0.25, True)


def test_another_task_has_its_own_numbers_and_bounds(folder):
    metrics = (TaskMetric("psnr", "PSNR", "dB"), TaskMetric("mse", "MSE", better="lower", low=0))
    scores = {"psnr": 28.5, "mse": 0.001}
    assert kept_scores(folder, MADE, "test", metrics, lambda: scores) == scores
    assert kept_scores(folder, MADE, "test", metrics, dict) == scores
    file = folder / "psnr_test.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "mse": -1}))
    assert kept_scores(folder, MADE, "test", metrics, dict) == {}

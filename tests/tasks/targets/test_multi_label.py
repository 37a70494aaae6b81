"""Several labels at once, from the numbers to a whole run that is read, replayed and exported."""

import ast
import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from report_code import printed_by
from segmenters import write_small_vit
from sklearn.metrics import average_precision_score, f1_score
from tiny_hf import write_model

from pclora_lab.data.cache import DataCache
from pclora_lab.data.dividing import take_rows
from pclora_lab.data.splits import LabeledData
from pclora_lab.data.targets.drawn import scene_digits
from pclora_lab.data.targets.label_sets import load_label_sets
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.summary import result_table
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.targets.multi_label import MULTI_LABEL_CLASSIFICATION as TASK
from pclora_lab.tasks.targets.multi_label import bernoulli_loss, multi_label_loss
from pclora_lab.tasks.targets.scores import average_precision
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate


def drawn(seed=0, count=60, labels=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, labels, generator=generator).mul(2).round().div(2)  # with ties
    return logits, (torch.rand(count, labels, generator=generator) < 0.3).float()


def test_precision_is_scikit_learn_s():
    logits, targets = drawn()
    for score, target in zip(logits.T, targets.T, strict=True):
        own = average_precision(score, target).item()
        assert own == pytest.approx(average_precision_score(target, score), abs=1e-9)
    assert average_precision(logits[:, 0], torch.zeros(60)).isnan()
    seen = TASK.scorer()
    for part in (slice(0, 13), slice(13, 60)):
        seen.update(logits[part], targets[part])
    found = seen.compute()
    assert found["mean_average_precision"] == pytest.approx(
        average_precision_score(targets, logits, average="macro")
    )
    assert found["f1_micro"] == pytest.approx(f1_score(targets, logits > 0, average="micro"))


def test_a_label_that_no_example_has_is_not_in_the_mean():
    logits, targets = drawn()
    targets[:, 2] = 0
    seen = TASK.scorer()
    seen.update(logits, targets)
    by_label = TASK.by_class(seen)["AP"]
    assert by_label[2] is None
    known = [value for value in by_label if value is not None]
    assert seen.compute()["mean_average_precision"] == pytest.approx(np.mean(known))


def test_the_losses_treat_each_label_by_itself():
    logits, targets = drawn()
    p = logits.double().sigmoid()
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert multi_label_loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)
    assert multi_label_loss(logits.bfloat16(), targets).dtype == torch.float32
    teacher, _ = drawn(seed=1)
    p, q = (torch.distributions.Bernoulli(logits=x.double() / 3) for x in (teacher, logits))
    wanted = 9 * torch.distributions.kl_divergence(p, q).mean()
    assert bernoulli_loss(logits, teacher, 3.0).item() == pytest.approx(wanted.item(), rel=1e-5)
    far = bernoulli_loss(torch.full((1, 1), 90.0), torch.full((1, 1), -90.0), 1.0)
    assert far.isfinite() and far > 80


def test_a_verdict_names_the_labels():
    names = ("a", "b", "c")
    said = TASK.verdict(torch.tensor([0.9, 0.2, 0.75]), torch.tensor([1.0, 0.0, 1.0]), names)
    assert (said.text, said.is_right) == ("a | c", True)
    assert said.sure == pytest.approx(0.9 * 0.8 * 0.75)
    assert (
        TASK.verdict(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 0, 0]), names).text == "none"
    )
    assert TASK.label(torch.tensor([0.0, 1.0, 1.0]), names) == "b | c"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return RunConfig(
        task="multi-label-classification", data="scene_digits",
        model=str(write_small_vit(tmp_path_factory.mktemp("models") / "vit")),
        method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), steps=6, batch_size=16,
        teacher_steps=30, teacher_lr=2e-3, evaluations=2, eval_images=32, snapshots=3,
        device="cpu", precision="float32",
    )  # fmt: skip


class FewScenes(DataCache):
    """Of few scenes, so that reading and measuring take no time."""

    def __init__(self):
        super().__init__()
        whole, parts = scene_digits(), {"train": 160, "validation": 40, "test": 40}
        splits = {n: take_rows(getattr(whole, n), np.arange(count)) for n, count in parts.items()}
        self.scenes = LabeledData(
            "scene_digits", "image", **splits, class_names=whole.class_names, targets="labels"
        )

    def data(self, config, read=None):
        return self.scenes


@pytest.fixture(scope="module")
def cache():
    return FewScenes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config, cache):
    *_, end = execute(config, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


def test_a_run_measures_what_is_measured_again(finished, cache):
    result = finished.result
    batches = TASK.batches(cache.scenes.test, preprocessing_of(finished.model))
    own = evaluate(TASK, finished.model, batches)
    assert {key: result[key] for key in own} == own and 0 < own["mean_average_precision"] < 1
    assert result["class_names"] == [*"0123456789"] and len(result["by_class"]["AP"]) == 10
    table = result_table(result)
    assert "student, test mean average precision" in table and "F1 (micro)" in table
    assert "lowest classes" in table and "accuracy" not in table


def test_report_and_replay_name_the_labels(finished, cache):
    run_dir = Path(finished.result["run_dir"])
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    assert "mean average precision" in report and "of each of the" not in report
    assert "not chosen by how they turned out" in report
    assert set(ast.literal_eval(printed_by(report, run_dir))) <= set("0123456789")
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    assert found.student.shape == (2, 10) and 0 <= found.student.min() <= found.student.max() <= 1
    assert found.labels.dtype == torch.float32


def test_exports_answer_the_same(finished, tmp_path):
    folder, formats = Path(finished.result["run_dir"]), ["standalone", "plain-int8", "onnx"]
    plain, rounded, onnx = export_run(folder, tmp_path, formats)
    assert plain.max_logit_difference < 1e-5 and onnx.max_logit_difference < 1e-4
    assert rounded.metric.key == "mean_average_precision"
    loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        own = finished.model.cpu().eval()(images)
        torch.testing.assert_close(loaded(images), own, atol=1e-5, rtol=1e-4)
    card = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "| mean average precision (test) |" in card and "pipeline_tag" not in card


def test_a_head_for_labels_is_kept_and_one_for_classes_is_not(finished, cache, config):
    folder = str(finished.result["run_dir"]) + "/compressed"
    assert not head_is_new(TASK.load_model(folder, cache.scenes))
    assert head_is_new(TASK.load_model(config.model, cache.scenes))
    digits = TASK.load_model("vit_digits", cache.scenes)
    assert head_is_new(digits) and digits.num_classes == 10


def test_texts_have_labels_too_and_transformers_knows_it(tmp_path):
    words = [f"w{5 + row} w{6 + row % 7}" for row in range(80)]
    table = pd.DataFrame({"text": words, "label": ["a|b" if row % 2 else "c" for row in range(80)]})
    data = load_label_sets(table)
    model = TASK.load_model(str(write_model(tmp_path / "bert", "bert")), data)
    assert head_is_new(model), "it chose one of three classes"
    assert model.config.problem_type == "multi_label_classification"
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    saved = from_pretrained(save_pretrained(model, tmp_path / "saved"))
    assert saved.config.problem_type == "multi_label_classification"
    assert not head_is_new(TASK.load_model(str(tmp_path / "saved"), data))


def test_the_task_is_guessed_from_labels(config, cache):
    task, found = task_and_data(dataclasses.replace(config, task=None), DataCache())
    assert task is TASK and found.targets == "labels"
    with pytest.raises(ValueError, match="task is 'regression', but 'scene_digits' holds"):
        task_and_data(dataclasses.replace(config, task="regression"), cache)

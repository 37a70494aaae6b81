"""Regression from its numbers to a whole run that is saved, read, replayed and exported."""

import ast
import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from report_code import printed_by
from scipy.stats import spearmanr
from tiny_hf import write_model
from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.data.targets.drawn import digit_turns
from pclora_lab.data.targets.numbers import load_numbers
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.models.loading import load_model
from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.nn.heads import UnitHead, fold_units, put_units
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.summary import result_table
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.heads import load_classifier
from pclora_lab.tasks.targets.regression import REGRESSION
from pclora_lab.tasks.targets.scores import spearman
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate

CONFIG = RunConfig(
    task="regression", data="digit_turns", model="vit_digits", steps=6, batch_size=32,
    method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), teacher_steps=150, teacher_lr=2e-3,
    evaluations=2, eval_images=64, snapshots=3, device="cpu", precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache():
    return DataCache()


@pytest.fixture(scope="module")
def turns():
    return digit_turns()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    *_, end = execute(CONFIG, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


def test_ranks_are_correlated_as_scipy_says():
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 9, (50,), generator=generator).float()
    second = first + 3 * torch.randn(50, generator=generator)
    for a, b in ((first, second), (second, first), (first, first), (first, -second)):
        assert spearman(a, b).item() == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
    assert spearman(first, torch.ones(50)).item() == 0


def test_losses_are_in_standard_deviations_and_metrics_in_units(turns):
    task = REGRESSION.of_data(turns)
    std = turns.train.targets.std()
    outputs, targets = torch.tensor([[3.0], [5.0]]), torch.tensor([[1.0], [-2.0]])
    assert task.loss(outputs, targets).item() == pytest.approx(26.5 / std**2, rel=1e-5)
    assert task.imitation_loss(outputs, targets, 4.0) == task.loss(outputs, targets)
    seen = task.scorer()
    seen.update(outputs[:1], targets[:1])
    seen.update(outputs[1:], targets[1:])
    assert seen.compute() == {"rmse": pytest.approx(26.5**0.5), "spearman": pytest.approx(-1)}
    assert REGRESSION.loss(outputs, targets).item() == 26.5


def test_several_targets_count_alike_whatever_their_units():
    frame = pd.DataFrame({"text": [f"t{row}" for row in range(100)]})
    frame["small"] = np.arange(100) / 1000
    frame["large"] = np.arange(100) * 1000.0
    data = load_numbers(frame, label_column="small,large")
    task = REGRESSION.of_data(data)
    mean = torch.as_tensor(data.train.targets.mean(0)).expand(len(data.train), 2)
    assert task.loss(mean, torch.as_tensor(data.train.targets)).item() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("is_thin", [False, True])
def test_units_are_folded_into_new_weights(is_thin):
    linear = nn.Linear(6, 2)
    model = nn.Sequential(nn.Linear(6, 6), linear)
    put_units(model, ["1"], torch.tensor([10.0, -3.0]), torch.tensor([4.0, 0.5]))
    if is_thin:
        model[1].linear = LowRankLinear(6, 2, rank=1)
        nn.init.normal_(model[1].linear.B)
    x = torch.randn(5, 6)
    kept, before = linear.weight.clone(), model(x)
    folded = fold_units(model)
    assert not any(isinstance(module, UnitHead) for module in folded.modules())
    torch.testing.assert_close(folded(x), before)
    assert torch.equal(linear.weight, kept), "a teacher may share it"
    assert all(parameter.requires_grad for parameter in folded.parameters())


def test_a_learned_head_answers_as_before_in_other_units():
    model = nn.Sequential(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    before = model(x)
    put_units(model, ["0"], torch.tensor([7.0, 1.0]), torch.tensor([2.0, 9.0]), is_learned=True)
    torch.testing.assert_close(model(x), before)
    with pytest.raises(ValueError, match="no linear layer with a bias"):
        put_units(nn.Sequential(nn.Linear(3, 1, bias=False)), ["0"], *torch.ones(2, 1))


def test_a_run_measures_in_the_units_of_the_data(finished, turns):
    result = finished.result
    batches = REGRESSION.batches(turns.test, preprocessing_of(finished.model))
    own = evaluate(REGRESSION, finished.model, batches)
    assert result["rmse"] == own["rmse"] and result["spearman"] == own["spearman"]
    assert result["rmse_examples"] == 360 and result["task"] == "regression"
    # The mean of all angles is as far off as they are spread: some 35 degrees.
    assert result["teacher_rmse"] < 25 and result["teacher_spearman"] > 0.7
    table = result_table(result)
    assert "student, test RMSE" in table and "Spearman" in table and "accuracy" not in table
    fade = [row for row in load_run(Path(result["run_dir"])).rows if row["phase"] == "fade"]
    assert all(0 <= row["task"] < 5 for row in fade if row.get("task") is not None)


def test_a_finished_model_is_plain_and_answers_in_units_when_read_again(finished, turns, tmp_path):
    saved = from_pretrained(f"{finished.result['run_dir']}/compressed")
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        wanted = finished.model.cpu().eval()(images)
        assert type(saved.head) is nn.Linear and torch.equal(saved(images), wanted)
        again = REGRESSION.load_model(str(finished.result["run_dir"]) + "/compressed", turns)
        assert isinstance(again.head, UnitHead) and not head_is_new(again)
        torch.testing.assert_close(again(images), wanted, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(
            from_pretrained(save_pretrained(again, tmp_path / "again"))(images), wanted,
            rtol=1e-4, atol=1e-3,
        )  # fmt: skip
    assert isinstance(again.head, UnitHead), "saving changes no model"


def test_a_head_of_another_task_is_replaced(finished, turns):
    assert head_is_new(REGRESSION.load_model("vit_digits", turns))
    folder = str(finished.result["run_dir"]) + "/compressed"
    one_class = dataclasses.replace(turns, class_names=("degrees",))
    classifier = load_classifier(folder, one_class)
    assert head_is_new(classifier) and "problem" not in classifier.pclora_recipe
    named = dataclasses.replace(turns, class_names=("kilograms",))
    assert head_is_new(REGRESSION.load_model(folder, named))


def test_report_and_replay_speak_of_numbers(finished, cache):
    run_dir = Path(finished.result["run_dir"])
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    body = report.partition("</style>")[2]
    assert "RMSE" in body and "classes" not in body and "accuracy" not in body.lower()
    assert list(ast.literal_eval(printed_by(report, run_dir))) == ["degrees"]
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    assert found.student.shape == (2, 1) and found.task.name == "regression"
    right = found.labels[0].item()
    assert found.task.label(found.labels[0], ()) == f"{right:.4g}"
    assert found.task.verdict(found.teacher[0], found.labels[0], ()).is_right is None


def test_exports_answer_the_same(finished, tmp_path):
    folder, formats = Path(finished.result["run_dir"]), ["standalone", "plain-int8", "onnx"]
    plain, rounded, onnx = export_run(folder, tmp_path, formats)
    assert plain.max_logit_difference < 1e-3 and onnx.max_logit_difference < 1e-2
    assert rounded.metric.key == "rmse" and abs(rounded.accuracy - rounded.float_accuracy) < 1
    loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(images), finished.model.cpu().eval()(images), atol=1e-3, rtol=1e-4
        )
    card = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "| RMSE (test) |" in card and "pipeline_tag" not in card and "classes" not in card


@pytest.fixture(scope="module")
def texts():
    words = [f"w{5 + row % 40} w{6 + row % 7}" for row in range(120)]
    frame = pd.DataFrame({"text": words, "score": [row % 40 / 8 for row in range(120)]})
    return load_numbers(frame, max_overlap=1.0)


def test_texts_have_numbers_too_and_transformers_knows_it(texts, tmp_path):
    folder = write_model(tmp_path / "bert", "bert")
    model = REGRESSION.load_model(str(folder), texts)
    assert model.config.problem_type == "regression" and model.config.num_labels == 1
    assert model.config.id2label == {0: "score"}
    ids = {"input_ids": torch.tensor([[1, 9, 8, 2]])}
    with torch.no_grad():
        wanted = model(**ids).logits
    mean = texts.train.targets.mean()
    assert abs(wanted.item() - mean) < texts.train.targets.std()
    saved = from_pretrained(save_pretrained(model, tmp_path / "saved"))
    with torch.no_grad():
        torch.testing.assert_close(saved(**ids).logits, wanted)
    assert saved.pclora_recipe["problem"] == "regression"
    again = REGRESSION.load_model(str(tmp_path / "saved"), texts)
    assert not head_is_new(again) and isinstance(again.classifier, UnitHead)


def test_a_regression_model_of_transformers_keeps_its_head(texts, tmp_path):
    folder = write_model(tmp_path / "sts", "bert", num_labels=1, id2label=None, label2id=None)
    with pytest.raises(ValueError, match="trained for regression"):
        load_model(folder)
    model = REGRESSION.load_model(str(folder), texts)
    assert not head_is_new(model)
    ids = {"input_ids": torch.tensor([[1, 9, 8, 2]])}
    with torch.no_grad():
        wanted = load_model(folder, problem="regression")(**ids).logits
        torch.testing.assert_close(model(**ids).logits, wanted, rtol=1e-4, atol=1e-4)


def test_the_task_is_guessed_from_numbers_and_known_by_its_data(cache):
    task, found = task_and_data(dataclasses.replace(CONFIG, task=None), cache)
    again, same = task_and_data(CONFIG, cache)
    assert task.name == "regression" and task is again and found is same
    assert task is not REGRESSION
    with pytest.raises(ValueError, match="digits has no numbers"):
        task_and_data(dataclasses.replace(CONFIG, data="digits"), cache)
    with pytest.raises(ValueError, match="reads texts, but 'digit_turns' holds images"):
        REGRESSION.load_model("bert_glosses", found)

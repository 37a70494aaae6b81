"""Language modeling from texts to a whole run that is read, replayed, reported and exported."""

import dataclasses
import math
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
from speakers import small_texts, write_speaker

from pclora_lab.data.cache import DataCache
from pclora_lab.data.loading import load_data
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.summary import result_table
from pclora_lab.tasks.heads import load_classifier
from pclora_lab.tasks.language.causal import LANGUAGE_MODELING as TASK
from pclora_lab.tasks.registry import key_facts
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.events import RunEnd
from pclora_lab.ui.views.examples_view import ExamplesView


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    texts = [*small_texts(), "an old house " + "of a bird " * 12]
    (folder / "texts.txt").write_text("\n".join(texts))
    pd.DataFrame({"text": texts, "kind": ["a", "b", "c"] * 27}).to_csv(folder / "texts.csv")
    for kind in ("llama", "gpt2"):
        write_speaker(folder / kind, kind)
    return folder


@pytest.fixture(scope="module")
def config(folder):
    return RunConfig(
        task="language-modeling", data=str(folder / "texts.csv"), model=str(folder / "llama"),
        method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), steps=6, batch_size=16,
        max_tokens=24, teacher="finetune", teacher_steps=40, teacher_lr=1e-2, evaluations=2,
        eval_images=32, snapshots=3, device="cpu", precision="float32", text_column="text",
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache():
    return DataCache()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config, cache):
    *_, end = execute(config, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


def test_a_run_measures_what_is_measured_again(finished, config, cache):
    result = finished.result
    data = TASK.data(config, cache)
    batches = TASK.batches(data.test, preprocessing_of(finished.model))
    own = evaluate(TASK, finished.model, batches)
    assert {key: result[key] for key in own} == own
    assert [*own] == ["perplexity", "bits_per_byte", "next_token_accuracy"]
    assert result["perplexity_examples"] == len(batches) and "accuracy" not in result
    assert result["class_names"] == [] and result["task"] == "language-modeling"
    # The texts are made of few words: a teacher that has learned nothing has 300 to choose from.
    assert 1 < result["teacher_perplexity"] < 60 < math.exp(5)
    assert 0 < result["teacher_bits_per_byte"] < 3
    table = result_table(result)
    assert "student, test perplexity" in table and "bits per byte" in table
    assert any("were cut into" in note for note in result["notes"])
    assert result["account"]["columns"]["left_out"][0]["count"] == 2


def test_report_and_replay_show_how_teacher_and_student_go_on(finished, cache):
    run_dir = Path(finished.result["run_dir"])
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    assert "perplexity" in report and "top-1" not in report
    assert report.count('class="spoken"') == 12 and "the likeliest" in report
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 3])
    inputs, targets = replay.examples.batch(torch.tensor([0, 3]))
    assert torch.equal(found.labels, targets)
    with torch.no_grad():
        torch.testing.assert_close(found.teacher, replay.teacher(**inputs).logits.log_softmax(-1))
    teacher, student = found.continuations
    assert len(teacher) == len(student) == 2 and teacher[0].prompt == student[0].prompt
    assert replay.raw[0].startswith(teacher[0].prompt) and len(teacher[0].probabilities) <= 16
    shares = found.teacher[0].gather(-1, targets[0, 0, 1:, None].clamp_min(0))[:, 0]
    counted = targets[0, 0, 1:] != -100
    own = (-shares[: len(counted)][counted].mean()).exp()
    assert TASK.verdict(found.teacher[0], targets[0], ()).text == f"ppl {own:,.1f}"
    view = ExamplesView()
    view.numbers.value = "0, 3"
    view.show(replay, replay.steps[0])
    assert view.shown.value.count("background:rgba") > 4 and "class" not in view.shown.value


def test_the_model_is_saved_and_trained_further(finished, config, cache):
    place = f"{finished.result['run_dir']}/compressed"
    saved, again = from_pretrained(place), TASK.load_model(place, TASK.data(config, cache))
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        own = finished.model.cpu().eval()(ids).logits
        assert torch.equal(saved(ids).logits, own) and torch.equal(again(ids).logits, own)
    with pytest.raises(ValueError, match="was saved as .language-model., which has no classes"):
        load_classifier(place, load_data("glosses"))


def test_exports_answer_the_same(finished, tmp_path):
    run_dir = Path(finished.result["run_dir"])
    plain, rounded = export_run(run_dir, tmp_path, ["standalone", "plain-int8"])
    assert plain.max_logit_difference < 1e-4
    assert rounded.metric.key == "perplexity" and "perplexity" in str(rounded)
    loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        own = finished.model.cpu().eval()(ids).logits
        torch.testing.assert_close(loaded(ids).logits, own, atol=1e-4, rtol=1e-4)
    card = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "pipeline_tag: text-generation" in card and "| perplexity (test) |" in card


@pytest.mark.parametrize("name", [n for n in METHODS if n != "pclora"])
def test_every_method_learns_it_or_says_why_not(name, config, cache, tmp_path):
    method = METHODS[name].default_config()
    small = dataclasses.replace(
        config, method=method, lr=None, steps=2, snapshots=0, teacher_steps=2, layer_metrics=False
    )
    if name == "small":
        with pytest.raises(ValueError, match="only vision transformers can be built narrower"):
            list(execute(small, tmp_path, cache=cache))
        return
    *_, end = execute(small, tmp_path, cache=cache)
    assert isinstance(end, RunEnd) and 1 <= end.result["perplexity"] < 1000


def test_gpt2_on_a_file_of_texts_whose_task_is_guessed(config, folder, tmp_path):
    guessed = dataclasses.replace(
        config, task=None, data=str(folder / "texts.txt"), model=str(folder / "gpt2"), steps=1,
        teacher="pretrained", snapshots=0, layer_metrics=False, text_column=None,
    )  # fmt: skip
    *_, end = execute(guessed, tmp_path)
    run = load_run(Path(end.result["run_dir"]))
    assert run.config["task"] == end.result["task"] == "language-modeling"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("vit_digits", "'vit_digits' reads images, but .* holds texts: take a causal"),
        ("bert_glosses", "was saved as BertForSequenceClassification.*gives no words"),
    ],
)
def test_a_model_that_guesses_no_next_token_is_refused(model, reason, config, cache):
    with pytest.raises(ValueError, match=reason):
        TASK.load_model(model, TASK.data(config, cache))


def test_labels_that_are_asked_for_are_refused_and_keys_are_its_own(config, tmp_path):
    with pytest.raises(ValueError, match="takes no labels: leave label_column out"):
        list(execute(dataclasses.replace(config, label_column="kind"), tmp_path))
    keys = [key_facts(name) for name in (None, "semantic-segmentation", "language-modeling")]
    assert keys[0] != keys[2] != keys[1]

"""Tags of words, from counting entities to a whole run that is read, replayed and exported."""

import ast
import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from report_code import printed_by
from tiny_hf import write_model

from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.data.targets.words import Words
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.models.loading import load_model
from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.replay import Replay
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.targets.tokens import TOKEN_CLASSIFICATION, entities
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate

NAMES = ("O", "B-EVEN", "I-EVEN")


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", set()),
        ("B-A I-A O", {("A", 0, 2)}),
        ("B-A B-A", {("A", 0, 1), ("A", 1, 2)}),
        ("I-A I-A B-A", {("A", 0, 2), ("A", 2, 3)}),
        ("B-A I-B", {("A", 0, 1), ("B", 1, 2)}),
        ("O I-A", {("A", 1, 2)}),
        ("B-A E-A I-A", {("A", 0, 2), ("A", 2, 3)}),
        ("S-A U-A L-B", {("A", 0, 1), ("A", 1, 2), ("B", 2, 3)}),
        ("B-LOC-X I-LOC-X", {("LOC-X", 0, 2)}),
        ("A A O B", {("A", 0, 2), ("B", 3, 4)}),
        ("NOUN NOUN VERB", {("NOUN", 0, 1), ("NOUN", 1, 2), ("VERB", 2, 3)}),
        ("", set()),
    ],
)
def test_entities_by_hand(tags, found):
    assert entities(tags.split()) == found


def logits_of(tags, names=NAMES):
    return 9.0 * F.one_hot(torch.tensor([names.index(tag) for tag in tags.split()]), len(names))


def test_f1_counts_whole_entities_and_accuracy_words():
    task = TOKEN_CLASSIFICATION.of_data(data())
    right = torch.tensor([[-100, 1, 2, -100, 0, 1], [0, 1, 0, -100, -100, -100]])
    said = torch.stack([
        logits_of("B-EVEN B-EVEN I-EVEN O O O"), logits_of("B-EVEN B-EVEN O I-EVEN O O")
    ])  # fmt: skip
    seen = task.scorer()
    seen.update(said[:1], right[:1])
    seen.update(said[1:], right[1:])
    # Found of 3: two; said: three, one of which is none.
    assert seen.compute() == {
        "entity_f1": pytest.approx(2 * 2 / (3 + 3)), "token_accuracy": pytest.approx(5 / 7)
    }  # fmt: skip


def test_what_carries_no_tag_is_neither_learned_nor_imitated():
    logits = torch.randn(2, 4, 3, requires_grad=True)
    targets = torch.tensor([[-100, 1, 0, -100], [2, -100, -100, -100]])
    loss = TOKEN_CLASSIFICATION.loss(logits, targets)
    chosen = logits[targets != -100].double().log_softmax(-1)
    wanted = -chosen.gather(1, targets[targets != -100][:, None]).mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    loss.backward()
    assert not logits.grad[targets == -100].any()
    assert TOKEN_CLASSIFICATION.units(targets).item() == 3
    assert torch.equal(TOKEN_CLASSIFICATION.imitated(logits, targets), logits[targets != -100])
    none = torch.full((2, 4), -100)
    assert TOKEN_CLASSIFICATION.loss(logits, none).item() == 0
    with pytest.raises(ValueError, match="label 3 is outside the model's head"):
        TOKEN_CLASSIFICATION.loss(logits, targets + 1)


def sentence(generator):
    """Words of which those with an even number are an entity."""
    numbers = generator.integers(5, 15, generator.integers(3, 9))
    tags = [0 if n % 2 else 1 for n in numbers.tolist()]
    tags = [2 if tag and before else tag for tag, before in zip(tags, [0, *tags], strict=False)]
    return Words(f"w{n}" for n in numbers.tolist()), np.array(tags)


def data():
    generator = np.random.default_rng(0)
    splits = []
    for count in (240, 40, 40):
        pairs = [sentence(generator) for _ in range(count)]
        texts, tags = [text for text, _ in pairs], [tag for _, tag in pairs]
        splits.append(Split(texts, np.zeros(count, dtype=np.int64), targets=tags))
    return LabeledData("evens", "text", *splits, NAMES, content=("words",), targets="tags")


class Evens(DataCache):
    """Gives these data for every config."""

    def __init__(self):
        super().__init__()
        self.evens = data()

    def data(self, config, read=None):
        return self.evens


@pytest.fixture(scope="module")
def cache():
    return Evens()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "bert", "bert")


@pytest.fixture(scope="module")
def config(folder):
    return RunConfig(
        task="token-classification", data="gloss_typos", model=str(folder), steps=6, batch_size=16,
        method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), teacher_steps=80,
        teacher_lr=5e-3, evaluations=2, eval_images=32, snapshots=3, device="cpu",
        precision="float32",
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config, cache):
    *_, end = execute(config, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


def test_a_run_measures_what_is_measured_again(finished, cache):
    result, task = finished.result, TOKEN_CLASSIFICATION.of_data(cache.evens)
    batches = task.batches(cache.evens.test, preprocessing_of(finished.model))
    own = evaluate(task, finished.model, batches)
    assert {key: result[key] for key in own} == own
    assert result["teacher_token_accuracy"] > 0.7 and result["teacher_entity_f1"] > 0.3
    assert result["class_names"] == list(NAMES) and result["entity_f1_examples"] == 40


def test_a_finished_model_is_a_tagger_of_transformers(finished, cache, tmp_path):
    compressed = Path(finished.result["run_dir"]) / "compressed"
    saved = from_pretrained(compressed)
    assert type(saved).__name__ == "BertForTokenClassification"
    assert saved.config.id2label == dict(enumerate(NAMES))
    inputs = saved.pclora_text.encode([str(cache.evens.test.examples[0])])
    with torch.no_grad():
        wanted = finished.model.cpu().eval()(**inputs).logits
        assert torch.equal(saved(**inputs).logits, wanted)
    assert not head_is_new(TOKEN_CLASSIFICATION.load_model(str(compressed), cache.evens))
    again = from_pretrained(save_pretrained(saved, tmp_path / "again"))
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, wanted)


def test_report_and_replay_write_the_tags(finished, cache):
    run_dir = Path(finished.result["run_dir"])
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    assert "entity F1" in report and "B-EVEN" in report
    assert "not chosen by how they turned out" in report
    assert set(ast.literal_eval(printed_by(report, run_dir))) <= set(NAMES)
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    tags = cache.evens.validation.targets[5]
    assert found.task.label(found.labels[1], NAMES) == " ".join(NAMES[tag] for tag in tags)
    said = found.task.verdict(found.teacher[1], found.labels[1], NAMES)
    assert len(said.text.split()) == len(tags) and 0 < said.sure <= 1
    nothing = torch.full_like(found.labels[1], -100)
    assert found.task.verdict(found.teacher[1], nothing, NAMES).text == "no word is tagged"


def test_exports_answer_the_same(finished, cache, tmp_path):
    run_dir = Path(finished.result["run_dir"])
    plain, onnx = export_run(run_dir, tmp_path, ["standalone", "onnx"])
    assert plain.max_logit_difference < 1e-5 and onnx.max_logit_difference < 1e-4
    loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
    inputs = finished.model.pclora_text.encode(
        [str(text) for text in cache.evens.test.examples[:3]]
    )
    with torch.no_grad():
        wanted = finished.model.cpu().eval()(**inputs).logits
        torch.testing.assert_close(loaded(**inputs).logits, wanted, atol=1e-5, rtol=1e-4)
    card = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "pipeline_tag: token-classification" in card and "| entity F1 (test) |" in card


def test_a_classifier_s_head_is_never_taken_for_tags(folder, cache):
    model = TOKEN_CLASSIFICATION.load_model(str(folder), cache.evens)
    assert head_is_new(model), "it has three classes of whole texts, as there are tags"
    with pytest.raises(ValueError, match="reads images, but 'evens' holds texts"):
        TOKEN_CLASSIFICATION.load_model("vit_digits", cache.evens)
    tagger = load_model(folder, task="token-classification", num_classes=5)
    assert tagger(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 5)


def test_the_task_is_guessed_from_tags(config):
    task, found = task_and_data(dataclasses.replace(config, task=None), DataCache())
    assert task.name == "token-classification" and found.name == "gloss_typos"

"""Masked language modeling from texts to a whole run that is read, replayed and exported."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from guessers import write_guesser
from speakers import small_texts, write_speaker

from pclora_lab.data.cache import DataCache
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.replay import Replay
from pclora_lab.tasks.language.masked import MASKED_LANGUAGE_MODELING as TASK
from pclora_lab.tasks.registry import key_facts
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    (folder / "texts.txt").write_text("\n".join(small_texts()))
    return RunConfig(
        task="masked-language-modeling", data=str(folder / "texts.txt"),
        model=str(write_guesser(folder / "bert")), steps=6, batch_size=16, max_tokens=24,
        method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), teacher="finetune",
        teacher_steps=60, teacher_lr=5e-3, evaluations=2, snapshots=2, device="cpu",
        precision="float32",
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
    batches = TASK.batches(TASK.data(config, cache).test, preprocessing_of(finished.model))
    own = evaluate(TASK, finished.model, batches, batch_size=3)
    assert {key: result[key] for key in own} == own
    assert [*own] == ["pseudo_perplexity", "masked_token_accuracy"]
    # A teacher that has learned nothing has 90 pieces of words to choose from.
    assert 1 < result["teacher_pseudo_perplexity"] < 45
    assert result["task"] == "masked-language-modeling" and "perplexity" not in result


def test_the_model_is_saved_replayed_and_exported(finished, config, cache, tmp_path):
    run_dir = Path(finished.result["run_dir"])
    saved = from_pretrained(run_dir / "compressed")
    assert saved.get_output_embeddings().weight is saved.get_input_embeddings().weight
    again = TASK.load_model(str(run_dir / "compressed"), TASK.data(config, cache))
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        assert torch.equal(saved(ids).logits, again(ids).logits)
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 3])
    assert found.teacher.shape[0] == 2 and found.continuations is None
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    assert "pseudo-perplexity" in report and "top-1" not in report
    (plain,) = export_run(run_dir, tmp_path, ["standalone"])
    loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, saved(ids).logits, atol=1e-4, rtol=1e-4)
    assert "pipeline_tag: fill-mask" in (tmp_path / "README.md").read_text(encoding="utf8")


def test_hidden_tokens_alone_are_learned_and_compared():
    targets = torch.tensor([[-100, 2, -100], [1, -100, -100]])
    outputs = torch.randn(2, 3, 4, requires_grad=True)
    loss = TASK.loss(outputs, targets)
    shares = outputs.log_softmax(-1)
    torch.testing.assert_close(loss, -(shares[0, 1, 2] + shares[1, 0, 1]) / 2)
    loss.backward()
    assert (outputs.grad.abs().sum(-1) > 0).tolist() == (targets != -100).tolist()
    assert int(TASK.units(targets)) == 2
    other = torch.where((targets == -100)[..., None], outputs + 7 * torch.randn(2, 3, 4), outputs)
    both = (TASK.imitated(one, targets) for one in (outputs, other))
    assert TASK.imitation_loss(*both, 2.0).item() == pytest.approx(0, abs=1e-6)
    nothing = torch.full((1, 3), -100)
    assert TASK.loss(outputs[:1], nothing).item() == 0
    assert TASK.verdict(outputs[0], nothing[0], ()).text == "nothing hidden"
    own = math.exp(-shares[0, 1, 2].item())
    assert TASK.verdict(shares[0], targets[0], ()).text == f"ppl {own:,.1f}"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("vit_digits", "'vit_digits' reads images, but .* holds texts: take a BERT-like"),
        ("bert_glosses", "was saved as BertForSequenceClassification.*gives no words"),
        ("llama", "can't build as 'masked-language-model': it has .*language-model"),
    ],
)
def test_a_model_that_guesses_no_hidden_words_is_refused(model, reason, config, cache, tmp_path):
    name = str(write_speaker(tmp_path / "llama")) if model == "llama" else model
    with pytest.raises(ValueError, match=reason):
        TASK.load_model(name, TASK.data(config, cache))


def test_a_run_hides_the_same_when_it_is_run_again(config, cache, tmp_path):
    small = replace(config, steps=3, teacher="pretrained", snapshots=0, layer_metrics=False)
    ends = [[*execute(small, tmp_path / name, cache=cache)][-1] for name in ("a", "b")]
    keys = ("pseudo_perplexity", "masked_token_accuracy")
    assert [ends[0].result[key] for key in keys] == [ends[1].result[key] for key in keys]
    assert key_facts("masked-language-modeling") != key_facts("language-modeling")

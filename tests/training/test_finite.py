"""A run is finite from its model to its result, or it has not finished."""

import json
import math

import pytest
import torch
from torch import nn

from pclora_lab.cli.main import main
from pclora_lab.export.onnx import export_onnx
from pclora_lab.export.standalone import export_standalone
from pclora_lab.export.torch_export import export_torch_program
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.loading import load_model
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.runs.checkpoints import load_checkpoint, save_checkpoint
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import accuracy
from pclora_lab.training.masked_lm import learn_vocabulary, pretrain_masked, small_bert_config
from pclora_lab.training.optimizer import LossDiverged
from pclora_lab.training.state import Checkpoint

QUICK = {"steps": 1, "evaluations": 1, "eval_images": 16, "batch_size": 16, "device": "cpu"}
TRAINED = [name for name, method in METHODS.items() if method.trains]


@pytest.mark.parametrize("name", TRAINED)
def test_a_learning_rate_that_ends_in_nan_finishes_no_run(tmp_path, name):
    config = RunConfig(**QUICK, method=METHODS[name].default_config(), lr=1e30)
    with pytest.raises(LossDiverged, match="smaller learning rate than lr=1e"):
        list(execute(config, tmp_path, name="run"))
    run = load_run(tmp_path / "run")
    assert run.status == "failed" and run.result is None
    assert not list((tmp_path / "run").glob("checkpoint*"))


def test_on_the_command_line_it_is_an_error_and_the_files_hold_json(tmp_path, capsys):
    flags = ["--steps", "1", "--evaluations", "1", "--lr", "1e30", "--out", str(tmp_path)]
    assert main(["train", *flags, "--json"]) == 2
    printed = capsys.readouterr()
    assert "smaller learning rate" in printed.err and "Traceback" not in printed.err
    for file in tmp_path.rglob("*.json*"):
        for line in (
            file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        ):
            json.loads(line, parse_constant=pytest.fail)


def test_a_teacher_that_diverges_is_not_kept(tmp_path):
    config = RunConfig(**QUICK, teacher="finetune", teacher_steps=1, teacher_lr=1e30)
    with pytest.raises(LossDiverged, match="teacher_lr=1e"):
        list(execute(config, tmp_path))
    assert not list(tmp_path.glob("teachers/*/model.safetensors"))


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_model_with_one_odd_weight_is_neither_read_nor_saved_nor_exported(tmp_path, odd):
    model = load_model("vit_digits")
    folder = save_pretrained(model, tmp_path / "good")
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight[3, 4] = odd
    said = "blocks.1.mlp.fc1.weight of VisionTransformer holds values that are NaN or infinite"
    with pytest.raises(NotFinite, match=said):
        save_pretrained(model, folder)
    load_model(folder)  # is as it was
    exports = {"onnx": export_onnx, "pt2": export_torch_program, "plain": export_standalone}
    for name, export in exports.items():
        with pytest.raises(NotFinite, match=said):
            export(model, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


@pytest.mark.parametrize("name", ["svd", "pclora"])
def test_a_run_of_such_a_model_ends_before_its_first_step(tmp_path, monkeypatch, name):
    model = load_model("vit_digits")
    folder = save_pretrained(model, tmp_path / "model")
    from safetensors.torch import load_file

    from pclora_lab.models.weights import checksums_in
    from pclora_lab.tensor_files import save_tensors

    tensors = load_file(folder / "model.safetensors")
    tensors["norm.weight"][0] = math.inf
    save_tensors(folder / "model.safetensors", tensors)
    saved = json.loads((folder / "config.json").read_text())
    saved["checksums"] = checksums_in(folder)
    (folder / "config.json").write_text(json.dumps(saved))
    config = RunConfig(**QUICK, model=str(folder), method=METHODS[name].default_config())
    events = []
    with pytest.raises(NotFinite, match="norm.weight of VisionTransformer"):
        events.extend(execute(config, tmp_path / "runs"))
    assert not any(hasattr(event, "checkpoint") for event in events)


def test_logits_that_are_not_finite_have_no_accuracy():
    class Batches:
        def for_scoring(self, size, limit):
            yield [0, 1]

        def batch(self, indices, device):
            return torch.ones(2, 4), torch.zeros(2, dtype=torch.long)

    model = nn.Sequential(nn.Linear(4, 3))
    assert accuracy(model, Batches()) in (0.0, 0.5, 1.0)
    with torch.no_grad():
        model[0].weight.fill_(3e38)
    with pytest.raises(NotFinite, match="begins at 0, which overflows"):
        accuracy(model, Batches())


@pytest.mark.parametrize("name", ["trained/A", "exp_avg/A"])
def test_a_checkpoint_with_nan_replaces_no_good_one(tmp_path, name):
    tensors = {"trained/A": torch.ones(2), "exp_avg/A": torch.ones(2)}
    tensors["buffer/mask"] = torch.tensor([-math.inf])
    good = Checkpoint(1, "", (), False, 0, 1.0, 0.0, tensors)
    save_checkpoint(tmp_path, good)
    bad = {**tensors, name: torch.tensor([1.0, math.nan])}
    with pytest.raises(NotFinite, match=name):
        save_checkpoint(tmp_path, Checkpoint(2, "", (), False, 0, 1.0, 0.0, bad))
    assert load_checkpoint(tmp_path).step == 1


def test_masked_words_are_guessed_finitely_or_not_at_all():
    from transformers import BertForMaskedLM

    texts = ["a small text of some words", "another text"] * 4
    tokenizer = learn_vocabulary(texts, 60, 12)
    config = small_bert_config(len(tokenizer), width=8, depth=1, heads=1, max_tokens=12)
    model = BertForMaskedLM(config)
    with pytest.raises((LossDiverged, NotFinite), match="smaller"):
        list(pretrain_masked(model, tokenizer, texts, steps=3, batch_size=4, lr=1e30))

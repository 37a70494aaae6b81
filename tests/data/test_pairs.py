"""Pairs of texts are one example each: guessed, encoded, trained on, replayed and exported."""

import json

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from tiny_hf import write_model

from pclora_lab import from_pretrained, load_model
from pclora_lab.cli.main import main
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import Split, example_text
from pclora_lab.data.texts import TextPreprocessing, reads_token_types
from pclora_lab.runs.replay import Replay

ROWS = 120


def write(path, first="premise", second="hypothesis", **more):
    """The label says whether both texts are the same word, so that one of them says nothing."""
    words = np.random.default_rng(0).integers(5, 9, (ROWS, 2))
    texts = [[f"w{word} w{10 + row % 80}" for row, word in enumerate(column)] for column in words.T]
    table = {first: texts[0], second: texts[1], "label": words[:, 0] == words[:, 1], **more}
    pd.DataFrame(table).to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize(
    "names",
    [("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"),
     ("Premise", "Hypothesis"), ("text_a", "text_b"), ("question", "sentence")],
)  # fmt: skip
def test_obvious_pairs_are_guessed(tmp_path, names):
    data = load_data(write(tmp_path / "a.csv", *names, idx=range(ROWS)))
    assert data.content == names and data.is_paired and "pairs of texts" in data.summary()
    assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in data.train.examples)
    assert "1 not asked for (idx)" in str(data.account.columns)


def test_pairs_are_named_and_a_single_text_still_can_be(tmp_path):
    path = write(tmp_path / "a.csv", "left", "right")
    assert load_data(path).content in (("left",), ("right",))
    assert "1 not asked for" in str(load_data(path).account), "the other one is said"
    assert load_data(path, text_columns=("right", "left")).content == ("right", "left")
    pair = write(tmp_path / "b.csv")
    assert load_data(pair, text_column="premise").content == ("premise",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text_columns": ("premise", "nope")}, "no column 'nope'"),
        ({"text_columns": ("premise", "premise")}, "two different names"),
        ({"text_columns": ("premise",)}, "two different names"),
        ({"text_columns": "premise"}, "two different names"),
        ({"text_columns": ("premise", "label")}, "both label and text"),
        ({"text_columns": ("premise", "hypothesis"), "text_column": "premise"}, "not both"),
        ({"text_columns": ("premise", "hypothesis"), "image_column": "premise"}, "not both"),
    ],
)
def test_wrong_pairs_are_refused(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        load_data(write(tmp_path / "a.csv"), **given)


def test_a_row_that_lacks_one_of_both_is_left_out(tmp_path):
    hypotheses = [None if row == 3 else f"w{5 + row % 90}" for row in range(ROWS)]
    account = load_data(write(tmp_path / "a.csv", hypothesis=hypotheses)).account
    assert account.rows.used == ROWS - 1
    assert "without a text in column 'premise' or 'hypothesis'" in str(account)


@pytest.mark.parametrize(
    ("kind", "has_types"),
    [("bert", True), ("electra", True), ("distilbert", False), ("roberta", False)],
)
def test_token_types_go_to_the_models_that_tell_by_them(tmp_path, kind, has_types):
    extra = {"type_vocab_size": 1} if kind == "roberta" else {}
    model = load_model(str(write_model(tmp_path / kind, kind, **extra)))
    text = TextPreprocessing.of(model)
    assert text.token_types == has_types == reads_token_types(model)
    batch = text.encode([("w5 w6", "w7"), ("w5", "w6 w7 w8 w9")])
    assert ("token_type_ids" in batch) == has_types and batch["input_ids"].shape == (2, 5)
    if has_types:
        assert batch["token_type_ids"].tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 1, 1]]
    assert set(text.encode(["w5 w6"])) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        assert model(**batch).logits.isfinite().all()


def test_the_longer_text_of_a_pair_is_cut_and_counted(tmp_path):
    folder = str(write_model(tmp_path / "bert", "bert"))
    text = TextPreprocessing.of(load_model(folder, max_tokens=6))
    pairs = [(" ".join(["w5"] * 9), "w6 w7"), ("w8", "w9")]
    batches = text.batches(Split(pairs, np.array([0, 1])))
    assert batches.cut == 1 and batches.lengths.tolist() == [6, 2]
    numbers = text.tokenizer.convert_tokens_to_ids(["w6", "w7"])
    assert set(numbers) <= set(batches.ids[0].tolist()), "the shorter one is whole"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the command line over pairs, with a tiny model, and where it is."""
    folder = tmp_path_factory.mktemp("pairs")
    model = write_model(folder / "bert", "bert")
    path = write(folder / "pairs.csv", "left", "right")
    flags = f"--model {model} --data {path} --text-columns left,right --steps 6 --teacher-steps 6"
    flags += f" --rank 2 --evaluations 2 --batch-size 8 --snapshots 3 --out {folder / 'runs'}"
    assert main(["train", *flags.split(), "--device", "cpu", "--eval-images", "8"]) == 0
    return next((folder / "runs").glob("*/result.json")).parent


def test_a_run_trains_on_pairs_and_keeps_the_account(run):
    result = json.loads((run / "result.json").read_text())
    assert result["account"]["rows"]["used"] == ROWS and result["input"] == "text"
    assert json.loads((run / "config.json").read_text())["text_columns"] == ["left", "right"]


def test_its_examples_are_shown_as_pairs(run):
    replay = Replay(run)
    assert replay.predictions(replay.steps[-1], [0, 1]).student.isfinite().all()
    assert " ⇢ " in example_text(replay.raw[0])


@pytest.mark.slow
def test_its_exports_take_pairs(run, tmp_path, capsys):
    formats = ["--formats", "onnx", "--out", str(tmp_path / "out")]
    assert main(["export", str(run), *formats]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"rows: {ROWS} found, {ROWS} used" in card
    small = from_pretrained(run / "compressed")
    batch = TextPreprocessing.of(small).encode([("w5 w11", "w5 w12"), ("w6", "w7 w13 w14")])
    with torch.no_grad():
        wanted = small(**batch).logits
        swapped = small(**{**batch, "token_type_ids": 1 - batch["token_type_ids"]}).logits
    session = onnxruntime.InferenceSession(next((tmp_path / "out").rglob("*.onnx")))
    assert {one.name for one in session.get_inputs()} == set(batch)
    (got,) = session.run(None, {name: value.numpy() for name, value in batch.items()})
    assert np.abs(got - wanted.numpy()).max() < 1e-4 and not torch.allclose(wanted, swapped)

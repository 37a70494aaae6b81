"""Checkpoints that are nearly ours: other heads, other problems, other towers, parts missing."""

import json
from types import SimpleNamespace

import pytest
import torch
from tiny_hf import NAMES, altered, auto_class, config, seeded, write_model
from transformers import (
    BertForMultipleChoice,
    BertForTokenClassification,
    BertModel,
    CLIPModel,
    SiglipModel,
)

from pclora_lab import from_pretrained, save_pretrained
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.models.adapting import head_is_new, reset_head
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.nn.forward import as_inputs, call_model, try_inputs
from pclora_lab.nn.heads import classifier_names
from pclora_lab.training.config import RunConfig
from pclora_lab.training.loop import train
from pclora_lab.training.setup import load_dense


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "bert", "bert")


def altered_bert(bert, tmp_path, **changes):
    return altered(bert, tmp_path / "altered", **changes)


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_a_head_for_another_problem_is_refused_or_replaced(bert, tmp_path, problem):
    folder = altered_bert(bert, tmp_path, problem_type=problem)
    for wanted in (None, 3):
        with pytest.raises(ValueError, match=f"{problem.replace('_', ' ')}.*num_classes"):
            load_model(folder, num_classes=wanted)
    replaced = load_model(folder, num_classes=4)
    assert head_is_new(replaced) and replaced.config.problem_type is None


def test_one_output_is_a_regression(tmp_path):
    one = {"id2label": {0: "score"}, "label2id": {"score": 0}}
    folder = write_model(tmp_path / "one", "bert", **one)
    with pytest.raises(ValueError, match=r"regression \(num_labels 1"):
        load_model(folder)
    assert head_is_new(load_model(folder, num_classes=2))


@pytest.mark.parametrize("kind", [BertForTokenClassification, BertForMultipleChoice])
def test_a_head_of_another_task_is_never_taken_for_ours(tmp_path, kind):
    folder = write_model(tmp_path / "other", "bert", kind(config("bert")))
    first, same, other = (load_model(folder, generator=seeded(s)) for s in (0, 0, 1))
    assert head_is_new(first) and getattr(first, "pclora_class_names", None) is None
    assert torch.equal(first.classifier.weight, same.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize(("kind", "whole"), [("siglip", SiglipModel), ("clip", CLIPModel)])
def test_the_image_side_of_a_model_of_images_and_texts_becomes_a_classifier(tmp_path, kind, whole):
    made = whole(config(kind))
    folder = write_model(tmp_path / kind, kind, made)
    model = load_model(folder, task="image-classification", num_classes=4)
    assert head_is_new(model) and model.num_classes == 4
    own = dict(model.named_parameters())
    theirs = {n: p for n, p in made.named_parameters() if n.startswith("vision_model")}
    shared = own.keys() & theirs.keys()
    assert len(shared) > 20 and all(torch.equal(own[n], theirs[n]) for n in shared)


def test_a_classifier_of_clip_is_what_its_folder_says(tmp_path):
    model = load_model(write_model(tmp_path / "clip", "clip"))
    assert type(model).__name__ == "CLIPForImageClassification" and not head_is_new(model)


@pytest.mark.parametrize("kind", ["deit_distilled", "levit_distilled"])
def test_both_heads_of_a_distilled_model_are_heads(tmp_path, kind):
    model = load_model(write_model(tmp_path / kind, kind))
    assert len(classifier_names(model) & {n for n, _ in model.named_children()}) == 2
    reset_head(model, 5, seeded(0))
    inputs = as_inputs(try_inputs(model))
    assert call_model(model, inputs).shape == (2, 5)
    assert load_model(tmp_path / kind, num_classes=7).num_classes == 7


@pytest.mark.parametrize(
    ("kind", "positions", "wanted"),
    [("roberta", 16, 16), ("mpnet", 16, 16), ("longformer", 16, 16), ("xlm-roberta", 16, 16),
     ("bert", 16, 16), ("bart", 16, 16), ("xlnet", None, 300), ("t5", None, 300)],
)  # fmt: skip
def test_texts_may_be_as_long_as_there_are_positions(tmp_path, kind, positions, wanted):
    folder = write_model(tmp_path / kind, kind)
    model = load_model(folder, max_tokens=wanted)
    assert TextPreprocessing.of(model).max_tokens == wanted
    assert call_model(model, try_inputs(model)).isfinite().all()
    if positions is None:
        assert TextPreprocessing.of(load_model(folder)).max_tokens == 128
        return
    with pytest.raises(ValueError, match=f"{positions} positions"):
        load_model(folder, max_tokens=positions + 1)


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ({"0": "a", "1": "b", "2": "c"}, ("a", "b", "c")),
        ({"1": "a", "2": "b", "3": "c"}, None),
        ({"0": "a", "1": "a", "2": "b"}, None),
        ({"0": 5, "1": 6, "2": None}, ("5", "6", "None")),
    ],
    ids=["plain", "from_1", "twice", "no_texts"],
)
def test_names_of_classes_are_taken_where_they_say_which_output_they_mean(
    bert, tmp_path, names, known
):
    folder = altered_bert(bert, tmp_path, id2label=names)
    assert getattr(load_model(folder), "pclora_class_names", None) == known


@pytest.mark.parametrize("names", [{"a": 0, "b": 1}, ["a", "b", "c"], "abc", {"0": ["a"]}])
def test_names_of_classes_that_are_none_are_refused_or_left_out(bert, tmp_path, names):
    folder = altered_bert(bert, tmp_path, id2label=names)
    try:
        load_model(folder)
    except ValueError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("saved", [False, True], ids=["transformers", "ours"])
def test_a_configuration_without_weights_is_counted_and_not_trained(bert, tmp_path, saved):
    model = load_model(bert)
    source = save_pretrained(model, tmp_path / "saved") if saved else bert
    folder = altered(source, tmp_path / "only")
    (folder / "model.safetensors").unlink()
    described = describe_model(str(folder), num_classes=3)
    assert parameters(described) == parameters(model)
    with pytest.raises((ValueError, FileNotFoundError), match="model.safetensors"):
        load_model(folder)


def test_a_folder_is_described_by_its_own_configuration_whatever_its_name(bert, tmp_path):
    folder = altered(bert, tmp_path / "bert-base-uncased")
    assert parameters(describe_model(str(folder))) == parameters(load_model(bert))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_was_saved_comes_back_in_its_precision_and_is_trained_in_single(bert, tmp_path, dtype):
    model = load_model(bert).to(dtype)
    model.classifier.float()
    folder = save_pretrained(model, tmp_path / "saved")
    again, trained = from_pretrained(folder), load_model(folder)
    wanted = {name: p.dtype for name, p in model.named_parameters()}
    assert {name: p.dtype for name, p in again.named_parameters()} == wanted
    theirs = dict(again.named_parameters())
    assert all(torch.equal(theirs[name], p) for name, p in model.named_parameters())
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    half = None if dtype is torch.float32 else str(dtype).removeprefix("torch.")
    assert getattr(trained, "pclora_saved_in", None) == half


@pytest.mark.parametrize("name", ["mödel [v2]", "a b#c", "100%", "bert-base"])
def test_a_folder_of_any_name_is_read(bert, tmp_path, monkeypatch, name):
    folder = altered(bert, tmp_path / name)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for place in (folder, name, f"~/{name}", tmp_path / "link", f"local-dir:~/{name}"):
        assert load_model(place).pclora_class_names == NAMES
    home = save_pretrained(load_model(folder), f"~/saved {name}")
    assert home.is_relative_to(tmp_path) and from_pretrained(f"~/saved {name}").num_classes == 3


@pytest.mark.parametrize("name", ["/no/such", "./no/such", "~/no", "../no"])
def test_a_path_that_is_not_there_is_no_name_on_the_hub(name):
    with pytest.raises(ValueError, match="no such folder"):
        load_model(name)


def test_a_pair_of_encoders_is_no_classifier(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "clip", "clip", CLIPModel(config("clip")))
    values = json.loads((folder / "config.json").read_text())
    assert values["architectures"] == ["CLIPModel"]
    data = SimpleNamespace(num_classes=3, kind="image", class_names=NAMES)
    made = SimpleNamespace(pclora_recipe={"task": "image-text"})
    monkeypatch.setattr("pclora_lab.tasks.heads.load_model", lambda *_, **__: made)
    with pytest.raises(ValueError, match="without a classification head.*architectures"):
        load_dense(RunConfig(model=str(folder)), data)


def test_a_language_model_alone_is_refused_by_name(monkeypatch):
    data = SimpleNamespace(num_classes=3, kind="text", class_names=NAMES)
    made = SimpleNamespace(pclora_recipe={"task": "language-model"})
    monkeypatch.setattr("pclora_lab.tasks.heads.load_model", lambda *_, **__: made)
    with pytest.raises(ValueError, match="'some/llm' is a .*a language model without a classif"):
        load_dense(RunConfig(model="some/llm"), data)


def test_a_model_without_pooler_gets_one(tmp_path):
    body = BertModel(config("bert"), add_pooling_layer=False)
    folder = write_model(tmp_path / "body", "bert", body)
    first, same = (load_model(folder, generator=seeded(0)) for _ in range(2))
    assert torch.equal(first.bert.pooler.dense.weight, same.bert.pooler.dense.weight)


def test_a_model_that_reads_the_last_place_gets_its_texts_filled_up_at_the_beginning(tmp_path):
    model = load_model(write_model(tmp_path / "xlnet", "xlnet"))
    read = TextPreprocessing.of(model)
    texts = ["w5 w6 w7", "w8 w9 w10 w11 w12 w13"]
    together = read.encode(texts)
    assert together["attention_mask"][0].tolist() == [0] * 3 + [1] * 5
    with torch.no_grad():
        apart = torch.cat([call_model(model, read.encode([text])) for text in texts])
        torch.testing.assert_close(call_model(model, together), apart, atol=1e-5, rtol=1e-4)
    again = from_pretrained(save_pretrained(model, tmp_path / "saved"))
    assert TextPreprocessing.of(again).pad_left


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_tokenizer_that_does_not_end_a_text_is_refused_where_its_end_is_read(tmp_path, kind):
    folder = write_model(tmp_path / kind, kind)
    read = TextPreprocessing.of(load_model(folder))
    assert call_model(load_model(folder), read.encode(["w5", "w6 w7"])).shape == (2, 3)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "eos_token_id": 7}))
    with pytest.raises(ValueError, match="does not end a text with token 7 .'w7'.*put the token"):
        load_model(folder)


def test_a_run_says_that_half_precision_was_trained_in_single(tmp_path):
    half = auto_class("bert").from_config(config("bert")).bfloat16()
    folder = write_model(tmp_path / "half", "bert", half)
    assert load_model(folder).pclora_saved_in == "bfloat16"
    rows = [f"w{i % 9 + 5} w{i % 7 + 20},{NAMES[i % 3]}" for i in range(60)]
    (tmp_path / "data.csv").write_text("\n".join(["text,label", *rows]))
    settings = {"data": tmp_path / "data.csv", "steps": 2, "teacher_steps": 2, "batch_size": 8}
    made = RunConfig(model=str(folder), **settings, evaluations=1, method=PCLoRAConfig(rank=2),
                     max_left_out=1, max_overlap=1)  # fmt: skip
    *_, last = train(made, tmp_path / "runs")
    assert any("saved in bfloat16 and trained in float32" in note for note in last.result["notes"])

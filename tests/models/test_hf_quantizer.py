"""What is saved opens as itself, through every door of transformers, or not at all."""

import copy
import inspect
import json
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from tiny_hf import auto_class, batch, logits, opened, seeded, write_model
from transformers import (
    AutoConfig,
    AutoModel,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    pipeline,
)

from pclora_lab import compress, from_pretrained, get_pclora_model, load_model, save_pretrained
from pclora_lab.export.standalone import export_standalone
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import set_progress
from pclora_lab.methods.registry import METHODS, make_method, method_class
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.loading import describe_model
from pclora_lab.models.saved_layers import low_rank_layers
from pclora_lab.quiet import quiet

KINDS = ("bert", "distilbert", "roberta", "electra", "modernbert", "deberta-v2", "gpt2", "vit")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A dense folder of each kind, and one with a compressed model beside it, saved by hand."""
    root = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        dense = opened(kind, write_model(root / "dense" / kind, kind))
        SVD(SVDConfig(rank=2)).apply(dense).save_pretrained(write_model(root / kind, kind))
    return root


def cut(kind, folders):
    return SVD(SVDConfig(rank=2)).apply(opened(kind, folders / "dense" / kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_door_opens_what_save_pretrained_wrote(kind, folders, tmp_path):
    small, folder = cut(kind, folders), folders / kind
    with quiet():
        again = auto_class(kind).from_pretrained(folder)
        concrete = type(small).from_pretrained(folder)
        base = AutoModel.from_pretrained(folder)
    expected = logits(small, kind)
    assert torch.equal(logits(again, kind), expected) and not again.training
    assert torch.equal(logits(concrete, kind), expected)
    assert low_rank_layers(again).keys() == low_rank_layers(small).keys()
    with torch.no_grad():
        hidden = [m(**batch(kind)).last_hidden_state for m in (base, small.base_model)]
    assert torch.equal(*hidden)
    # Nothing is left of the way it came: it may be cast, trained and saved like any other.
    assert not hasattr(again, "hf_quantizer") and not hasattr(again.config, "quantization_config")
    again.save_pretrained(tmp_path / "again")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
    assert again.half().dtype == torch.float16


@pytest.mark.parametrize("kind", ["bert", "vit", "gpt2"])
def test_load_model_reads_a_folder_that_was_saved_by_hand(kind, folders):
    small, folder = cut(kind, folders), folders / kind
    loaded = load_model(folder)
    assert torch.equal(logits(loaded, kind), logits(small, kind)) and loaded.num_classes == 3
    assert torch.equal(logits(from_pretrained(folder), kind), logits(small, kind))
    described = describe_model(str(folder))
    assert low_rank_layers(described).keys() == low_rank_layers(small).keys()
    assert load_model(folder, num_classes=5).num_classes == 5


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_transformers_opens_what_this_package_saved(kind, folders, tmp_path):
    small = SVD(SVDConfig(rank=2)).apply(load_model(folders / "dense" / kind))
    folder = save_pretrained(small, tmp_path / "small")
    expected = logits(small, kind)
    assert torch.equal(logits(opened(kind, folder), kind), expected)
    loaded = from_pretrained(folder)
    assert torch.equal(logits(loaded, kind), expected)
    first, second = (json.loads(json.dumps(m.pclora_recipe)) for m in (small, loaded))
    assert first == second
    assert loaded.pclora_class_names == small.pclora_class_names
    assert torch.equal(logits(load_model(folder), kind), expected)
    assert low_rank_layers(describe_model(str(folder))).keys() == low_rank_layers(small).keys()


def test_a_pipeline_answers_as_the_model_does(folders):
    small = cut("bert", folders)
    with quiet():
        ask = pipeline("text-classification", model=str(folders / "bert"), top_k=None)
    scores = {answer["label"]: answer["score"] for answer in ask(["w7 w8 w9"])[0]}
    inputs = ask.tokenizer("w7 w8 w9", return_tensors="pt")
    with torch.no_grad():
        expected = small(**inputs).logits.softmax(-1)[0]
    found = [scores[name] for name in ("ant", "bee", "cat")]
    assert found == pytest.approx(expected.tolist(), rel=1e-5)


def test_another_head_takes_the_layers_and_a_head_of_its_own(folders):
    with quiet():
        tagger = BertForTokenClassification.from_pretrained(folders / "bert")
    small = cut("bert", folders)
    with torch.no_grad():
        first, second = (m.bert(**batch("bert")).last_hidden_state for m in (tagger, small))
    assert torch.equal(first, second)


# peft's own way to ask a model of transformers.
PEFT_ASKS = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@PEFT_ASKS
@pytest.mark.parametrize("name", [name for name in METHODS if name != "small"])
def test_whatever_a_method_makes_opens_as_itself_or_says_why_not(name, folders, tmp_path):
    dense = load_model(folders / "dense" / "bert")
    method = make_method(method_class(name).default_config()).with_budget(0.3)
    calibration = [batch("bert")] * 4
    context = MethodContext(calibration=calibration, generator=seeded(0), example=batch("bert"))
    student = method.apply(dense, context)
    method.set_progress(student, 1.0)
    small = method.finalize(student)
    small.save_pretrained(tmp_path / "small")
    assert torch.equal(logits(opened("bert", tmp_path / "small"), "bert"), logits(small, "bert"))
    student.save_pretrained(tmp_path / "student")
    if not (tmp_path / "student" / "config.json").is_file():
        return  # peft's adapters, which peft opens
    try:
        again = opened("bert", tmp_path / "student")
    except ValueError as error:
        assert "is a student in the middle of its training" in str(error)
    else:
        assert torch.equal(logits(again, "bert"), logits(student.eval(), "bert"))


def test_parts_and_copies_are_saved_as_what_they_are(folders, tmp_path):
    small = cut("bert", folders)
    small.bert.save_pretrained(tmp_path / "part")
    with quiet():
        part = AutoModel.from_pretrained(tmp_path / "part")
        whole = BertForSequenceClassification.from_pretrained(tmp_path / "part")
    with torch.no_grad():
        states = [m(**batch("bert")).last_hidden_state for m in (part, small.bert, whole.bert)]
    assert torch.equal(states[0], states[1]) and torch.equal(states[2], states[1])
    for number, other in enumerate((copy.deepcopy(small), copy.copy(small))):
        other.save_pretrained(tmp_path / str(number))
        again = opened("bert", tmp_path / str(number))
        assert torch.equal(logits(again, "bert"), logits(small, "bert"))


def test_fused_layers_that_were_taken_apart_come_back_apart(folders, tmp_path):
    small = SVD(SVDConfig(rank=2)).apply(load_model(folders / "dense" / "gpt2", split_qkv=True))
    small.save_pretrained(tmp_path / "small")
    again = opened("gpt2", tmp_path / "small")
    assert torch.equal(logits(again, "gpt2"), logits(small, "gpt2"))
    assert "transformer.h.0.attn.c_attn.q" in low_rank_layers(again)


def test_shards_and_one_file_take_each_others_place(folders, tmp_path):
    small, folder = cut("bert", folders), tmp_path / "small"
    for size in ("20KB", "50GB", "20KB"):
        small.save_pretrained(folder, max_shard_size=size)
        files = sorted(path.name for path in folder.glob("*.safetensors"))
        assert (files == ["model.safetensors"]) == (size == "50GB")
        assert (folder / "model.safetensors.index.json").exists() == (size != "50GB")
        for again in (opened("bert", folder), from_pretrained(folder)):
            assert torch.equal(logits(again, "bert"), logits(small, "bert"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_precision_of_every_tensor_is_kept(dtype, folders, tmp_path):
    small = cut("bert", folders).to(dtype)
    small.bert.encoder.layer[0].output.LayerNorm.float()
    small.bert.encoder.layer[1].output.dense.float()
    save_pretrained(
        SVD(SVDConfig(rank=2)).apply(load_model("vit_digits")).to(dtype), tmp_path / "v"
    )
    small.save_pretrained(tmp_path / "small")
    expected = {name: t for name, t in small.state_dict().items() if t.is_floating_point()}
    for again in (opened("bert", tmp_path / "small"), from_pretrained(tmp_path / "small")):
        state = again.state_dict()
        for name, tensor in expected.items():
            assert state[name].dtype == tensor.dtype, name
            assert torch.equal(state[name], tensor), name
    assert {p.dtype for p in from_pretrained(tmp_path / "v").parameters()} == {dtype}
    assert {p.dtype for p in load_model(tmp_path / "v").parameters()} == {torch.float32}
    wanted = opened("bert", tmp_path / "small", dtype=torch.float32)
    assert {p.dtype for p in wanted.parameters()} == {torch.float32}


def tampered(folder, target, change):
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    return target


KEY = "bert.encoder.layer.1.output.dense.down.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop(KEY),
        lambda state: state.update({KEY: torch.zeros(3, 64)}),
        lambda state: state.update({f"{KEY}2": state.pop(KEY)}),
        lambda state: state.update({f"{KEY}A": torch.zeros(1)}),
    ],
    ids=["missing", "shape", "renamed", "one too many"],
)
def test_a_tampered_tensor_is_refused_by_its_name(change, folders, tmp_path):
    folder = tampered(folders / "bert", tmp_path / "tampered", change)
    for door in (auto_class("bert").from_pretrained, from_pretrained, load_model):
        with pytest.raises(ValueError, match=rf"other weights than its config.json says: {KEY}"):
            door(folder)


def change_saved(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["quantization_config"] |= changes
    path.write_text(json.dumps(values))


def test_a_layer_that_is_not_there_is_refused_by_its_name(folders, tmp_path):
    folder = tampered(folders / "bert", tmp_path / "tampered", lambda state: None)
    change_saved(folder, ranks={"bert.encoder.layer.9.output.dense": 2})
    for door in (auto_class("bert").from_pretrained, from_pretrained, load_model):
        with pytest.raises(ValueError, match="names layer 'bert.encoder.layer.9.output.dense'"):
            door(folder)
    change_saved(folder, ranks={"bert.pooler.dense": "all"})
    with pytest.raises(ValueError, match="rank"):
        opened("bert", folder)


def test_weights_cut_in_half_are_refused_by_name(folders, tmp_path):
    folder = tampered(folders / "bert", tmp_path / "tampered", lambda state: None)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:999])
    for door in (auto_class("bert").from_pretrained, from_pretrained):
        with pytest.raises(ValueError, match="model.safetensors is damaged or cut short"):
            door(folder)


@PEFT_ASKS
def test_adapters_of_peft_find_their_compressed_base(folders, tmp_path):
    config = peft.LoraConfig(
        task_type="SEQ_CLS", target_modules=["pooler.dense"], init_lora_weights=False
    )
    base = opened("bert", folders / "bert")
    adapted = peft.get_peft_model(base, config).eval()
    adapted.save_pretrained(tmp_path / "adapters")
    with quiet():
        again = peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapters")
    assert torch.equal(logits(again.eval(), "bert"), logits(adapted, "bert"))


def test_what_goes_to_the_hub_is_what_is_saved(folders, tmp_path, monkeypatch):
    small, sent = cut("bert", folders), []
    push = lambda self, repo, **options: sent.append((repo, options))  # noqa: E731
    monkeypatch.setattr(type(small), "push_to_hub", push)
    small.save_pretrained(tmp_path / "s", push_to_hub=True, repo_id="me/small", private=True)
    small.save_pretrained(tmp_path / "t", push_to_hub=True)
    assert sent == [("me/small", {"private": True}), ("t", {})]
    assert torch.equal(logits(opened("bert", tmp_path / "s"), "bert"), logits(small, "bert"))
    with pytest.raises(ValueError, match="distributed_checkpoint=True does not"):
        small.save_pretrained(tmp_path / "u", distributed_checkpoint=True)
    assert not (tmp_path / "u").exists()


def test_a_compressed_model_is_trained_and_taken_up_in_a_trainer(folders, tmp_path):
    rows = {"input_ids": torch.randint(5, 90, (16, 9)).tolist(), "labels": [0, 1, 2, 0] * 4}
    settings = TrainingArguments(
        str(tmp_path), max_steps=2, save_steps=1, eval_strategy="steps", eval_steps=1,
        load_best_model_at_end=True, report_to=[], use_cpu=True, disable_tqdm=True,
        logging_strategy="no", learning_rate=1e-2,
    )  # fmt: skip
    table, ends = Dataset.from_dict(rows), []
    for start in (None, str(tmp_path / "checkpoint-1")):
        model = opened("bert", folders / "bert" if start is None else start)
        trainer = Trainer(model, settings, train_dataset=table, eval_dataset=table)
        trainer.train(resume_from_checkpoint=start)
        ends.append(logits(model.eval(), "bert"))
    assert torch.equal(*ends)
    best = opened("bert", trainer.state.best_model_checkpoint)
    assert torch.equal(logits(best, "bert"), ends[0])


def test_what_timm_or_an_export_wrote_is_refused_with_the_cure(tmp_path):
    digits = SVD(SVDConfig(rank=2)).apply(load_model("test_vit", pretrained=False, num_classes=3))
    export_standalone(digits, tmp_path / "alone")
    with pytest.raises(ValueError, match="is a standalone export, which the load.py in it loads"):
        load_model(tmp_path / "alone")
    save_for_hf(digits, str(tmp_path / "timm"), safe_serialization=True)
    with pytest.raises(ValueError, match=r"low-rank layer, blocks\.0\.attn\.proj, that its config"):
        load_model(tmp_path / "timm")


def test_a_model_of_ordinary_layers_is_saved_as_ever(folders, tmp_path):
    dense = opened("bert", folders / "dense" / "bert")
    dense.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense/config.json").read_text())
    assert AutoConfig.from_pretrained(folders / "bert").model_type == "bert"


ELSEWHERE = """
import json, sys, timm
from peft import AutoPeftModelForSequenceClassification
from transformers import (AutoModel, AutoModelForImageClassification, pipeline,
    AutoModelForSequenceClassification, BertForSequenceClassification, ViTForImageClassification)
doors = {
    "text": [AutoModel, AutoModelForSequenceClassification, BertForSequenceClassification,
             AutoPeftModelForSequenceClassification],
    "image": [AutoModelForImageClassification, ViTForImageClassification],
}
answers = []
for kind, folder in json.loads(sys.argv[1]):
    for door in doors[kind]:
        try:
            door.from_pretrained(folder)
        except Exception as error:
            answers.append([folder, door.__name__, f"{type(error).__name__}: {error}"])
        else:
            answers.append([folder, door.__name__, "opened"])
try:
    pipeline("text-classification", model=sys.argv[2])
except Exception as error:
    answers.append([sys.argv[2], "pipeline", f"{type(error).__name__}: {error}"])
try:
    timm.create_model("local-dir:" + sys.argv[3], pretrained=True)
except Exception as error:
    answers.append([sys.argv[3], "timm", f"{type(error).__name__}: {error}"])
assert "pclora_lab" not in sys.modules
import pclora_lab, torch
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[2])
assert "pclora_lab.training" not in sys.modules
timm.create_model("local-dir:" + sys.argv[3], pretrained=True)
logits = model(torch.tensor([[7, 8, 9]])).logits.tolist()
print(json.dumps([answers, logits]))
"""


def test_no_door_draws_new_weights_where_the_package_is_missing(folders, tmp_path):
    student = get_pclora_model(opened("bert", folders / "dense" / "bert"), PCLoRAConfig(rank=2))
    student.save_pretrained(tmp_path / "student")
    set_progress(student, 1.0)
    compress(student)
    bert = SVD(SVDConfig(rank=2)).apply(load_model(folders / "dense" / "bert"))
    digits = SVD(SVDConfig(rank=2)).apply(load_model("vit_digits"))
    save_pretrained(bert, tmp_path / "ours")
    save_pretrained(digits, tmp_path / "timm")
    export_standalone(bert, tmp_path / "alone")
    export_standalone(digits, tmp_path / "alone_timm")
    texts = [folders / "bert", *(tmp_path / name for name in ("student", "ours", "alone"))]
    images = [folders / "vit", tmp_path / "timm", tmp_path / "alone_timm"]
    cases = [("text", str(f)) for f in texts] + [("image", str(f)) for f in images]
    places = [str(folders / "bert"), str(tmp_path / "timm")]
    command = [sys.executable, "-c", ELSEWHERE, json.dumps(cases), *places]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    answers, seen = json.loads(done.stdout.splitlines()[-1])
    assert [answer for answer in answers if answer[2] == "opened"] == []
    assert len(answers) == 4 * len(texts) + 2 * len(images) + 2
    told = [answer for answer in answers if "Peft" not in answer[1]]
    reasons = ("Install pclora-lab", "the load.py beside it", "model_type")
    reasons += ("is a student in the", "Unknown model (pclora_lab)")
    assert [a for a in told if not any(reason in a[2] for reason in reasons)] == []
    # And once it is imported, the same process opens it.
    with torch.no_grad():
        again = cut("bert", folders)(torch.tensor([[7, 8, 9]])).logits.tolist()
    # Another process may add in another order.
    assert again[0] == pytest.approx(seen[0], rel=1e-4, abs=1e-6)


def test_transformers_own_help_still_says_how_a_model_is_saved():
    save = PreTrainedModel.save_pretrained
    assert save.__name__ == "save_pretrained" and "max_shard_size" in save.__doc__
    assert "max_shard_size" in inspect.signature(save).parameters

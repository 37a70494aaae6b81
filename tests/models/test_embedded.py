"""What is there without a network: embedded models and texts, shapes of well-known models."""

import json

import pytest
import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.data.loading import EMBEDDED_DATA, load_data
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.files import data_dir
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.models.embedded import EMBEDDED, EMBEDDED_VITS, build_vit, vit_classes, vit_options
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.nn.heads import draw_head
from pclora_lab.nn.patch_head import has_patch_head
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate

KINDS = "act animal artifact body communication food location person plant substance".split()
DATA = {
    "bert_glosses": "glosses", "vit_digits": "digits", "llama_glosses": "gloss_texts",
    "vit_scenes": "digit_scenes",
}  # fmt: skip


@pytest.fixture(scope="module")
def glosses():
    return load_data("glosses")


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_model_is_as_good_as_its_record_says(name):
    record = json.loads((data_dir(name) / "result.json").read_text())
    model = load_model(name)
    task, data = task_and_data(RunConfig(model=name, data=DATA[name]), DataCache())
    found = evaluate(task, model, task.batches(data.test, preprocessing_of(model)))
    for metric in task.metrics:
        assert abs(found[metric.key] - record[f"test_{metric.key}"]) <= 0.002
    assert sum(p.numel() for p in model.parameters()) == record["parameters"]


def test_the_text_model_is_small_and_complete(glosses):
    assert sum(p.stat().st_size for p in data_dir("bert_glosses").iterdir()) <= 4e6
    model = load_model("bert_glosses")
    assert sum(p.numel() for p in model.parameters()) == 857_386
    assert tuple(model.config.id2label.values()) == glosses.class_names
    assert not head_is_new(model) and not model.training
    read = TextPreprocessing.of(model).batches(glosses.test)
    assert read.cut < len(read) / 100, "nearly all texts are read to their end"


def test_the_language_model_is_small_and_classifies_where_classes_are_asked_for():
    assert sum(p.stat().st_size for p in data_dir("llama_glosses").iterdir()) <= 4e6
    model = load_model("llama_glosses")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(TextPreprocessing.of(model).tokenizer) == model.config.vocab_size == 2048
    assert load_model("llama_glosses", num_classes=3).num_classes == 3


def test_other_classes_give_the_text_model_a_new_head_only():
    own, other = load_model("bert_glosses"), load_model("bert_glosses", num_classes=3)
    assert head_is_new(other) and other.classifier.weight.shape == (3, 96)
    assert torch.equal(own.bert.pooler.dense.weight, other.bert.pooler.dense.weight)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_model_is_described_without_storage(name):
    described = describe_model(name)
    assert all(p.is_meta for p in described.parameters())
    shapes = {key: value.shape for key, value in load_model(name).state_dict().items()}
    assert {key: value.shape for key, value in described.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 65}, "max_tokens is 65.*64 positions"),
        ({"img_size": 8}, "'bert_glosses' is a transformers model.*leave img_size out"),
        ({"width": 48, "pretrained": False}, "'bert_glosses' can't be built narrower"),
    ],
)
def test_what_the_text_model_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_model("bert_glosses", **options)


@pytest.mark.parametrize(
    ("width", "reason"),
    [(-3, "width is -3: it must be"), (0, "3 heads, .* a width of 0"), (32, "3 heads, .* of 32")],
)
def test_a_width_that_the_heads_cannot_share_is_refused(width, reason):
    with pytest.raises(ValueError, match=reason):
        load_model("vit_digits", width=width, pretrained=False)


def test_the_embedded_texts_have_ten_classes_and_no_text_is_in_two_splits(glosses):
    parts = [glosses.train, glosses.validation, glosses.test]
    assert list(glosses.class_names) == KINDS and glosses.notes == ()
    assert [len(part) for part in parts] == [27_758, 3_470, 3_470]
    assert all(set(part.labels.tolist()) == set(range(10)) for part in parts)
    assert len({text for part in parts for text in part.examples}) == sum(map(len, parts))


def test_the_embedded_texts_carry_their_licence():
    license = (data_dir("glosses") / "LICENSE").read_text()
    assert "WordNet" in license and "Princeton" in license


def test_a_drawn_head_is_small_and_follows_the_generator():
    heads = [torch.nn.Linear(200, 50) for _ in range(3)]
    for head, seed in zip(heads, (0, 0, 1), strict=True):
        draw_head(head, torch.Generator().manual_seed(seed))
    first, same, other = (head.weight for head in heads)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert 0.019 < first.std() < 0.021 and not heads[0].bias.any()


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("bert-base-uncased", {"num_classes": 2}, 109_483_778),
        ("google-bert/bert-base-uncased", {"num_classes": 10}, 109_489_930),
        ("roberta-base", {"num_classes": 2}, 124_647_170),
        ("gpt2", {"task": "language-model"}, 124_439_808),
        ("vit-base-patch16-224", {"num_classes": 1000}, 86_567_656),
        ("openai/clip-vit-base-patch32", {}, 151_277_313),
    ],
)
def test_well_known_models_are_described_without_a_network_or_storage(name, options, parameters):
    described = describe_model(name, **options)
    assert sum(p.numel() for p in described.parameters()) == parameters
    assert all(p.is_meta for p in described.parameters())


def test_the_classes_are_named_where_the_head_is_the_one_that_was_saved():
    assert load_model("vit_digits").pclora_class_names == tuple("0123456789")
    for other in (load_model("vit_digits", num_classes=9), load_model("vit_digits", pretrained=0)):
        assert getattr(other, "pclora_class_names", None) is None


def test_the_embedded_vision_models_say_what_they_read():
    pixels = {"mean": (0.5,), "std": (0.5,), "interpolation": "bilinear", "crop_pct": 1.0}
    for name, side, classes in (("vit_digits", 8, 10), ("vit_scenes", 32, 11)):
        for model in (build_vit(name), build_vit(name, 3, side, 48)):
            assert model.pretrained_cfg == {
                "architecture": name, "input_size": (1, side, side), **pixels,
                "num_classes": classes, "classifier": "head",
            }  # fmt: skip
        assert (model.num_classes, model.embed_dim, len(model.blocks)) == (3, 48, 4)
        assert len(vit_classes(name)) == classes
    assert vit_options("vit_digits") == {
        "img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 96, "depth": 4, "num_heads": 3,
    }  # fmt: skip
    assert vit_options("vit_scenes", 48)["embed_dim"] == 48
    assert vit_options("vit_scenes")["embed_dim"] == 96


@pytest.mark.parametrize("name", EMBEDDED_VITS)
@pytest.mark.parametrize("width", [-3, 0, 1, 4])
def test_a_width_is_a_multiple_of_the_heads(width, name):
    with pytest.raises(ValueError, match=f"3 heads, which can't share a width of {width}: use a"):
        build_vit(name, width=width)
    assert build_vit(name, width=3).embed_dim == 3


def test_all_embedded_data_are_there_for_a_task():
    read = {task_and_data(RunConfig(data=name), DataCache())[1].name for name in EMBEDDED_DATA}
    assert read == {*EMBEDDED_DATA} >= {*DATA.values()}


def test_the_segmenter_is_small_and_answers_for_every_pixel():
    assert (data_dir("vit_scenes") / "model.safetensors").stat().st_size <= 2e6
    model = load_model("vit_scenes")
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 11, 32, 32) and not head_is_new(model)
    assert model.pclora_class_names == vit_classes("vit_scenes")
    assert preprocessing_of(model).crop_mode == "squash"


def test_other_classes_give_the_segmenter_a_new_head_as_fine_as_its_own():
    own, other = load_model("vit_scenes"), load_model("vit_scenes", num_classes=3)
    assert head_is_new(other) and getattr(other, "pclora_class_names", None) is None
    assert has_patch_head(other) and other.head.detail == own.head.detail == 2
    assert other(torch.zeros(1, 1, 32, 32)).shape == (1, 3, 32, 32)
    assert torch.equal(own.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)

"""Which of transformers' classes a configuration is built as, and whose head is new."""

import pytest
import torch
from tiny import tiny
from tiny_hf import config
from torch import nn
from transformers import AutoConfig

from pclora_lab.models import hf_models
from pclora_lab.models.heads.of_transformers import name_classes, reset_hf_head
from pclora_lab.models.hf_models import HF_TASKS, hf_task, load_hf, set_hf_recipe


@pytest.mark.parametrize(
    ("kind", "saved_as", "task"),
    [
        ("bert", [], "text-classification"),
        ("vit", [], "image-classification"),
        ("clip", [], "image-text"),
        ("clip", ["CLIPModel"], "image-text"),
        ("clip", ["CLIPForImageClassification"], "image-classification"),
        ("gpt2", ["GPT2LMHeadModel"], "text-classification"),
        ("deit", ["DeiTForImageClassificationWithTeacher"], "image-classification"),
        ("perceiver", ["PerceiverForImageClassificationLearned"], "image-classification"),
        ("perceiver", [], "text-classification"),
        ("codegen", [], "language-model"),
    ],
)
def test_a_type_is_a_classifier_where_it_can_be_and_what_it_was_saved_as(kind, saved_as, task):
    made = AutoConfig.for_model(kind)
    made.architectures = saved_as
    assert hf_models._usual_task(made, "a model") == task


def test_a_type_that_is_none_of_these_is_named():
    made = AutoConfig.for_model("wav2vec2")
    with pytest.raises(
        ValueError, match="'a model' is of type 'wav2vec2', which transformers can't"
    ):
        hf_models._usual_task(made, "a model")


@pytest.mark.parametrize("task", HF_TASKS)
def test_a_recipe_names_a_task_and_a_type_that_are_known(task):
    assert hf_task({"task": task, "config": {"model_type": "bert"}}) is HF_TASKS[task]
    for wrong in ({"task": "odd"}, {"config": {"model_type": "odd"}}, {"config": {}}):
        recipe = {"task": task, "config": {"model_type": "bert"}, **wrong}
        with pytest.raises(ValueError, match="update it, or pass model="):
            hf_task(recipe)


class Rows(nn.Module):
    """Two rows of layers, one of them inside of its base model."""

    base_model_prefix = "base"

    def __init__(self):
        super().__init__()
        self.base = nn.Module()
        self.base.layers = nn.ModuleList([nn.Linear(1, 1)])
        self.blocks = nn.ModuleList([nn.Linear(1, 1)])


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        ("blocks.7.weight", True),
        ("base.layers.7.attn.3.weight", True),
        ("layers.7.weight", True),
        ("text.layers.7.weight", False),
        ("head.weight", False),
        ("blocks.weight", False),
    ],
)
def test_a_tensor_is_of_a_layer_where_the_model_has_such_a_row(key, is_one):
    assert hf_models._is_layer_of(key, Rows()) is is_one


def test_a_new_head_is_drawn_where_the_old_one_stood_and_the_configuration_knows():
    for bias in (True, False):
        model = tiny("bert")
        model.classifier.bias = model.classifier.bias if bias else None
        reset_hf_head(model, 5, torch.Generator().manual_seed(0))
        assert model.classifier.out_features == model.num_classes == model.config.num_labels == 5
        assert (model.classifier.bias is not None) is bias and model.classifier.in_features == 32
        assert len(model.pclora_recipe["config"]["id2label"]) == 5
    name_classes(model, ("a", "b", "c", "d", "e"))
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    assert model.pclora_recipe["config"]["id2label"] == dict(enumerate("abcde"))


def test_a_saved_recipe_is_a_copy_and_its_head_is_the_saved_one():
    recipe = {"num_classes": None, "config": {"a": 1}}
    model = set_hf_recipe(nn.Linear(1, 1), recipe)
    assert not hasattr(model, "num_classes") and not hasattr(model, "pretrained_cfg")
    assert model.pclora_head_is_new is False
    recipe["config"]["a"] = 2
    assert model.pclora_recipe["config"]["a"] == 1
    model = set_hf_recipe(model, {"num_classes": 4, "preprocessing": {"mean": [0.5]}})
    assert model.num_classes == 4 and model.pretrained_cfg == {"mean": [0.5]}


@pytest.mark.parametrize("architectures", ["BertModel", {"a": 1}])
def test_architectures_are_a_list(architectures, monkeypatch):
    made = config("bert")
    made.architectures = architectures
    monkeypatch.setattr(hf_models, "config_of", lambda name, weights: made)
    with pytest.raises(ValueError, match="config.json of 'a model': architectures must be a list"):
        load_hf("a model")


def test_an_untrained_model_of_a_type_says_nothing_of_a_file(monkeypatch):
    made = config("bert", dtype="float16")
    monkeypatch.setattr(hf_models, "config_of", lambda name, weights: made)
    model = load_hf("config:bert", pretrained=False)
    assert model.pclora_head_is_new and getattr(model, "pclora_saved_in", None) is None
    assert getattr(model, "pclora_class_names", None) is None and not model.training
    assert not hasattr(model, "pclora_text") and model.pclora_recipe["tokens"] == 16
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    other = load_hf("config:bert", pretrained=False, num_classes=3, tokens=7)
    assert other.num_classes == 3 and other.pclora_recipe["tokens"] == 7

"""What is read of a transformers configuration, and what is said where none can be had."""

import httpx
import pytest
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError
from torch import nn
from transformers import BertConfig, CLIPConfig, GPT2Config, T5Config

from pclora_lab.models.hf_config import (
    config_in,
    config_of,
    is_hf_name,
    named_classes,
    plain_errors,
    refuse_code,
    refuse_other_tasks,
    resolve_tokens,
    safe_config,
    saved_for_another_task,
)

NAMES = {
    "owner/name": True, "config:bert": True, "bert-base": True, "bert-base-uncased": True,
    "gpt2": True, "electra-small-discriminator": True, "roberta-base": True,
    "no-such-model": False, "bert_glosses": False, "bert": False, "timm/vit": False,
    "hf-hub:owner/name": False, "local-dir:a/b": False, "a/b/c": False, "plain": False,
}  # fmt: skip


@pytest.mark.parametrize(("name", "is_theirs"), NAMES.items())
def test_a_name_is_transformers_where_it_can_be_no_other(name, is_theirs):
    assert is_hf_name(name) is is_theirs


def test_a_well_known_configuration_is_there_without_its_weights_only():
    assert config_of("owner/gpt2", weights=False).model_type == "gpt2"
    assert config_of("config:gpt2").vocab_size == GPT2Config().vocab_size
    with pytest.raises(ConnectionError, match="'gpt2' is not on this machine"):
        config_of("gpt2")
    with pytest.raises(ValueError, match="unknown model type 'gpt22'"):
        config_of("config:gpt22")


def test_only_a_model_of_transformers_has_a_configuration_of_theirs():
    model = nn.Linear(1, 1)
    for found in (None, {"model_type": "bert"}):
        model.config = found
        with pytest.raises(ValueError, match="Linear is not transformers': it has no config"):
            config_in(model)
    model.config = BertConfig()
    assert config_in(model) is model.config


REFUSED = {
    "auto_map": ({"AutoModel": "code.Model"}, "code of its own"),
    "custom_pipelines": ({"x": {}}, "code of its own"),
    "_attn_implementation": ("someone/kernel", "asks for _attn_implementation 'someone/kernel'"),
    "attn_implementation": ("someone/kernel", "asks for attn_implementation 'someone/kernel'"),
    "quantization_config": ({"quant_method": "gptq"}, "is quantized"),
}
KEPT = {
    "auto_map": {}, "custom_pipelines": None, "_attn_implementation": "eager",
    "attn_implementation": "sdpa", "quantization_config": {"quant_method": "pclora_lab"},
}  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
def test_code_kernels_and_packed_weights_are_refused_each_alone(key):
    value, message = REFUSED[key]
    refuse_code(KEPT, "a model")
    with pytest.raises(ValueError, match=f"'a model' .*{message}"):
        refuse_code({**KEPT, key: value}, "a model")


def test_packed_weights_of_no_known_form_are_refused_too():
    with pytest.raises(ValueError, match="is quantized"):
        refuse_code({"quantization_config": "pclora_lab"}, "a model")


CHOICE = 'or write "problem_type": "single_label_classification"'


@pytest.mark.parametrize(
    ("labels", "problem", "wanted", "refused"),
    [
        (1, None, None, "trained for regression .num_labels 1, problem_type None"),
        (1, None, 1, "trained for regression"),
        (2, "regression", 2, "trained for regression .num_labels 2, problem_type 'regression'"),
        (2, "multi_label_classification", None, "trained for multi label classification"),
        (1, None, 3, None),
        (2, "regression", 3, None),
        (2, None, None, None),
        (2, "single_label_classification", 2, None),
    ],
)
def test_a_head_that_chooses_no_class_is_refused_unless_it_is_replaced(
    labels, problem, wanted, refused
):
    config = BertConfig(num_labels=labels, problem_type=problem)
    if refused is None:
        refuse_other_tasks(config, wanted, "a model")
        kept = wanted in (None, labels)
        assert config.problem_type == (problem if kept else None)
        return
    with pytest.raises(ValueError, match=refused) as error:
        refuse_other_tasks(config, wanted, "a model")
    assert (CHOICE in str(error.value)) == (labels > 1), "one output chooses nothing"


@pytest.mark.parametrize(
    ("architectures", "is_other"),
    [
        (None, False),
        ([], False),
        (["BertModel"], False),
        (["BertForSequenceClassification"], False),
        (["ViTForImageClassificationWithTeacher"], False),
        (["DeiTForMaskedImageModeling", "DeiTForImageClassification"], False),
        (["BertForMaskedLM"], True),
        (["BertModel", "BertForTokenClassification"], True),
    ],
)
def test_which_heads_are_for_whole_texts_and_images(architectures, is_other):
    assert saved_for_another_task(BertConfig(architectures=architectures)) is is_other


def test_no_place_and_no_code_is_kept_of_a_configuration():
    config = BertConfig(name_or_path="/home", auto_map={"a": "b"}, hidden_size=24, dtype="float16")
    config.transformers_weights = "a file"
    found = safe_config(config)
    assert found["hidden_size"] == 24 and found["model_type"] == "bert"
    assert not found.keys() & {"_name_or_path", "auto_map", "dtype", "transformers_weights"}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({0: "a", 1: "b"}, ("a", "b")),
        ({1: "b", 0: "a"}, ("a", "b")),
        ({0: "LABEL_0", 1: "LABEL_1"}, None),
        ({0: "LABEL_0", 1: "b"}, ("LABEL_0", "b")),
        ({0: "a", 2: "b"}, None),
        ({0: "a", 1: "a"}, None),
    ],
)
def test_names_of_classes_are_those_that_somebody_gave(labels, names):
    assert named_classes(BertConfig(id2label=labels)) == names


class Positions(nn.Module):
    """A model with a table of positions, and one of a decoder behind it."""

    def __init__(self, config, padding):
        super().__init__()
        self.config = config
        self.words = nn.Embedding(9, 2, padding_idx=4)
        self.position_embeddings = nn.Embedding(40, 2, padding_idx=padding)
        self.decoder = nn.Module()
        self.decoder.position_embeddings = nn.Embedding(40, 2, padding_idx=padding)


@pytest.mark.parametrize(
    ("positions", "padding", "most"),
    [(40, None, 40), (40, 1, 38), (40, 0, 39), (300, None, 128), (128, None, 128), (129, 0, 128)],
)
def test_the_longest_text_is_the_usual_one_or_all_the_room_there_is(positions, padding, most):
    model = Positions(BertConfig(max_position_embeddings=positions), padding)
    room = positions - (0 if padding is None else padding + 1)
    assert resolve_tokens(model, None) == most
    assert resolve_tokens(model, room) == room and resolve_tokens(model, 3) == 3
    with pytest.raises(ValueError, match=f"max_tokens is {room + 1}, but bert here has {room} pos"):
        resolve_tokens(model, room + 1)


def test_a_model_without_end_takes_any_text_and_one_of_two_sides_has_its_texts():
    model = nn.Module()
    model.config = T5Config()
    assert resolve_tokens(model, None) == 128 and resolve_tokens(model, 10**4) == 10**4
    model.config = CLIPConfig(text_config={"max_position_embeddings": 12})
    assert resolve_tokens(model, None) == 12


ANSWER = httpx.Response(404, request=httpx.Request("GET", "https://hub"))
MISSING = RepositoryNotFoundError("no", response=ANSWER)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (SafetensorError("bad header"), ValueError, r"weights of 'x' .*bad header.*damaged or cut"),
        (MISSING, ValueError, "unknown model 'x': the hub has no such model$"),
        (HFValidationError("bad"), ValueError, "unknown model 'x': the hub has no such model$"),
        (caused(OSError("no"), MISSING), ValueError, "no such model, or it is private$"),
        (OSError("no model.safetensors"), ValueError, "'x' has no safetensors weights: pickled"),
        (OSError("no network"), ConnectionError, "'x' is not on this machine.*.no network"),
        *((kind("odd"), ValueError, "^'x' can't be loaded: .?odd") for kind in (
            ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, AssertionError,
            RuntimeError, ImportError)),
    ],
)  # fmt: skip
def test_whatever_can_not_be_had_is_said_in_plain_words(error, kind, message):
    with pytest.raises(kind, match=message) as told, plain_errors("x"):
        raise error
    assert told.value.__cause__ is error and type(told.value) is kind


def test_a_stop_by_hand_is_no_error_of_a_model():
    with pytest.raises(KeyboardInterrupt), plain_errors("x"):
        raise KeyboardInterrupt

"""Which task a model is for, and what it says when it is asked for another one."""

import pytest
import torch
from tiny_hf import config, write_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from pclora_lab import load_model, save_pretrained
from pclora_lab.models.hf.heads import refuse_other_heads, require_causal
from pclora_lab.models.loading import describe_model

CLASSES = {
    "classifier": AutoModelForSequenceClassification,
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind of BERT and GPT-2, as transformers saves it."""
    place, made = tmp_path_factory.mktemp("heads"), {}
    for kind, heads in (("bert", CLASSES), ("gpt2", ("classifier", "causal"))):
        for head in heads:
            torch.manual_seed(0)
            model = CLASSES[head].from_config(config(kind))
            for parameter in model.parameters():
                parameter.data.normal_(std=0.2)
            made[kind, head] = write_model(place / f"{kind}-{head}", kind, model)
    return made


@pytest.mark.parametrize(
    ("saved", "task", "words"),
    [
        (("bert", "classifier"), "masked-language-model",
         "was saved as BertForSequenceClassification.*task is 'masked-language-model'"),
        (("gpt2", "classifier"), "language-model",
         "was saved as GPT2ForSequenceClassification.*its head gives no words. Leave task out"),
        (("gpt2", "causal"), "masked-language-model",
         "'gpt2', which .* can't build as 'masked-.*': it has text-clas.*, language-model"),
        (("gpt2", "causal"), "image-classification", "can't build as 'image-classification'"),
        (("bert", "masked"), "language-model",
         "as a BertLMHeadModel reads a text in both directions.*task='masked-language-model'"),
    ],
)  # fmt: skip
def test_a_head_that_does_not_fit_is_refused_by_what_it_is(folders, saved, task, words):
    with pytest.raises(ValueError, match=words):
        load_model(folders[saved], task=task)


def test_plans_say_the_same_as_models(folders):
    with pytest.raises(ValueError, match="its head gives no words"):
        describe_model(str(folders["gpt2", "classifier"]), task="language-model")


@pytest.mark.parametrize("saved", [("bert", "masked"), ("gpt2", "causal")])
def test_a_language_model_becomes_a_classifier_by_a_new_head(folders, saved):
    model = load_model(folders[saved], num_classes=5)
    assert model.pclora_head_is_new and model.num_classes == 5
    assert type(model).__name__.endswith("ForSequenceClassification")


def test_a_masked_model_is_transformers_own_and_its_head_is_tied(folders, tmp_path):
    model = load_model(folders["bert", "masked"], task="masked-language-model")
    theirs = AutoModelForMaskedLM.from_pretrained(folders["bert", "masked"]).eval()
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, theirs(ids).logits)
    again = load_model(save_pretrained(model, tmp_path / "saved"))
    for one in (model, again):
        words = one.get_input_embeddings().weight
        assert one.get_output_embeddings().weight is words
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    assert again.pclora_recipe["task"] == "masked-language-model"
    assert again.pclora_text.tokenizer.get_vocab() == model.pclora_text.tokenizer.get_vocab()


def test_what_was_saved_speaks_for_itself(folders, tmp_path):
    saved = save_pretrained(
        load_model(folders["gpt2", "causal"], task="language-model"), tmp_path / "saved"
    )
    assert load_model(saved, task="language-model").pclora_recipe["task"] == "language-model"
    with pytest.raises(ValueError, match="saved as 'language-model', and task is 'text-class"):
        load_model(saved, task="text-classification")
    with pytest.raises(ValueError, match="'language-model', which has no classes, and 3 are"):
        load_model(saved, num_classes=3)


def test_a_decoder_of_a_type_that_usually_is_none_is_causal():
    made = config("bert", is_decoder=True)
    require_causal(AutoModelForCausalLM.from_config(made), "a model")
    with torch.device("meta"):  # nothing to be seen there
        require_causal(AutoModelForCausalLM.from_config(config("bert")), "a model")


@pytest.mark.parametrize("kind", ["xlnet", "bert", "roberta", "electra"])
def test_a_model_that_sees_what_it_guesses_is_no_causal_one(kind):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(kind)).eval()
    with pytest.raises(ValueError, match="reads a text in both directions"):
        require_causal(model, "a model")


def test_a_task_of_another_package_is_nothing_that_is_known_here():
    refuse_other_heads(config("bert"), "image-text", "a model")
    made = config("bert")
    made.architectures = [7, "BertForPreTraining"]
    refuse_other_heads(made, "masked-language-model", "a model")

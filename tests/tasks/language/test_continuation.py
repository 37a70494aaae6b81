"""How a model goes on: the same tokens as transformers' own greedy search, and what is shown."""

import pytest
import torch
from speakers import write_speaker

from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import call_model
from pclora_lab.plots.examples.spoken import continuation_html
from pclora_lab.tasks.language.continuation import continue_texts, continue_tokens
from pclora_lab.tasks.outputs import Continuation


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request, tmp_path_factory):
    folder = write_speaker(tmp_path_factory.mktemp("speaker"), request.param)
    return load_model(folder, task="language-model")


def test_it_is_the_greedy_search_of_transformers(model):
    prompts = ["a small tree", "an old", "a house made of stone"]
    found = continue_texts(model, prompts, tokens=8)
    tokenizer = TextPreprocessing.of(model).tokenizer
    for said, prompt in zip(found, prompts, strict=True):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        wanted = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=2)[0]
        text = tokenizer.decode(wanted, skip_special_tokens=True).removeprefix(" ")
        assert said.prompt == prompt and said.prompt + said.text == text
        assert said.is_ended == (tokenizer.eos_token_id in wanted[ids.shape[1] :])


def test_each_token_has_the_probability_that_the_model_gave(model):
    tokenizer = TextPreprocessing.of(model).tokenizer
    ids = tokenizer("a round bird")["input_ids"]
    [said] = continue_tokens(model, [ids], tokens=3)
    with torch.no_grad():
        for share in said.probabilities:
            logits = call_model(model, {"input_ids": torch.tensor([ids])})[0, -1]
            assert share == pytest.approx(logits.softmax(-1).max().item(), rel=1e-4)
            ids = [*ids, int(logits.argmax())]


def test_a_text_stops_where_the_model_ends_it_or_has_no_room(model, monkeypatch):
    [long] = continue_texts(model, ["a"], tokens=1000)
    tokens = TextPreprocessing.of(model).tokenizer("a")["input_ids"]
    assert len(long.tokens) <= 48 - len(tokens)
    [said] = continue_tokens(model, [tokens], tokens=4)
    last = int(model(torch.tensor([tokens])).logits[0, -1].argmax())
    monkeypatch.setattr(TextPreprocessing.of(model).tokenizer, "_special_tokens_map", {
        **TextPreprocessing.of(model).tokenizer._special_tokens_map,
        "eos_token": TextPreprocessing.of(model).tokenizer.convert_ids_to_tokens(last),
    })  # fmt: skip
    [ended] = continue_tokens(model, [tokens], tokens=4)
    assert ended.is_ended and not ended.tokens and not said.is_ended


def test_a_prompt_without_a_token_is_refused(model):
    with pytest.raises(ValueError, match="prompt 1 has no token: give a word to begin with"):
        continue_tokens(model, [[3], []])
    assert continue_tokens(model, []) == []


def test_nothing_of_a_text_is_markup():
    said = Continuation("<b>a", ("<script>", "&"), (1.0, 0.0), is_ended=True)
    found = continuation_html(said)
    assert "<script" not in found and "<b>" not in found
    assert "&lt;script&gt;" in found and 'title="100%"' in found and "0.00)" in found
    assert found.endswith(" ∎") and said.text == "<script>&"

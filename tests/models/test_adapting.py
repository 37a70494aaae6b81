"""A head is for certain classes in a certain order; as many others need a new one."""

import json

import pandas as pd
import pytest
import torch

from pclora_lab import from_pretrained, load_data, load_model
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.models.adapting import head_is_new, head_matches, reset_head
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import RunEnd
from pclora_lab.training.loop import train

KINDS = ("act", "animal", "artifact", "body", "communication", "food", "location", "person",
         "plant", "substance")  # fmt: skip


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (KINDS, True),
        (tuple(name.title() for name in KINDS), True),
        (tuple(map(str, range(10))), True),
        (KINDS[::-1], False),
        ((*KINDS[:9], "toy"), False),
        (KINDS[:9], False),
    ],
    ids=["same", "capitals", "numbers", "another_order", "another_class", "fewer"],
)
def test_names_and_their_order_decide(names, fits):
    assert head_matches(load_model("bert_glosses"), names) is fits


def test_a_model_without_names_is_taken_at_its_count(vit):
    assert head_matches(vit, ("a", "b", "c", "d", "e")) and not head_matches(vit, ("a", "b"))


@pytest.mark.parametrize("name", ["vit_digits", "bert_glosses"])
def test_a_new_head_is_new_and_follows_its_generator(name):
    def head(seed):
        model = load_model(name)
        before = torch.get_rng_state()
        reset_head(model, 10, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before), "the global one is the caller's"
        assert head_is_new(model) and head_matches(model, ("x",) * 10)
        return (model.head if name == "vit_digits" else model.classifier).weight

    assert torch.equal(head(1), head(1)) and not torch.equal(head(1), head(2))


def test_as_many_other_classes_get_a_teacher_of_their_own(tmp_path):
    data = load_data("glosses").validation
    other = {
        "text": data.examples[:300],
        "label": [f"{9 - n}-{KINDS[n]}" for n in data.labels[:300]],
    }
    pd.DataFrame(other).to_csv(tmp_path / "mine.csv", index=False)
    config = RunConfig(
        model="bert_glosses", data=tmp_path / "mine.csv", steps=2, teacher_steps=60,
        batch_size=16, evaluations=1, method=PCLoRAConfig(rank=4, init="svd"), teacher_lr=2e-3,
    )  # fmt: skip
    events = list(train(config, tmp_path / "runs"))
    assert any(getattr(event, "phase", "") == "teacher" for event in events), "it was not taught"
    finished = events[-1]
    assert isinstance(finished, RunEnd)
    # The old head, read in another order, is right in 7% of the cases.
    assert finished.result["teacher_accuracy"] > 0.4
    names = sorted(set(other["label"]))
    assert list(finished.model.config.id2label.values()) == names == finished.result["class_names"]
    from pclora_lab import save_pretrained

    folder = save_pretrained(finished.model, tmp_path / "small")
    saved = json.loads((folder / "config.json").read_text())
    assert list(saved["id2label"].values()) == names
    assert saved["quantization_config"]["class_names"] == names
    assert from_pretrained(folder).config.id2label[0] == names[0]

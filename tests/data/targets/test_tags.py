"""Tags of words: how tables write them, and which piece of a word carries one."""

import copy

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_hf import tokenizer

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.targets.drawn import gloss_typos
from pclora_lab.data.targets.tag_batches import TagBatches
from pclora_lab.data.targets.tags import UNTAGGED, load_tags
from pclora_lab.data.targets.words import Words, first_pieces
from pclora_lab.data.texts import TextPreprocessing

ROWS = 90
SENTENCES = [("Ann", "sleeps"), ("New", "York", "sleeps"), ("it", "rains")]
TAGS = [["B-PER", "O"], ["B-LOC", "I-LOC", "O"], ["O", "O"]]


def words(row):
    return [f"{word}{row}" for word in SENTENCES[row % 3]]


def table(tags=lambda row: TAGS[row % 3], text=words, feature=None, **columns):
    values = {
        "tokens": [text(row) for row in range(ROWS)],
        "ner_tags": [tags(r) for r in range(ROWS)],
    }
    made = datasets.Dataset.from_dict(values | columns)
    return made if feature is None else made.cast_column("ner_tags", feature)


def together(data):
    return {
        str(text): [data.class_names[tag] if tag >= 0 else None for tag in tags.tolist()]
        for split in (data.train, data.validation, data.test)
        for text, tags in zip(split.examples, split.targets, strict=True)
    }


WANTED = {" ".join(words(row)): TAGS[row % 3] for row in range(ROWS)}


def test_lists_of_words_and_tags():
    found = load_tags(table())
    assert found.class_names == ("O", "B-LOC", "I-LOC", "B-PER") and together(found) == WANTED
    assert found.targets == "tags" and found.content == ("tokens",)
    names = ["O", "B-PER", "B-LOC", "I-LOC"]
    numbers = table(lambda row: [names.index(tag) for tag in TAGS[row % 3]],
                    feature=datasets.List(datasets.ClassLabel(names=names)))  # fmt: skip
    found = load_tags(numbers)
    assert found.class_names == tuple(names) and together(found) == WANTED


def test_texts_with_as_many_tags_as_words():
    frame = pd.DataFrame({"text": [" ".join(words(row)) for row in range(ROWS)]})
    frame["label"] = [" ".join(TAGS[row % 3]) for row in range(ROWS)]
    assert together(load_tags(frame)) == WANTED
    with pytest.raises(DataError, match="token-level labels.*set task to token-class") as error:
        load_data(frame)
    assert error.value.task == "token-classification"


def test_rows_whose_tags_do_not_fit_are_counted():
    def odd(row):
        return {4: ["O"], 7: [], 10: ["O", None, -100]}.get(row, TAGS[row % 3])

    as_text = [[None if t is None else str(t) for t in odd(row)] for row in range(ROWS)]
    found = load_tags(table(lambda row: as_text[row]), max_left_out=0.05)
    account = str(found.account)
    assert "1 without tags (row 7" in account
    assert "1 with another number of tags than words (row 4" in account
    assert together(found)[" ".join(words(10))] == ["O", None, None]
    test = {"tokens": [[f"new{row}", "b"] for row in range(ROWS)], "ner_tags": [["O", "O"]] * ROWS}
    test["ner_tags"][3] = ["B-GOD", "O"]
    found = load_tags(
        {"train": table(), "test": datasets.Dataset.from_dict(test)}, max_left_out=0.1
    )
    assert "1 with tags that train does not have: ['B-GOD'], of test (row 3" in str(found.account)
    with pytest.raises(DataError, match="has 1 tag: two or more are needed"):
        load_tags(table(lambda row: ["O"] * len(words(row))))


def test_what_has_no_tags_is_refused():
    with pytest.raises(DataError, match="no column of tags found.*pass label_column"):
        load_tags(pd.DataFrame({"text": ["a b"] * ROWS}))
    with pytest.raises(DataError, match="tags are of the words of one text"):
        load_tags(table(), image_column="tokens")
    with pytest.raises(DataError, match="glosses has no tags for its examples.*gloss_typos"):
        load_tags("glosses")


def test_the_task_is_told_where_classes_are_asked_for():
    for made in (table(), table().rename_column("ner_tags", "labels"), "gloss_typos"):
        with pytest.raises(DataError, match="set task to token-classification") as error:
            load_data(made)
        assert error.value.task == "token-classification"


def test_words_are_a_text_and_a_copy_is_the_same():
    text = Words(["New York", "", "sleeps"])
    assert text == "New York  sleeps" and [text[a:b] for a, b in text.spans()] == [*text.words]
    again = copy.deepcopy(text)
    assert again == text and again.words == text.words


@pytest.mark.parametrize(
    ("pieces", "first"),
    [
        ([(0, 0), (0, 3), (4, 6), (6, 8), (9, 10), (0, 0)], [1, 2, 4]),
        ([(0, 3), (3, 8), (8, 10)], [0, 1, 2]),  # blanks belong to the piece behind them
        ([(0, 8), (9, 10)], [0, -1, 1]),  # a piece of two words is the first one's
        ([(0, 1), (0, 1), (1, 3)], [0, -1, -1]),  # a character in two pieces, then a cut
        ([], [-1, -1, -1]),
    ],
)
def test_the_first_piece_of_a_word(pieces, first):
    assert first_pieces(Words(["abc", "defg", "h"]).spans(), pieces) == first


def preprocessing(pad_left=False, tokens=12):
    return TextPreprocessing(tokenizer(), tokens, pad_left=pad_left)


def test_tags_stand_at_first_pieces_and_move_with_padding():
    texts = [Words(["w7", "w8w9", "w10"]), Words(["w11"])]
    split = datasets_split(texts, [[1, 2, 1], [2]])
    batches = TagBatches(split, preprocessing())
    inputs, tags = batches.batch(torch.tensor([0, 1]))
    assert inputs["input_ids"].shape == tags.shape
    for row, (text, wanted) in enumerate(zip(texts, [[1, 2, 1], [2]], strict=True)):
        assert tags[row][tags[row] != UNTAGGED].tolist() == wanted, text
        assert tags[row, 0] == UNTAGGED, "the first token is the tokenizer's own"
    left = TagBatches(split, preprocessing(pad_left=True)).batch(torch.tensor([0, 1]))[1]
    assert left[1, -2] == 2 and tags[1, 1] == 2
    rows = slice(1, None, 2)
    part_inputs, part = batches.part(torch.tensor([0, 1]), rows)
    assert torch.equal(part, tags[rows]) and part_inputs["input_ids"].shape == part.shape
    assert torch.equal(batches.begun(torch.tensor([1, 0]))(None)[1], tags.flip(0))


def test_words_behind_the_cut_are_counted():
    texts = [Words([f"w{5 + i}" for i in range(20)]), Words(["w9"])]
    batches = TagBatches(datasets_split(texts, [[1] * 20, [0]]), preprocessing(tokens=8))
    assert batches.lost == 14 and batches.cut == 1
    assert any("14 tagged words of train" in note for note in batches.notes("train"))


def datasets_split(texts, tags):
    from pclora_lab.data.splits import Split

    return Split(texts, np.zeros(len(texts)), targets=[np.array(row) for row in tags])


def test_a_slip_swaps_two_letters_and_is_tagged():
    found, glosses = gloss_typos(), load_data("glosses")
    assert found.fingerprint() == gloss_typos().fingerprint() != gloss_typos(1).fingerprint()
    slips = 0
    for text, tags, gloss in zip(
        found.test.examples, found.test.targets, glosses.test.examples, strict=False
    ):
        for word, right, tag in zip(text.words, gloss.split(), tags.tolist(), strict=True):
            assert sorted(word) == sorted(right) and word[0] == right[0]
            assert (word != right) == bool(tag)
            slips += tag
    assert 200 < slips < 1000

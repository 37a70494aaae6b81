"""Texts in splits that do not overlap, and as batches: padded, drawn by length, cut, counted."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from light import imported_without
from records import assert_fixed
from tiny_hf import seeded, tokenizer, write_model

from pclora_lab.data import texts as module
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import Split
from pclora_lab.data.texts import TextBatches, TextPreprocessing, by_length, reads_token_types
from pclora_lab.models.loading import load_model

WRITERS = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    ".parquet": lambda table, path: table.to_parquet(path),
}


def sentences(lengths) -> list[str]:
    """Texts of so many words; with the special tokens each is two longer."""
    return [" ".join(f"w{5 + (row + i) % 90}" for i in range(n)) for row, n in enumerate(lengths)]


def texts(lengths, max_tokens: int = 32) -> TextBatches:
    labels = np.arange(len(lengths)) % 3
    return TextPreprocessing(tokenizer(), max_tokens).batches(Split(sentences(lengths), labels))


def random_lengths(count: int) -> torch.Tensor:
    return torch.randint(3, 60, (count,), generator=seeded(7))


def test_a_batch_is_as_long_as_its_longest_text_and_padded_on_the_right():
    made = texts([1, 4, 2, 9])
    inputs, labels = made.batch(torch.tensor([2, 0, 1]))
    assert inputs["input_ids"].tolist() == [
        [2, 7, 8, 3, 0, 0],
        [2, 5, 3, 0, 0, 0],
        [2, 6, 7, 8, 9, 3],
    ]
    assert inputs["attention_mask"].tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
    ]
    assert labels.tolist() == [2, 0, 1]
    assert made.lengths.tolist() == [3, 6, 4, 11]


def test_encoding_texts_and_batching_a_split_give_the_same():
    made = texts([3, 1, 5])
    encoded = made.preprocessing.encode(made.split.examples)
    inputs = made.inputs(torch.arange(3))
    assert all(torch.equal(encoded[name], inputs[name]) for name in encoded | inputs)


@pytest.mark.parametrize(
    ("max_tokens", "cut", "lengths"),
    [(32, 0, [3, 8, 12]), (12, 0, [3, 8, 12]), (11, 1, [3, 8, 11]), (5, 2, [3, 5, 5])],
)
def test_longer_texts_are_cut_and_counted_special_tokens_included(max_tokens, cut, lengths):
    made = texts([1, 6, 10], max_tokens)
    assert (made.cut, made.lengths.tolist()) == (cut, lengths)
    assert all(ids[-1] == 3 for ids in made.ids), "a cut text ends with its end token all the same"


@pytest.mark.parametrize(("rows", "batch_size"), [(100, 10), (103, 10), (1234, 8), (7, 7)])
def test_an_epoch_has_every_row_at_most_once_in_full_batches(rows, batch_size):
    batches = list(by_length(random_lengths(rows), batch_size, seeded(0)))
    seen = torch.cat(batches).tolist()
    assert {len(batch) for batch in batches} == {batch_size}
    assert len(seen) == len(set(seen)) == rows - rows % batch_size


def test_no_row_is_left_out_in_every_epoch():
    rows, draw = 100, seeded(0)
    lengths, seen = random_lengths(rows), set()
    for _ in range(30):
        seen |= set(torch.cat(list(by_length(lengths, 64, draw))).tolist())
    assert seen == set(range(rows))


def test_the_generator_decides_the_order():
    def order(seed: int) -> list[int]:
        return torch.cat(list(by_length(random_lengths(200), 8, seeded(seed)))).tolist()

    assert order(0) == order(0) != order(1)


def test_texts_of_one_length_meet_others_in_every_epoch():
    lengths, draw = torch.full((100,), 5), seeded(0)
    first, second = (
        {frozenset(batch.tolist()) for batch in by_length(lengths, 10, draw)} for _ in range(2)
    )
    assert first != second


def test_batches_of_like_length_have_less_padding_than_random_ones():
    lengths = random_lengths(2000)

    def padding(batches) -> float:
        kept = [lengths[batch] for batch in batches]
        return sum(float((part.max() - part).sum()) for part in kept)

    shuffled = torch.randperm(2000, generator=seeded(0)).split(16)
    assert padding(by_length(lengths, 16, seeded(0))) < 0.2 * padding(shuffled)


def test_batches_of_like_length_come_in_random_order():
    lengths = random_lengths(400)
    firsts = [int(lengths[batch].max()) for batch in by_length(lengths, 8, seeded(0))]
    assert firsts != sorted(firsts)


def test_training_batches_go_on_epoch_after_epoch():
    made = texts([1, 2, 3, 4, 5, 6])
    drawn = made.shuffled(4, seeded(0))
    assert [len(next(drawn)) for _ in range(5)] == [4] * 5
    assert len(next(made.shuffled(100, seeded(0)))) == 6, "a batch is at most the split"


@pytest.mark.parametrize("limit", [None, 5, 99])
def test_scoring_reads_every_row_once_and_the_shortest_first(limit):
    made = texts([9, 1, 4, 7, 2, 8, 3, 6, 5, 1, 1])
    rows = torch.cat(list(made.for_scoring(3, limit)))
    assert sorted(rows.tolist()) == made._indices(limit).tolist()
    assert len(set(rows.tolist())) == (5 if limit == 5 else 11)
    assert made.lengths[rows].diff().min() >= 0


def test_copies_share_the_tokenizer(tmp_path):
    model = load_model(str(write_model(tmp_path / "bert", "bert")))
    preprocessing = TextPreprocessing.of(model)
    assert copy.deepcopy(preprocessing) is preprocessing
    assert TextPreprocessing.of(copy.deepcopy(model)) is preprocessing


def test_a_model_without_a_tokenizer_says_so():
    with pytest.raises(ValueError, match="Linear came without a tokenizer.*tokenizer.json"):
        TextPreprocessing.of(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("kind", "room"), [("bert", 16), ("distilbert", 16), ("roberta", 16), ("gpt2", 16)]
)
def test_a_model_reads_as_many_tokens_as_it_has_positions_and_no_more(tmp_path, kind, room):
    folder = str(write_model(tmp_path / kind, kind))
    model = load_model(folder)
    made = TextPreprocessing.of(model).batches(Split(sentences([30, 2]), np.array([0, 1])))
    assert (made.cut, int(made.lengths.max())) == (1, room)
    with torch.no_grad():
        assert model(**made.inputs(torch.arange(2))).logits.isfinite().all()
    short = TextPreprocessing.of(load_model(folder, max_tokens=4))
    assert short.encode(sentences([30]))["input_ids"].shape == (1, 4)
    with pytest.raises(ValueError, match=f"max_tokens is {room + 1}.*{room} positions"):
        load_model(folder, max_tokens=room + 1)


def write_splits(folder, suffix: str = ".parquet", **labels) -> str:
    """One file of 40 texts for every split, with these labels; None stands for no such column."""
    folder.mkdir()
    for name, values in labels.items():
        table = pd.DataFrame({"text": [f"{name} {row}" for row in range(40)], "label": values})
        if values is None:
            table = table[["text"]]
        WRITERS[suffix](table, folder / f"{name}{suffix}")
    return str(folder)


def parts(data) -> list[set[str]]:
    return [set(split.examples) for split in (data.train, data.validation, data.test)]


def outside(path, values: list[int]) -> str:
    """A table with two named classes whose file holds other numbers as well."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["ham", "spam"])})
    texts = [f"text {row}" for row in range(40)]
    Dataset.from_dict({"text": texts, "label": [0] * 40}, features=features).to_parquet(path)
    table = pq.read_table(path)
    changed = table.set_column(1, table.schema.field("label"), pa.array(values, pa.int64()))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    return str(path)


def test_a_test_and_a_validation_split_are_made_where_there_are_none_and_that_is_said(tmp_path):
    data = load_data(write_splits(tmp_path / "a", train=[0, 1] * 20))
    assert [len(part) for part in parts(data)] == [28, 4, 8]
    assert len(set.union(*parts(data))) == 40, "no text is in two splits"
    said = " ".join(data.notes)
    assert "no test split: a fifth" in said and "no validation split: a tenth" in said


def test_a_text_that_a_table_repeats_is_in_one_split_only(tmp_path):
    made = pd.DataFrame({"text": [f"text {row % 50}" for row in range(200)], "label": [0, 1] * 100})
    made.to_csv(tmp_path / "a.csv", index=False)
    train, validation, test = parts(load_data(str(tmp_path / "a.csv")))
    assert not (train & validation or train & test or validation & test)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("labels", [[-1] * 40, None], ids=["minus_one", "no_column"])
def test_an_unlabeled_test_split_is_left_out_and_validation_reported(tmp_path, labels, suffix):
    splits = {"train": [0, 1] * 20, "validation": [1, 0] * 20, "test": labels}
    data = load_data(write_splits(tmp_path / "a", suffix, **splits))
    train, validation, test = parts(data)
    assert test == {f"validation {row}" for row in range(40)}
    assert train | validation == {f"train {row}" for row in range(40)} and not train & validation
    assert data.class_names == ("0", "1")
    said = " ".join(data.notes)
    assert "the split test has no labels" in said and "the validation split is reported" in said


@pytest.mark.parametrize("wrong", [2, 7, -1])
def test_numbers_outside_the_named_classes_are_refused(tmp_path, wrong):
    values = [0, 1] * 20
    assert load_data(outside(tmp_path / "right.parquet", values)).class_names == ("ham", "spam")
    path = outside(tmp_path / "a.parquet", [*values[:-3], wrong, wrong, 1])
    outside_them = rf"outside the 2 classes \(0 to 1\), such as {wrong}"
    reason = "without a label" if wrong == -1 else outside_them
    with pytest.raises(ValueError, match=rf"2 of 40 rows.*: 2 .*{reason} \(row 37"):
        load_data(path)


PAIRS = [("w5 w6", "w7"), ("w8", "w9 w10 w11")]


def test_a_model_that_reads_at_the_last_place_is_filled_up_at_the_beginning():
    made = TextPreprocessing(tokenizer(pad=2), 32, pad_left=True)
    batch = made.encode(["w5", "w5 w6 w7"])
    assert batch["input_ids"][0, :2].tolist() == [2, 2], "the padding's own number"
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    right = TextPreprocessing(tokenizer(pad=2), 32).encode(["w5", "w5 w6 w7"])
    assert right["input_ids"][0, 3:].tolist() == [2, 2]
    assert right["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_token_types_are_made_of_pairs_for_models_that_read_them_only():
    assert set(TextPreprocessing(tokenizer(), 32, True).encode(["w5"])) == {
        "input_ids", "attention_mask"
    }  # fmt: skip
    assert TextPreprocessing(tokenizer(), 32).token_ids(PAIRS).types is None
    assert TextPreprocessing(tokenizer(), 32, True).token_ids([]).types is None
    made = TextPreprocessing(tokenizer(), 32, True)
    batch = made.encode(PAIRS)
    assert batch["token_type_ids"].shape == batch["input_ids"].shape
    left = dataclasses.replace(made, pad_left=True).encode(PAIRS)
    lengths = batch["attention_mask"].sum(1)
    for row, length in enumerate(lengths.tolist()):
        tokens = batch["token_type_ids"][row, :length]
        assert torch.equal(
            left["token_type_ids"][row, len(left["token_type_ids"][row]) - length :], tokens
        )
        assert not batch["token_type_ids"][row, length:].any()


@pytest.mark.parametrize("examples", [sentences([1, 9, 2, 30, 5, 7, 40]), PAIRS * 4])
def test_texts_are_made_in_parts_that_nobody_sees(monkeypatch, examples):
    made = TextPreprocessing(tokenizer(), 8, True)
    whole = made.token_ids(examples)
    monkeypatch.setattr(module, "_CHUNK", 3)
    parts = made.token_ids(examples)
    assert parts.cut == whole.cut and (parts.types is None) == (whole.types is None)
    assert [one.tolist() for one in parts.ids] == [one.tolist() for one in whole.ids]
    if whole.types is not None:
        assert [one.tolist() for one in parts.types] == [one.tolist() for one in whole.types]
    else:
        assert whole.cut == 4, "of more than six words"
    assert all(one.dtype is torch.long and one.is_cpu for one in parts.ids)


class Slow:
    """A tokenizer in Python: no rules to read, and nothing is told of what was cut."""

    pad_token_id, special_tokens_map, padding_side = 0, {"pad_token": "x"}, "right"
    backend_tokenizer = None

    def __init__(self, **vocabulary: int) -> None:
        self.vocabulary, self.reads = vocabulary, 0

    def get_vocab(self) -> dict[str, int]:
        self.reads += 1
        return self.vocabulary

    def __call__(self, texts, **options):
        ids = [[self.vocabulary[word] for word in text.split()] for text in texts]
        return Encoded(input_ids=ids)


class Encoded(dict):
    encodings = None


class Other(Slow):
    """The same words, by another class."""


def test_a_slow_tokenizer_is_taken_too():
    made = TextPreprocessing(Slow(a=1, b=2), 8)
    found = made.token_ids(["a b", "b"])
    assert [one.tolist() for one in found.ids] == [[1, 2], [2]] and found.cut == 0
    assert made.facts()["class"] == "Slow" and made.facts()["rules"] == {"a": 1, "b": 2}
    assert "class" not in TextPreprocessing(tokenizer(), 8).facts(), "its rules say all"


def test_everything_that_changes_the_numbers_changes_the_hash():
    own = Slow(a=1, b=2)
    made = TextPreprocessing(own, 8)
    first = made.fingerprint()
    changed = [
        TextPreprocessing(own, 9), TextPreprocessing(own, 8, True),
        TextPreprocessing(own, 8, pad_left=True), TextPreprocessing(Slow(a=1, b=3), 8),
        TextPreprocessing(Other(a=1, b=2), 8), TextPreprocessing(tokenizer(), 8),
        TextPreprocessing(tokenizer(pad=1), 8),
    ]  # fmt: skip
    assert len({first, *(other.fingerprint() for other in changed)}) == 1 + len(changed)
    assert TextPreprocessing(Slow(a=1, b=2), 8).fingerprint() == first == made.fingerprint()
    reads = own.reads
    made.fingerprint()
    assert own.reads == reads, "the vocabulary is read once"


def test_what_a_tokenizer_was_last_asked_for_is_no_part_of_it():
    own = tokenizer()
    before = TextPreprocessing(own, 8).facts()
    own(["w5 w6 w7"], truncation=True, max_length=4, padding="max_length")
    after = TextPreprocessing(own, 8).facts()
    assert before == after and TextPreprocessing(tokenizer(), 8).facts() == after
    assert {"max_tokens", "token_types", "pad_left", "padding_side", "rules", "special"} <= set(
        after
    )
    assert not {"truncation", "padding"} & set(after["rules"]) and json.dumps(after)


@pytest.mark.parametrize(
    ("takes", "config", "reads"),
    [
        (True, None, True), (True, SimpleNamespace(), True), (False, None, False),
        (True, SimpleNamespace(type_vocab_size=2), True),
        (True, SimpleNamespace(type_vocab_size=1), False),
        (True, SimpleNamespace(type_vocab_size=0), False),
        (False, SimpleNamespace(type_vocab_size=2), False),
    ],
)  # fmt: skip
def test_a_model_reads_token_types_that_takes_them_and_has_more_than_one(takes, config, reads):
    class Takes(torch.nn.Module):
        def forward(self, input_ids, token_type_ids=None): ...

    class Not(torch.nn.Module):
        def forward(self, input_ids): ...

    model = Takes() if takes else Not()
    if config is not None:
        model.config = config
    assert reads_token_types(model) is reads


def test_a_mask_is_given_only_where_a_text_is_padded():
    made = texts([3, 3, 4])
    assert set(made.inputs(torch.tensor([0, 1]))) == {"input_ids"}
    assert set(made.inputs(torch.tensor([0, 2]))) == {"input_ids", "attention_mask"}
    assert made.inputs(torch.tensor([0]), "meta")["input_ids"].is_meta


def test_texts_are_tokenized_when_they_are_first_asked_for_and_once(monkeypatch):
    made, calls = texts([1, 2]), []
    own = TextPreprocessing.token_ids
    monkeypatch.setattr(TextPreprocessing, "token_ids", lambda *args: calls.append(1) or own(*args))
    assert not made.takes_work and len(made) == 2 and calls == []
    assert (made.cut, made.lengths.tolist(), len(made.ids)) == (0, [3, 4], 2)
    made.batch(torch.arange(2))
    assert calls == [1]


def test_pools_are_of_fifty_batches_and_only_they_are_sorted():
    lengths = torch.arange(300)
    batches = list(by_length(lengths, 2, seeded(0)))
    drawn = torch.randperm(300, generator=seeded(0))
    pools = [set(pool.tolist()) for pool in drawn.split(100)]
    for batch in batches:
        [pool] = [pool for pool in pools if set(batch.tolist()) <= pool]
        ranks = sorted(pool)
        first = ranks.index(int(batch[0]))
        assert first % 2 == 0 and ranks[first + 1] == int(batch[1]), "neighbors in length"


def test_a_default_device_of_the_callers_is_not_that_of_the_texts():
    with torch.device("meta"):
        made = texts([1, 2, 3])
        assert made.labels.is_cpu and made.lengths.is_cpu and made.ids[0].is_cpu
        drawn = next(made.shuffled(2, torch.Generator(device="cpu")))
        assert drawn.is_cpu and made.inputs(drawn)["input_ids"].is_cpu


def test_who_imports_the_texts_pays_for_no_transformers():
    assert imported_without("pclora_lab.data.texts", "transformers").TextBatches


def test_what_a_model_expects_and_what_was_made_can_not_be_changed():
    made = TextPreprocessing(tokenizer(), 8)
    assert_fixed(made, made.token_ids(["w5"]))

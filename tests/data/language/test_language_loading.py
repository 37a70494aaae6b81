"""Texts without labels: tables, text files and folders; each row that is not used is counted."""

import pandas as pd
import pytest
from speakers import small_texts

from pclora_lab.data.account import DataError
from pclora_lab.data.cache import DataCache
from pclora_lab.data.language.files import documents_in
from pclora_lab.data.language.loading import load_texts
from pclora_lab.data.loading import load_data
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.language.causal import LANGUAGE_MODELING
from pclora_lab.training.config import RunConfig

TEXTS = small_texts()


def lengths(data):
    return [len(split) for split in (data.train, data.validation, data.test)]


def test_a_column_of_texts_needs_no_labels_and_ignores_those_there_are():
    frame = pd.DataFrame({"text": TEXTS, "label": [0, 1] * 40})
    labeled, plain = load_texts(frame), load_texts(frame[["text"]])
    assert labeled.train.examples == plain.train.examples and lengths(plain) == [57, 7, 16]
    assert labeled.num_classes == 0 and not labeled.train.labels.any()
    assert "1 left out: 1 not asked for (label)" in str(labeled.account)
    assert "classes" not in labeled.summary()
    assert len(load_texts("gloss_texts").train) == len(load_data("glosses").train)


def test_a_file_holds_documents_between_empty_lines_or_one_a_line(tmp_path):
    paragraphs, lines = tmp_path / "a.txt", tmp_path / "b.txt"
    paragraphs.write_text("\n\n".join(f"{text}\nand more" for text in TEXTS))
    lines.write_text("\n".join(TEXTS))
    found = load_texts(paragraphs)
    assert sum(lengths(found)) == 80 and found.train.examples[0].endswith("\nand more")
    assert sum(lengths(load_texts(lines))) == 80
    assert documents_in("one\n \t\ntwo\n\n\n\n") == ["one", "two"]


def test_a_folder_of_files_is_a_document_each_but_for_whole_splits(tmp_path):
    for number, text in enumerate(TEXTS):
        place = tmp_path / "each" / ("test" if number < 12 else "train") / "kind"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(f"{text}\n\nsecond paragraph of {number}")
    (tmp_path / "each" / "empty.txt").touch()
    (tmp_path / "each" / "notes.md").write_text("read me")
    found = load_texts(tmp_path / "each")
    assert len(found.test) == 12 and sum(lengths(found)) == 80
    assert "82 found, 80 used" in str(found.account.files)
    (tmp_path / "whole").mkdir()
    for name, part in (("train", TEXTS[:50]), ("valid", TEXTS[50:65]), ("test", TEXTS[65:])):
        (tmp_path / "whole" / f"{name}.txt").write_text("\n".join(part))
    assert lengths(load_texts(tmp_path / "whole")) == [50, 15, 15]


def test_empty_documents_are_counted_and_never_too_many():
    found = load_texts(pd.DataFrame({"text": [*TEXTS, *["", "  "] * 40]}))
    assert sum(lengths(found)) == 80
    assert "80 left out: 80 without a character (row 80 first)" in str(found.account)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([*TEXTS, None, None], {}, "2 of 82 rows .* without a text in column 'text' .*max_left"),
        (TEXTS, {"label_column": "text"}, "takes no labels: leave label_column out, or set task"),
        (TEXTS, {"text_column": "body"}, "no column 'body': it has text"),
        (TEXTS, {"image_column": "text"}, "one column of texts: name it with text_column"),
        (TEXTS, {"text_columns": ("a", "b")}, "one column of texts: name it with text_column"),
        (TEXTS[:9], {}, "fewer than 10 examples"),
        ([1.5] * 20, {}, "no column of texts found in 'DataFrame': its columns are text"),
        (TEXTS[:0], {}, "has no rows"),
    ],
)
def test_what_can_not_be_read_is_refused(data, options, message):
    with pytest.raises(DataError, match=message):
        load_texts(pd.DataFrame({"text": data}), **options)


def test_images_hold_no_texts():
    with pytest.raises(DataError, match="digits holds images and no texts: choose gloss_texts"):
        load_texts("digits")


def test_a_split_that_is_none_of_the_three_is_left_out_and_said():
    frames = {"train": TEXTS[:40], "test": TEXTS[40:60], "unsupervised": TEXTS[60:]}
    found = load_texts({key: pd.DataFrame({"text": part}) for key, part in frames.items()})
    assert lengths(found) == [36, 4, 20]
    assert "the split unsupervised is none of the three and is left out" in found.notes
    assert "20 in a split that is none of train" in str(found.account)


def test_the_task_is_guessed_where_nothing_could_be_a_label(tmp_path):
    texts, table = tmp_path / "texts.txt", tmp_path / "texts.csv"
    texts.write_text("\n".join(TEXTS))
    pd.DataFrame({"text": TEXTS}).to_csv(table, index=False)
    for data in (texts, table, "gloss_texts"):
        task, found = task_and_data(RunConfig(data=str(data), model="any"), DataCache())
        assert task is LANGUAGE_MODELING and found.num_classes == 0
    pd.DataFrame({"text": TEXTS, "stars": range(80)}).to_csv(table, index=False)
    with pytest.raises(DataError, match="pass label_column. To learn the texts themselves, set"):
        task_and_data(RunConfig(data=str(table), model="any"), DataCache())


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\xff\xfeb\n" * 20)
    with pytest.raises(DataError, match="a.txt is no text in utf-8"):
        load_texts(tmp_path / "a.txt")

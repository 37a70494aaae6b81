"""JSON as rows: what is an object becomes one, whatever its values are, and the rest is counted."""

import json

import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.reading import json_rows
from pclora_lab.data.reading.json_rows import read_json_rows


def read(tmp_path, text, name="a.jsonl"):
    (tmp_path / name).write_bytes(text.encode("utf8", "surrogatepass"))
    return read_json_rows(tmp_path / name)


@pytest.mark.parametrize("form", ["lines", "list", "list_in_one_line", "blanks"])
def test_objects_are_rows_one_a_line_or_in_a_list(tmp_path, form):
    objects = [{"text": "a, [b]", "label": 1}, {"text": None, "label": 0.5}, {"other": {"x": [1]}}]
    lines = [json.dumps(one) for one in objects]
    text = {
        "lines": "\n".join(lines),
        "list": "[\n" + ",\n".join(lines) + "\n]\n",
        "list_in_one_line": f" [{','.join(lines)}]",
        "blanks": "\n\n" + "\n  \n".join(lines) + "\n\n",
    }[form]
    rows = read(tmp_path, text)
    assert rows.table.to_pylist() == [
        {"text": "a, [b]", "label": "1", "other": None},
        {"text": None, "label": "0.5", "other": None},
        {"text": None, "label": None, "other": '{"x": [1]}'},
    ]
    assert rows.left_out == () and rows.found == 3


def test_what_is_no_row_is_counted_with_its_line(tmp_path):
    lines = [
        '{"text": "a"}',
        "{broken",
        "[1]",
        "{}",
        '"word"',
        '{"text": "\\ud800"}',
        '{"text": 1}',
    ]
    rows = read(tmp_path, "\n".join(["", *lines]))
    assert [row["text"] for row in rows.table.to_pylist()] == ["a", "1"] and rows.found == 7
    told = [(part.reason.partition(" (")[0], part.count, part.first) for part in rows.left_out]
    assert told == [
        ("that can't be read as JSON", 1, "line 3"),
        ("that is no object with values", 3, "line 4"),
        ("with half a character", 1, "line 7"),
    ]


@pytest.mark.parametrize("digits", [399, 400, 401, 5000])
def test_a_number_of_any_length_is_a_word(tmp_path, digits):
    number = "7" * digits
    for text in (f'{{"label": {number}}}\n{{"label": -{number}}}', f'[{{"label": {number}}}]'):
        found = [row["label"] for row in read(tmp_path, text).table.to_pylist()]
        assert [word.strip('"') for word in found][0] == number
    assert (
        json_rows._whole("7" * 399) == int("7" * 399) and json_rows._whole("7" * 400) == "7" * 400
    )


@pytest.mark.parametrize(
    ("text", "is_turned"),
    [
        ('{"text": ["a", "b"], "label": [0, 1]}', True),
        ('{"rows": {"a": 1}}', True),
        ('{"text": "a", "label": [0, 1]}', False),
        ('{"text": ["a"], "label": [0]}\n{"text": ["b"], "label": [1]}', False),
    ],
)
def test_one_object_of_whole_columns_is_no_row(tmp_path, text, is_turned):
    if not is_turned:
        assert read(tmp_path, text).table.num_rows >= 1
        return
    with pytest.raises(DataError, match="a.jsonl is one object whose values are lists or objects"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "a"}', "breaks off behind element 1: ] is missing"),
        ('[{"text": "a"} {"text": "b"}]', "breaks off behind element 1"),
        ('[{"text": "a"}, {"text"', "is no JSON behind element 1: "),
        ("[", "is no JSON behind element 0: "),
        ("[]", "is no list of objects, one for each example: there is nothing in it"),
        ("", "is no list of objects, one for each example: there is nothing in it"),
        ("[1, 2]", "2 that is no object with values .element 1 first"),
        ("[" * 100_000, "lists or objects stand in each other, deeper than can be read"),
    ],
)
def test_a_file_that_breaks_off_says_behind_which_element(tmp_path, text, message):
    with pytest.raises(DataError, match=f"a.jsonl .*{message}"):
        read(tmp_path, text)

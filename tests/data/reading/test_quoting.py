"""Where quotation marks end is found in time that grows with the file, and no faster."""

import csv
import io
import time

import pytest

from pclora_lab.data.reading import delimited, quoting
from pclora_lab.data.reading.delimited import read_delimited

HOSTILE = {
    "each opens": '"a,b\n',
    "each opens after the last one": 'x","y\n',
    "opens and doubles": 'x,"y""\n',
    "doubles": '""x,"b\n',
    "with backslashes": '"\\"x","y\n',
    "backslashes in between": 'x","\\"y\n',
    "closes wrongly": '"x"y,b\n',
    "rows between marks": '"a,b\nc,d\n"e,f\n',
    "only marks": '"\n',
    "two of three": '"a\n""x,b\n""y,c\n',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_no_character_is_looked_at_more_than_a_few_times(tmp_path, monkeypatch, line):
    looked = 0
    real = quoting._fields

    def counted(text, separator):
        nonlocal looked
        looked += len(text)
        return real(text, separator)

    monkeypatch.setattr(quoting, "_fields", counted)
    text = "text,label\n" + line * (60_000 // len(line))
    (tmp_path / "a.csv").write_text(text)
    read_delimited(tmp_path / "a.csv")
    assert looked < 8 * len(text)


def test_four_megabytes_of_texts_that_open_and_never_close(tmp_path):
    line = 'text of a row of usual length that goes on ","and another one of such a length\n'
    (tmp_path / "a.csv").write_text("text,label\n" + line * (4_000_000 // len(line)))
    began = time.process_time()
    assert read_delimited(tmp_path / "a.csv").found > 40_000
    assert time.process_time() - began < 2


@pytest.mark.parametrize("longest", [3, 40])
def test_a_text_that_is_too_long_is_none_wherever_it_opens(tmp_path, monkeypatch, longest):
    monkeypatch.setattr(quoting, "_LONGEST_LINES", longest)
    lines = ['open,"a', 'x","y', "plain,1", *[f"row {i},1" for i in range(9)], 'end","z', "z,2"]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    read = read_delimited(tmp_path / "a.csv")
    rows = [tuple(row.values()) for row in read.table.to_pylist()]
    assert ("z", "2") in rows and (("row 3", "1") in rows)
    assert read.found == len(lines)


def test_lines_are_let_go_of(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_MOST_WAITING", 50)
    rows = [(f'one "{i}"\ntwo, three', str(i % 2)) for i in range(400)]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])
    (tmp_path / "a.csv").write_text(file.getvalue() + 'lone,"1\n' * 300)
    read = read_delimited(tmp_path / "a.csv")
    assert [tuple(r.values()) for r in read.table.to_pylist()][:400] == rows
    assert read.found == 700


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ('"he said \\"hi\nyes\\" ok",pos\nb,1\n', [('he said "hi\nyes" ok', "pos"), ("b", "1")]),
        ('"a ""b""\n\nc",pos\n', [('a "b"\n\nc', "pos")]),
        ('"C:\\dir\\",pos\n', [("C:\\dir\\", "pos")]),
    ],
)  # fmt: skip
def test_texts_of_several_lines_are_read_as_they_are_meant(tmp_path, body, rows):
    (tmp_path / "a.csv").write_text("text,label\n" + body)
    read = read_delimited(tmp_path / "a.csv")
    assert [tuple(row.values()) for row in read.table.to_pylist()] == rows

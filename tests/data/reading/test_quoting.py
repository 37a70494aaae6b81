"""Where quotation marks end is found in time that grows with the file, and no faster."""

import csv
import io
import time

import pytest

from pclora_lab.data.reading import delimited, quoting
from pclora_lab.data.reading.delimited import read_delimited
from pclora_lab.data.reading.quoting import End, Ends, split_line, split_text

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


FIELDS = {
    "a,b": ["a", "b"], "": [""], ",": ["", ""], "a,": ["a", ""], '"a,b",c': ["a,b", "c"],
    '"a""b",c': ['a"b', "c"], '"",c': ["", "c"], 'a"b,c': ['a"b', "c"], '"a"': ["a"],
    '"a",': ["a", ""], '"a': None, '"a""': None, '"a"b,c': [], '"a" ,c': [], '""""': ['"'],
    'c,"a': None, 'c,"a"x': [], r'"a\"b",c': [],
}  # fmt: skip


@pytest.mark.parametrize(("line", "fields"), FIELDS.items())
def test_a_mark_opens_a_text_at_the_start_of_a_field_only(line, fields):
    assert split_line(line, ",", escapes=False) == fields
    assert split_line(line.replace(",", ";"), ";", escapes=False) == (
        fields and [field.replace(",", ";") for field in fields]
    )
    if "\\" not in line:
        assert split_line(line, ",", escapes=True) == split_text(line, ",") == fields


def test_a_backslash_counts_where_the_line_ends_wrongly_without_it():
    assert split_line(r'"a\"b",c', ",", escapes=True) == ['a"b', "c"]
    assert split_text(r'"a\"b",c', ",") == ['a"b', "c"]
    assert split_text(r'"a\",c', ",") == ["a\\", "c"], "it ends rightly as it is"
    assert split_line(r'"a\"b', ",", escapes=True) is None
    assert split_line(r'"a\"b"c', ",", escapes=True) == []


def ends_of(*lines: str) -> Ends:
    """Where texts end in these lines; the first is the one that was read last."""

    def ahead(places: int) -> tuple[int, str] | None:
        asked.append(places)
        return (1 + places, lines[places]) if places < len(lines) else None

    asked: list[int] = []
    made = Ends(ahead, ",", escapes=False)
    made.asked = asked
    return made


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (('"a\n', 'b"\n'), (End.RIGHT, 1)),
        (('"a\n', "b\n", 'c",1\n', "d\n"), (End.RIGHT, 2)),
        (('"a\n', 'b"c\n'), (End.WRONG, 1)),
        (('"a\n', "b\n", "c\n"), (End.OPEN, 2)),
        (('"a\n',), (End.OPEN, 0)),
        (('"a\n', 'b","c\n', 'd"\n'), (End.RIGHT, 2)),
    ],
)
def test_a_text_ends_where_the_last_field_of_a_record_does(lines, end):
    assert ends_of(*lines).of((1, lines[0])) == end


def test_what_is_known_of_an_end_is_known_of_all_lines_on_the_way(monkeypatch):
    lines = ('"a\n', "b\n", "c\n", 'd"\n')
    ends = ends_of(*lines)
    assert ends.of((1, lines[0])) == (End.RIGHT, 3) and ends.asked == [1, 2, 3]
    assert ends.of((2, lines[1])) == (End.RIGHT, 2) and ends.of((3, "c\n")) == (End.RIGHT, 1)
    assert ends.asked == [1, 2, 3], "no line is looked at twice"
    ends.are_rows()
    assert ends.of((2, lines[1])) == (End.ROWS, 2)


def test_a_text_has_a_longest_length_in_lines_and_in_characters(monkeypatch):
    assert (quoting._LONGEST_LINES, quoting._LONGEST_TEXT) == (5000, 16_000_000)
    lines = ('"a\n', "b\n", "c\n", 'd"\n')
    for name, most, end in (
        ("_LONGEST_LINES", 3, (End.RIGHT, 3)),
        ("_LONGEST_LINES", 2, (End.OPEN, 2)),
        ("_LONGEST_TEXT", 7, (End.RIGHT, 3)),
        ("_LONGEST_TEXT", 6, (End.OPEN, 2)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(quoting, name, most)
            assert ends_of(*lines).of((1, lines[0])) == end

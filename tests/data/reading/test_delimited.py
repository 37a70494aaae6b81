"""Tables of text in all their dialects: every line is a row, or part of one, or counted."""

import csv
import io

import pandas as pd
import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading import delimited
from pclora_lab.data.reading.delimited import read_delimited

ROWS = [(f"text number {i}", ("neg", "pos")[i % 2]) for i in range(400)]


def write(path, lines, heading="text\tlabel", encoding="utf8"):
    path.write_bytes("\n".join([heading, *lines, ""]).encode(encoding))
    return str(path)


def tabbed(changes: dict[int, str]) -> list[str]:
    return [changes.get(i, "\t".join(row)) for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    "changes",
    [
        {50: '"Great film\tpos'},
        {50: '"Great film\tpos', 300: '"Bad film\tneg'},
        {50: '"Great film\tpos', 300: 'he said hi"\tneg'},
        {50: '"\tpos', 51: 'a "quoted" word\tneg', 300: 'inch 5"\tneg', 399: '"end\tpos'},
    ],
    ids=["one", "two", "as_if_closed", "many"],
)
@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_a_lone_quotation_mark_swallows_no_rows(tmp_path, changes, suffix):
    lines = [line.replace("\t", "\t" if suffix == ".tsv" else ",") for line in tabbed(changes)]
    heading = "text\tlabel" if suffix == ".tsv" else "text,label"
    data = load_data(write(tmp_path / f"reviews{suffix}", lines, heading))
    assert data.account.rows.found == data.account.rows.used == 400
    texts = {text for s in (data.train, data.validation, data.test) for text in s.examples}
    assert len(texts) == 400 and "text number 200" in texts
    assert any("lone quotation mark" in note for note in data.notes)


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quoted_texts_may_hold_all_that_separates(tmp_path, separator, quoting, end):
    rows = [*ROWS]
    rows[3] = ('a "b", c\td; e|f\ng "\nh, i', "neg")
    rows[4] = ("one, two\nthree, four", "pos")
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([("text", "label"), *rows])
    path = tmp_path / ("a.tsv" if separator == "\t" else "a.csv")
    path.write_bytes(file.getvalue().encode())
    read = read_delimited(path)
    got = [tuple(row.values()) for row in read.table.to_pylist()]
    assert [(a.replace("\r\n", "\n"), b) for a, b in got] == rows and read.left_out == ()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_marks_and_wide_characters_are_read_right(tmp_path, encoding, separator):
    lines = [separator.join((f"ä {text}", label)) for text, label in ROWS]
    heading = f"text{separator}label"
    data = load_data(write(tmp_path / "a.csv", lines, heading, encoding))
    assert data.account.rows.used == 400 and data.class_names == ("neg", "pos")
    assert data.train.examples[0].startswith("ä ")


def test_backslashes_before_quotation_marks_are_understood(tmp_path):
    path = write(tmp_path / "a.csv", ['"he said \\"hi\\", ok",pos'], "text,label")
    rows = read_delimited(tmp_path / "a.csv").table.to_pylist()
    assert rows == [{"text": 'he said "hi", ok', "label": "pos"}], path


def test_rows_that_do_not_fit_the_heading_are_counted(tmp_path):
    lines = tabbed({7: "a\tb\tneg", 9: "only a text"})
    path = write(tmp_path / "a.tsv", lines)
    account = load_data(path).account
    assert (account.rows.found, account.rows.used) == (400, 398)
    assert "with more fields" in str(account) and "line 9" in str(account)
    assert "1 without a label (row 8" in str(account), "row 7 of the file is not in the table"


def test_empty_lines_are_no_rows_and_empty_fields_are(tmp_path):
    path = write(tmp_path / "a.csv", ["a,b,,", "", "  ", ",,,", "c,d,,,"], "text,label,,")
    read = read_delimited(tmp_path / "a.csv")
    assert read.found == 3 and read.table.column_names == [
        "text", "label", "Unnamed: 2", "Unnamed: 3",
    ], path  # fmt: skip


def test_the_line_that_spreadsheets_write_is_obeyed(tmp_path):
    path = write(tmp_path / "a.csv", ["text|label", "a;x|b"], "sep=|")
    assert read_delimited(tmp_path / "a.csv").table.to_pylist() == [{"text": "a;x", "label": "b"}]
    assert path


def test_a_field_may_be_longer_than_any_limit(tmp_path):
    lines = tabbed({5: f'"{"long " * 100_000}"\tneg'})
    assert load_data(write(tmp_path / "a.tsv", lines)).account.rows.used == 400


def test_it_reads_what_pandas_writes(tmp_path):
    table = pd.DataFrame(
        {"id": range(400), "text": [r[0] for r in ROWS], "label": [r[1] for r in ROWS]}
    )
    table.loc[[3, 5], "text"] = ['"', 'a\n"b",\n,c']
    for index in (True, False):
        table.to_csv(tmp_path / "a.csv", index=index)
        read = read_delimited(tmp_path / "a.csv").table.to_pandas()
        assert read["text"].tolist() == table["text"].tolist()


@pytest.mark.parametrize("content", ["", "\n\n", "text,label\n", "text,label"])
def test_a_table_without_rows_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=r"a\.csv"):
        load_data(str(tmp_path / "a.csv"))


def test_the_ending_decides_where_the_lines_do_not(tmp_path):
    """Every row has a tab and a comma in each field: only the name says which one separates."""
    for suffix, columns in ((".tsv", ["text,a", "label,b"]), (".csv", ["text", "a\tlabel", "b"])):
        path = tmp_path / f"rows{suffix}"
        path.write_text("text,a\tlabel,b\n" + "one,two\tx,y\n" * 3)
        assert read_delimited(path).table.column_names == columns


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        (["text", " label "], ["text", "label"]),
        (["", "text", " "], ["Unnamed: 0", "text", "Unnamed: 2"]),
        (["\ufefftext", "label"], ["text", "label"]),
        (["a", "a", "a.1", "a"], ["a", "a.1", "a.1.1", "a.2"]),
    ],
)
def test_every_column_has_a_name_of_its_own(heading, names):
    assert delimited._unique(heading) == names


SEPARATED = {
    "a.csv": [
        ("a,b\n1,2\n", ","), ("a;b\n1;2\n", ";"), ("a\tb\n1\t2\n", "\t"), ("a|b\n1|2\n", "|"),
        ("a;b,c\n1;2,3\n", ","), ("a;b\n1,5;2\n1,7;3\n", ";"), ("a\n1\n", ","), ("", ","),
        ('a;b\n"1;2;3";4\n', ";"), ("\n\na;b\n\n1;2\n", ";"), ("a,b;c\n1;2\n3;4\n", ";"),
    ],
    "a.tsv": [("a\tb\n1\t2\n", "\t"), ("a,b\n1,2\n", ","), ("a\tb,c\n1\t2,3\n", "\t")],
}  # fmt: skip
CASES = [(name, text, mark) for name, cases in SEPARATED.items() for text, mark in cases]


@pytest.mark.parametrize(("name", "text", "separator"), CASES)
def test_what_separates_fits_the_heading_and_the_lines(tmp_path, name, text, separator):
    (tmp_path / name).write_text(text)
    assert delimited._separator(tmp_path / name) == (separator, 0)


@pytest.mark.parametrize(
    ("line", "found"), [("sep=;", (";", 1)), ("SEP=| ", ("|", 1)), ("\nsep=;", (";", 2))]
)
def test_the_line_of_spreadsheets_names_one_character(tmp_path, line, found):
    (tmp_path / "a.csv").write_text(f"{line}\na,b\n1,2\n")
    assert delimited._separator(tmp_path / "a.csv") == found


def test_lines_are_told_by_their_numbers_and_a_note_counts_lone_marks(tmp_path):
    lines = ["text,label", 'a 5" disc,1', '"lone,2', "x,y,z", 'p,"q,r', "", "b", "c,3,"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    rows = read_delimited(tmp_path / "a.csv")
    assert [tuple(row.values()) for row in rows.table.to_pylist()] == [
        ('a 5" disc', "1"), ('"lone', "2"), ("b", ""), ("c", "3"),
    ]  # fmt: skip
    left = {part.reason.partition(" (")[0]: (part.count, part.first) for part in rows.left_out}
    assert left == {
        "with more fields than the heading has names": (1, "line 4"),
        "with a quotation mark that is not closed": (1, "line 5"),
    }
    assert rows.notes == (
        "a.csv: 2 lines have a lone quotation mark, which is read as a character",
    )
    (tmp_path / "b.csv").write_text('text,label\n"lone,2\na,1\n')
    assert read_delimited(tmp_path / "b.csv").notes == (
        "b.csv: 1 line has a lone quotation mark, which is read as a character",
    )
    (tmp_path / "c.csv").write_text("text,label\na,1\n")
    assert read_delimited(tmp_path / "c.csv").notes == ()


@pytest.mark.parametrize(("classes", "are_rows"), [(2, True), (20, False)])
def test_lines_between_two_lone_marks_are_rows_where_their_labels_are_known(
    tmp_path, classes, are_rows
):
    """Of a column with few values, such as classes; a text of several lines has none of them."""
    lines = [f"text {n},{n % classes}" for n in range(30)]
    lines[10:10] = ['"open,1', "between,0", 'end",1']
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    rows = read_delimited(tmp_path / "a.csv")
    texts = [row["text"] for row in rows.table.to_pylist()]
    assert ("between" in texts) is are_rows
    assert rows.table.num_rows == (33 if are_rows else 31)


def test_a_column_with_more_values_than_half_of_its_rows_holds_no_classes(tmp_path):
    lines = ["text,label", *(f"t{n},{n % 3}" for n in range(7)), 'quoted "x",9', "1,2,3"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    assert delimited._familiar(tmp_path / "a.csv", ",", 2) == {1: {"0", "1", "2"}}
    (tmp_path / "a.csv").write_text("\n".join(lines[:6]) + "\n")  # of five rows
    assert delimited._familiar(tmp_path / "a.csv", ",", 2) == {}

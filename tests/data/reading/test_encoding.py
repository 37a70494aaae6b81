"""The characters of a file, with and without a mark, and those that are none."""

import codecs

import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.reading.encoding import encoding_of, numbered_lines

TEXT = "text,label\nä line,1\n"
FILES = {
    "utf-8": TEXT.encode(),
    "utf-8-sig": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-32": TEXT.encode("utf-32"),
    "utf-16-le": TEXT.encode("utf-16-le"),
    "utf-16-be": TEXT.encode("utf-16-be"),
}
MARKS = {
    codecs.BOM_UTF16_BE: ("utf-16", "utf-16-be"),
    codecs.BOM_UTF32_BE: ("utf-32", "utf-32-be"),
}


@pytest.mark.parametrize(("encoding", "content"), FILES.items())
def test_lines_are_the_same_in_every_encoding(tmp_path, encoding, content):
    (tmp_path / "a").write_bytes(content)
    assert encoding_of(tmp_path / "a") == encoding
    lines = [(1, "text,label\n"), (2, "ä line,1\n")]
    assert list(numbered_lines(tmp_path / "a")) == lines


@pytest.mark.parametrize(("mark", "names"), MARKS.items())
def test_a_mark_says_which_end_comes_first(tmp_path, mark, names):
    (tmp_path / "a").write_bytes(mark + TEXT.encode(names[1]))
    assert encoding_of(tmp_path / "a") == names[0]
    assert next(numbered_lines(tmp_path / "a")) == (1, "text,label\n")


@pytest.mark.parametrize(
    "content",
    [b"", b"a", b"\0" * 40, b"a\0b\0" + b"abcd" * 9, b"\0" + b"a" * 30, ("\u4e2d" * 9).encode()],
    ids=["empty", "one", "zeros", "few_zeros", "one_zero", "wide"],
)
def test_zeros_here_and_there_are_no_other_encoding(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert encoding_of(tmp_path / "a") == "utf-8"


def test_other_characters_than_latin_do_not_hide_two_bytes(tmp_path):
    """Half of all first bytes are zero where half of the letters are plain."""
    (tmp_path / "a").write_bytes(("ab\u4e2d\u6587" * 20).encode("utf-16-le"))
    assert encoding_of(tmp_path / "a") == "utf-16-le"


def test_which_ending_ends_a_line_is_as_asked(tmp_path):
    (tmp_path / "a").write_bytes(b"a\rb\r\nc\n")
    assert [line for _, line in numbered_lines(tmp_path / "a")] == ["a\r", "b\r\n", "c\n"]
    assert [line for _, line in numbered_lines(tmp_path / "a", "\n")] == ["a\rb\r\n", "c\n"]


def test_bytes_that_are_no_characters_are_counted_by_lines(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"one\ntw\xff\nthree\nfour\xfe\nfive\n")
    told = (
        "^a.csv is not UTF-8: 2 of 5 lines have bytes that are no characters, line 2 first. Save it"
        ".* iconv -f cp1252 -t utf8 a.csv > fixed.csv$"
    )
    with pytest.raises(DataError, match=told):
        list(numbered_lines(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_bytes(codecs.BOM_UTF16_LE + "ab".encode("utf-16-le") + b"\0\xd8")
    with pytest.raises(DataError, match="^b.csv looks like utf-16, but has bytes that are no char"):
        list(numbered_lines(tmp_path / "b.csv"))

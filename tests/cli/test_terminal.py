"""Terminals that do not know every character, and users without a home."""

import io
import os
import subprocess
import sys

import pytest

from pclora_lab.cli.main import main


@pytest.fixture(scope="module")
def mail(tmp_path_factory):
    path = tmp_path_factory.mktemp("mail") / "mail.csv"
    lines = [f"text {i} λ,{('gut', 'größer ± 日')[i % 2]}" for i in range(40)]
    path.write_text("\n".join(["text,label", *lines]), encoding="utf8")
    return str(path)


@pytest.fixture
def terminal(monkeypatch):
    """Standard output and error with an encoding; gives what was written to the first."""

    def made(encoding: str) -> io.BytesIO:
        written = io.BytesIO()
        for name, raw in (("stdout", written), ("stderr", io.BytesIO())):
            stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
            monkeypatch.setattr(sys, name, stream)
        return written

    return made


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", b"gr??er +- ?"), ("latin-1", "größer ± ?".encode("latin-1")), ("cp437", b"40 found"),
     ("utf-8", "größer ± 日".encode())],
)  # fmt: skip
def test_no_character_is_too_much_for_a_terminal(terminal, mail, encoding, shown):
    written = terminal(encoding)
    assert main(["data", mail]) == 0 and shown in written.getvalue()


def test_help_sizes_and_errors_are_shown_in_plain_characters(terminal, tmp_path):
    written = terminal("ascii")
    assert main(["plan", "vit_digits"]) == 0 and b"->" in written.getvalue()
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert b"lambda" in written.getvalue()
    assert main(["data", str(tmp_path / "größe λ")]) == 2


def test_neither_home_nor_unicode_is_needed(mail):
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "HOME": "/dev/null/nowhere"}
    gone = ("HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    done = subprocess.run(
        [sys.executable, "-m", "pclora_lab", "data", mail],
        env={name: value for name, value in variables.items() if name not in gone},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0 and b"40 found, 40 used" in done.stdout, done.stderr
    assert b"Traceback" not in done.stderr

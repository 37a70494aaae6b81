"""The zip that a page is given."""

import io
import zipfile
from pathlib import Path

from pclora_lab.ui.widgets import download as module
from pclora_lab.ui.widgets.download import Download


def asked(write, monkeypatch):
    """What a page receives that asks for the zip, and what is shown as an error."""
    errors, sent = [], []
    button = Download("Download", "help", write, errors.append)
    monkeypatch.setattr(button, "send", lambda content, parts=(): sent.append((content, *parts)))
    button._take_in(button, {"ask": "7"}, [])
    button.loop.wait(20)
    return sent, errors


def test_the_parts_are_the_folder_in_order(monkeypatch):
    monkeypatch.setattr(module, "_PART", 100)

    def write(folder: Path) -> Path:
        (folder / "my run" / "deep").mkdir(parents=True)
        (folder / "my run" / "config.json").write_text("{}")
        (folder / "my run" / "deep" / "weights").write_bytes(bytes(range(256)))
        return folder / "my run"

    sent, errors = asked(write, monkeypatch)
    assert errors == [] and len(sent) > 4
    assert {content["of"] for content, _ in sent} == {len(sent)}
    assert {(content["ask"], content["name"]) for content, _ in sent} == {("7", "my run.zip")}
    with zipfile.ZipFile(io.BytesIO(b"".join(part for _, part in sent))) as archive:
        assert archive.read("my run/deep/weights") == bytes(range(256))
        assert sorted(archive.namelist()) == ["my run/config.json", "my run/deep/weights"]


def test_what_can_not_be_written_is_shown_and_the_page_waits_no_longer(monkeypatch):
    def write(folder: Path) -> Path:
        raise RuntimeError("nothing to export: no run has finished")

    sent, errors = asked(write, monkeypatch)
    assert sent == [({"ask": "7", "failed": True},)]
    assert "nothing to export" in str(errors[0])


def test_only_a_question_is_answered():
    button = Download("Download", "help", lambda folder: folder, lambda error: None)
    for content in (None, {}, {"ask": 3}, "ask"):
        button._take_in(button, content, [])
    assert button.loop is None

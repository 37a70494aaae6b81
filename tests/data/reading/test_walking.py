"""Which files of a folder are looked at, and what is taken for what."""

import pytest
from pictures import png

from pclora_lab.data.account import DataError
from pclora_lab.data.reading import walking
from pclora_lab.data.reading.walking import all_files, find_files, is_picture

CONTENT = {
    "tables": ["a.csv", "b.TSV", "c.jsonl", "d.json", "e.parquet"],
    "pictures": ["a.png", "b.JPG", "c.jpeg", "d.jfif", "e.webp", "f.bmp", "g.gif", "h.tif",
                 "i.tiff", "j.ppm", "k.pgm", "l.ico", "m.pbm", "n.psd", "o.jp2"],
    "unreadable": ["a.svg", "b.raw", "c.cr2", "d.cr3", "e.nef", "f.arw", "g.dng", "h.orf", "i.rw2",
                   "j.jxl"],
    "texts": ["a.txt", "b.TXT"],
    "others": ["a.mp4", "README", "b.md", "c.bin"],
}  # fmt: skip
HIDDEN = (".git/x.png", ".x.png", "__MACOSX/x.png", "Thumbs.db", "desktop.ini", "lost+found/x.png")


@pytest.fixture
def folder(tmp_path):
    for kind, names in CONTENT.items():
        for name in names:
            path = tmp_path / kind / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"content")
    for name in HIDDEN:
        path = tmp_path / "others" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(0))
    return tmp_path


def test_every_file_is_of_one_kind_by_its_ending(folder):
    found = find_files(folder)
    kinds = {kind: getattr(found, kind) for kind in CONTENT if kind != "tables"}
    kinds["tables"] = [path for paths in found.tables.values() for path in paths]
    assert {kind: sorted(map(str, paths)) for kind, paths in kinds.items()} == {
        kind: sorted(f"{kind}/{name}" for name in names) for kind, names in CONTENT.items()
    }
    assert {kind: len(paths) for kind, paths in found.tables.items()} == {
        "csv": 2, "json": 2, "parquet": 1,
    }  # fmt: skip
    assert found.empty == found.lost == found.empty_pictures == []
    assert found.count == sum(map(len, CONTENT.values())) == len(all_files(folder))
    assert [*map(str, found.texts)] == sorted(map(str, found.texts))


def test_what_is_empty_or_leads_nowhere_is_told_apart(tmp_path):
    for name in ("a.csv", "b.png", "c.HEIC", "d"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = find_files(tmp_path)
    assert [*map(str, found.empty)] == ["a.csv", "b.png", "c.HEIC", "d"]
    assert [*map(str, found.empty_pictures)] == ["b.png", "c.HEIC"]
    assert [*map(str, found.lost)] == ["gone.png"] and found.count == 5
    assert not found.pictures and not found.tables


STARTS = {
    b"\x89PNG\r\n": True, b"\xff\xd8\xff\xe0": True, b"GIF89a": True, b"BM1234": True,
    b"II*\0more": True, b"MM\0*more": True, b"RIFF1234WEBP": True, b"RIFF1234WAVE": False,
    b"1234RIFFWEBP": False, b"text": False, b"": False, b"PNG": False,
}  # fmt: skip


@pytest.mark.parametrize(("start", "is_one"), STARTS.items())
def test_a_picture_is_known_by_how_it_begins(tmp_path, start, is_one):
    (tmp_path / "x").write_bytes(start)
    assert is_picture(tmp_path / "x") is is_one
    assert not is_picture(tmp_path / "nothing")


def test_a_walk_goes_through_links_once_and_ends_at_its_bound(tmp_path, monkeypatch):
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("data/a.txt", "data/inner/b.txt", "other/c.txt"):
        (tmp_path / name).write_text("text")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "data" / "inner" / "back").symlink_to(tmp_path / "data")
    seen = sorted(map(str, all_files(tmp_path / "data")))
    assert seen == ["a.txt", "inner/b.txt", "linked/c.txt"]
    # Three files and three folders, of which one is entered a second time and left at once.
    monkeypatch.setattr(walking, "_MOST_FILES", 6)
    assert len(all_files(tmp_path / "data")) == 3
    monkeypatch.setattr(walking, "_MOST_FILES", 5)
    with pytest.raises(DataError, match="holds more than 5 files and folders"):
        all_files(tmp_path / "data")

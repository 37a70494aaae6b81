"""Where tables are kept while they are read."""

import contextlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import datasets
import pandas as pd
import pytest
from pictures import png

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading import hub


@pytest.fixture
def usual(tmp_path, monkeypatch):
    place = tmp_path / "home" / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(place))
    hub._cache_folder.cache_clear()
    yield place
    hub._cache_folder.cache_clear()


def test_tables_are_kept_in_the_usual_place(usual):
    assert hub._cache_folder() is None and usual.is_dir()


def test_without_a_home_they_are_kept_until_the_process_ends(usual):
    usual.parent.write_text("a file where the folder should be")
    found = Path(hub._cache_folder())
    assert found.is_dir() and not found.is_relative_to(usual)


def test_a_place_that_nobody_may_write_is_not_used(usual, monkeypatch):
    monkeypatch.setattr(hub.os, "access", lambda path, mode: False)
    assert Path(hub._cache_folder()).is_dir()


class Builder:
    """What datasets makes of a repository, before anything of it is read."""

    repo_id = "somebody/things"

    def __init__(self, files, table=None):
        self.config = SimpleNamespace(data_files={"train": files})
        self.table, self.prepared = table, False

    def download_and_prepare(self):
        self.prepared = True

    def as_dataset(self):
        return datasets.DatasetDict({"train": self.table})


OWN = "hf://datasets/somebody/things@9f1/data/train.csv"
ELSEWHERE = [
    "/etc/passwd", "file:///etc/passwd", "data.csv", "http://127.0.0.1:9/a.csv", "../a.csv",
    "hf://datasets/another/set@9f1/a.csv", "hf://another/model@9f1/a.csv", "zip://a.csv::/a.zip",
    "hf://datasets/somebody/things-private@1/a.csv", f"zip://x::{OWN}::/home/a.zip", "s3://a/b.csv",
]  # fmt: skip


@pytest.mark.parametrize("file", ELSEWHERE)
def test_a_readme_on_the_hub_names_files_of_its_own_only(usual, monkeypatch, file):
    builder = Builder([OWN, file])
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder)
    with pytest.raises(DataError, match="which is not in its repository: nothing there is read"):
        load_data("somebody/things")
    assert not builder.prepared


def test_the_real_library_would_have_read_it(usual, tmp_path, monkeypatch):
    (tmp_path / "private.csv").write_text("text,label\n" + "a b,x\nc d,y\n" * 20)
    folder = tmp_path / "repository"
    folder.mkdir()
    head = f"---\nconfigs:\n- config_name: default\n  data_files: {tmp_path}/private.csv\n---\n"
    (folder / "README.md").write_text(head)
    real = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda _, **k: real(str(folder), **k))
    with pytest.raises(DataError, match=r"private\.csv' as a file of its own"):
        load_data("somebody/things")


@pytest.mark.parametrize("name", ["somebody/things", "Somebody/Things", "things"])
def test_files_of_its_own_are_read(usual, monkeypatch, name):
    table = datasets.Dataset.from_dict(
        {"text": [f"text {i}" for i in range(40)], "label": [0, 1] * 20}
    )
    zipped = "zip://*.csv::" + OWN
    builder = Builder([OWN, zipped, OWN.replace("9f1", "refs%2Fconvert%2Fparquet")], table)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder)
    assert load_data(name).account.rows.found == 40 and builder.prepared


def test_a_picture_of_the_hub_lies_in_its_cache(usual, tmp_path, monkeypatch):
    usual.mkdir(parents=True)
    for place in (usual / "kept.png", tmp_path / "private.png"):
        place.write_bytes(png(3))
    inner = {"bytes": png(1), "path": "1.png"}
    paths = [str(usual / "kept.png"), str(tmp_path / "private.png"), "http://127.0.0.1:9/a.png"]
    rows = [inner] * 37 + [{"bytes": None, "path": path} for path in paths]
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    table = datasets.Dataset.from_dict({"image": rows, "label": [0, 1] * 20}, features)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: Builder([OWN], table))
    with pytest.raises(DataError, match="2 with a picture outside"):
        load_data("somebody/things", max_overlap=1)
    account = load_data("somebody/things", max_left_out=0.1, max_overlap=1).account
    assert (account.rows.found, account.rows.used) == (40, 38)


@pytest.fixture
def cached(usual, tmp_path):
    """A small data set of the hub as its cache keeps it."""
    for split, first in (("train", 0), ("test", 100)):
        words = [f"word {number} is {number % 2}" for number in range(first, first + 40)]
        table = pd.DataFrame({"text": words, "label": [number % 2 for number in range(40)]})
        table.to_parquet(tmp_path / f"{split}.parquet")
    files = {split: f"{tmp_path / split}.parquet" for split in ("train", "test")}
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "made"))
    made = next((tmp_path / "made").rglob("dataset_info.json")).parent
    folder = usual / "somebody___tiny" / "default" / "0.0.0" / ("c" * 40)
    shutil.copytree(made, folder)
    for table in folder.glob("parquet-*"):
        table.rename(folder / table.name.replace("parquet-", "tiny-"))
    about = folder / "dataset_info.json"
    name = '"dataset_name": '
    about.write_text(about.read_text().replace(f'{name}"parquet"', f'{name}"tiny"'))
    return folder


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"dataset_name": 3', b"\xff\xfe\x00"])
@pytest.mark.parametrize("file", ["dataset_info.json", "tiny-train.arrow"])
def test_a_damaged_file_of_the_cache_is_said(cached, file, content):
    assert len(load_data("somebody/tiny").test) == 40
    (cached / file).write_bytes(content)
    with pytest.raises((DataError, ConnectionError), match="'somebody/tiny'"):
        load_data("somebody/tiny")


def test_files_of_a_repository_are_here_where_all_have_a_version(tmp_path, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert not hub.in_hub_cache("datasets--a--b")
    (tmp_path / "datasets--a--b" / "snapshots").mkdir(parents=True)
    assert not hub.in_hub_cache("datasets--a--b"), "an empty folder holds none"
    (tmp_path / "datasets--a--b" / "snapshots" / "1234").mkdir()
    assert hub.in_hub_cache("datasets--a--b") and hub.in_hub_cache()
    assert not hub.in_hub_cache("datasets--a--b", "models--a--b")


def test_the_hub_answers_where_somebody_opens(monkeypatch):
    asked = []

    def urlopen(request, timeout):
        asked.append((request.full_url, request.get_method(), timeout))
        if len(asked) > 1:
            raise OSError("no network")
        return contextlib.nullcontext()

    monkeypatch.setattr(hub.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_answers() and not asked
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    assert hub.hub_answers() and not hub.hub_answers(0.5)
    assert asked == [(hub.constants.ENDPOINT, "HEAD", timeout) for timeout in (3.0, 0.5)]


def test_tables_of_the_hub_may_name_what_the_caches_hold(usual, monkeypatch, tmp_path):
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folders = hub.cache_folders()
    assert folders == (Path(datasets.config.HF_DATASETS_CACHE), tmp_path / "hub")
    hub._cache_folder.cache_clear()
    monkeypatch.setattr(hub.os, "access", lambda path, mode: False)
    assert hub.cache_folders() == (Path(hub._cache_folder()), *folders)

"""Where tables are kept while they are read."""

from pathlib import Path

import datasets
import pytest

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

"""A place means the same from every folder, and a text for others names none."""

import dataclasses
import os
from pathlib import Path

import pytest

from pclora_lab.data.loading import EMBEDDED_DATA
from pclora_lab.runs.durable.places import (
    home_of_teachers,
    settled,
    whole_data,
    whole_model,
    without_places,
)
from pclora_lab.training.config import RunConfig


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with data and a model, outside of the home folder."""
    for name in ("work/pictures", "work/net", "home/own"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "work" / "table.csv").write_text("text,label\n")
    (tmp_path / "work" / "net" / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


# Teachers


def test_a_run_looks_for_teachers_among_its_fellows(tmp_path, monkeypatch):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    assert home_of_teachers(tmp_path / "runs" / "one") == tmp_path / "runs"
    monkeypatch.chdir(tmp_path / "runs")
    assert home_of_teachers(Path("one")) == tmp_path / "runs"
    monkeypatch.chdir("one")
    assert home_of_teachers(Path(".")) == tmp_path / "runs"


def test_a_cell_looks_for_them_in_its_comparison(tmp_path):
    cell = tmp_path / "compared" / "cells" / "svd"
    cell.mkdir(parents=True)
    assert home_of_teachers(cell) == cell.parent  # nothing says that it is one
    (tmp_path / "compared" / "comparison.json").write_text("{}")
    assert home_of_teachers(cell) == tmp_path / "compared"
    other = tmp_path / "compared" / "runs" / "svd"
    assert home_of_teachers(other) == other.parent  # beside the cells


# Whole paths


def test_a_file_or_folder_is_told_by_its_whole_path(here):
    assert whole_data("pictures") == whole_data("./pictures/") == str(here / "pictures")
    assert whole_data("table.csv") == str(here / "table.csv")
    assert whole_data("../work/table.csv") == str(here / "table.csv")
    assert whole_model("net") == whole_model("local-dir:net") == str(here / "net")


def test_what_is_below_the_home_folder_begins_with_a_tilde(here):
    for given in ("../home/own", "~/own", str(here.parent / "home" / "own")):
        assert whole_data(given) == "~/own"


def test_where_nobody_is_at_home_a_path_is_whole(here, monkeypatch):
    def nobody():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", nobody)
    assert whole_data("pictures") == str(here / "pictures")


@pytest.mark.parametrize(
    "name", [*EMBEDDED_DATA, "uoft-cs/cifar10", "nowhere", "a\0b", "", "~nobody/x"]
)
def test_other_names_of_data_stay_as_they_are(here, name):
    for embedded in EMBEDDED_DATA:  # which have the name
        (here / embedded).mkdir()
    assert whole_data(name) == name


@pytest.mark.parametrize("name", ["vit_digits", "resnet18", "no such model", "", "./nowhere"])
def test_other_names_of_models_stay_as_they_are(here, name):
    assert whole_model(name) == name


def test_a_config_is_settled_in_model_and_data_and_nothing_else(here):
    config = RunConfig(steps=7)
    assert settled(config) is config
    for change in ({"model": "net"}, {"data": "pictures"}, {"model": "net", "data": "pictures"}):
        whole = {name: str(here / value) for name, value in change.items()}
        given = dataclasses.replace(config, **change)
        assert settled(given) == dataclasses.replace(config, **whole)
        assert settled(settled(given)) == settled(given)


# A text for others


@pytest.mark.parametrize(
    ("text", "places", "shown"),
    [
        ("/mnt/a/net is damaged", ["/mnt/a/net"], "net is damaged"),
        ("/mnt/a/net is damaged", ["local-dir:/mnt/a/net"], "net is damaged"),
        ("in '/mnt/a/net/x', (/mnt/a/net)", [Path("/mnt/a/net/")], "in 'net/x', (net)"),
        ("/mnt/a/net and /mnt/a/other", ["/mnt/a/net"], "net and other"),
        # What only ends or begins like the place is another one.
        ("/x/mnt/a/net", ["/mnt/a/net"], "/x/mnt/a/net"),
        ("/mnt/ab/net", ["/mnt/a/net"], "/mnt/ab/net"),
        # The longer of two places first, whatever their order.
        ("/mnt/a/b/net of /mnt/a/x", ["/mnt/a/x", "/mnt/a/b/net"], "net of x"),
        ("/mnt/a/b/net of /mnt/a/x", ["/mnt/a/b/net", "/mnt/a/x"], "net of x"),
        # Names of the hub are no places, and the root holds everything.
        ("uoft-cs/cifar10 is there", ["uoft-cs/cifar10"], "uoft-cs/cifar10 is there"),
        ("/net is damaged", ["/net"], "/net is damaged"),
        ("digits", ["digits"], "digits"),
    ],
)
def test_a_text_for_others_has_the_last_part_of_a_place_only(text, places, shown):
    assert without_places(text, *places) == shown


def test_places_are_known_however_they_were_named(here):
    whole = f"{here}/pictures/3.png is damaged"
    for place in ("pictures", "./pictures", "../work/pictures", str(here / "pictures")):
        assert without_places(whole, place) == "pictures/3.png is damaged", place
    home = os.environ["HOME"]
    assert without_places(f"{home}/own/3.png, ~/own/4.png", "~/own") == "own/3.png, own/4.png"
    # Of what is no place of the run the home folder is left out all the same.
    assert without_places(f"{home}/more/3.png", "~/own") == "more/3.png"
    assert without_places(f"{home}/more/3.png") == "~/more/3.png"

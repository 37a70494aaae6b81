"""A report is opened where somebody sits in front of a browser, and nowhere else."""

import json
import webbrowser
from pathlib import Path

import pytest

from pclora_lab.cli import demo, opening
from pclora_lab.cli.main import main
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig

QUICK = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=2, evaluations=1, eval_images=16, batch_size=16,
    layer_metrics=False, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The end of a real run, in a folder whose name an address has to quote."""
    *_, end = execute(QUICK, tmp_path_factory.mktemp("root") / "my runs")
    return end


@pytest.fixture
def opened(monkeypatch, finished):
    """Addresses that were opened, on a desk with a display, by a demo that has just trained."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    monkeypatch.setattr(opening.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("CI", "SSH_CONNECTION", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(demo, "run_to_end", lambda config, root, cache: finished)
    return addresses


@pytest.mark.parametrize(
    "environment, platform, expected",
    [
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0", "CI": "0"}, "linux", True),
        ({"DISPLAY": ":0", "CI": "1"}, "linux", False),
        ({"CI": "true"}, "darwin", False),
        ({}, "win32", True),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, "darwin", False),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22", "DISPLAY": ":10"}, "linux", True),
    ],
)
def test_a_display_is_told_from_none(environment, platform, expected):
    assert opening.has_display(environment, platform) is expected


def test_the_demo_opens_its_report(opened, finished, capfd):
    assert main(["demo", "--seed", "4"]) == 0
    path = Path(finished.result["run_dir"]) / "report.html"
    assert opened == [path.as_uri()] and "my%20runs" in opened[0]
    assert str(path) in capfd.readouterr().out
    assert "pclora-lab demo --seed 4" in path.read_text()


@pytest.mark.parametrize("flag", ["--no-open", "--json"])
def test_the_demo_opens_nothing_where_it_is_told_so(flag, opened, finished, capfd):
    assert main(["demo", flag]) == 0
    path = Path(finished.result["run_dir"]) / "report.html"
    out = capfd.readouterr().out
    assert opened == [] and path.is_file() and str(path) in out
    if flag == "--json":
        assert json.loads(out.splitlines()[-1])["report"] == str(path)


def test_training_opens_nothing(opened, tmp_path):
    flags = ["--steps", "1", "--evaluations", "1", "--eval-images", "16", "--init", "svd"]
    assert main(["train", *flags, "--out", str(tmp_path)]) == 0
    assert opened == [] and not list(tmp_path.glob("*/report.html"))


@pytest.mark.parametrize("error", [webbrowser.Error("no browser"), OSError("gone")])
def test_a_browser_that_does_not_open_is_a_remark(error, opened, monkeypatch, capfd):
    def fail(address):
        raise error

    monkeypatch.setattr(webbrowser, "open", fail)
    assert opening.open_page(Path("report.html")) is False
    assert "open report.html by hand" in capfd.readouterr().err

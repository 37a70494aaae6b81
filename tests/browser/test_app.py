"""The lab as a page of its own: what it shows, who may see it, and what it leaves behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from accessibility import faults
from jupyter import CHROMIUM_OPTIONS, find_chromium
from lab_page import lab, press, set_option
from playwright.sync_api import Page, expect, sync_playwright
from waiting import until

from pclora_lab import load_compressed

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "tmp").mkdir()
    # Somebody's settings for other applications must not open this one.
    (folder / "voila.json").write_text('{"Voila": {"ip": "0.0.0.0", "auto_token": false}}')
    command = [sys.executable, "-m", "pclora_lab", "app", "--json", "--no-browser"]
    command += ["--port", str(port), "--root", "my runs"]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with (folder / "app.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # A test run in the background of a shell ignores interrupts, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    with server:  # waits for it and closes its pipe
        yield server
        if server.poll() is None:
            server.kill()


@pytest.fixture(scope="module")
def address(server: subprocess.Popen, folder: Path) -> str:
    line = server.stdout.readline()
    assert line, (folder / "app.log").read_text()[-2000:]
    return json.loads(line)["address"]


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), **CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 1250})
        page.set_default_timeout(60_000)
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address)
        page.locator(".pclora-lab").wait_for(timeout=120_000)
        yield page
        browser.close()


def status_code(url: str, headers: dict[str, str] | None = None, data: bytes | None = None):
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.geturl()
    except urllib.error.HTTPError as error:
        return error.code, url


def test_it_listens_on_this_machine_only(server: subprocess.Popen, address: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{40,}", address)
    sockets = psutil.Process(server.pid).net_connections("inet")
    listening = {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_without_the_token_nothing_is_given(address: str) -> None:
    bare = address.split("?")[0]
    for url in (bare, f"{bare}?token=0000"):
        code, place = status_code(url)
        assert code == 403 or "/login" in place, f"{url}: {code} {place}"
    kernel = "12345678-1234-1234-1234-123456789abc"
    for path in (
        f"api/kernels/{kernel}",
        f"api/kernels/{kernel}/channels",
        "voila/files/lab.ipynb",
    ):
        assert status_code(bare + path)[0] == 403, path


def test_another_page_or_host_name_is_refused(address: str) -> None:
    bare, token = address.split("?")
    assert status_code(address, {"Host": "evil.example"})[0] == 403
    shutdown = f"{bare}voila/api/shutdown/12345678-1234-1234-1234-123456789abc"
    assert status_code(f"{shutdown}?{token}", {}, b"")[0] == 403, "from no page at all"
    assert status_code(shutdown, {"Origin": bare[:-1]}, b"")[0] == 403, "without the token"
    assert status_code(f"{shutdown}?{token}", {"Origin": bare[:-1]}, b"")[0] == 404


def test_the_page_shows_the_lab_and_nothing_else(page: Page) -> None:
    assert page.title() == "PC-LoRA lab"
    page.locator(".pclora-lab .pclora-rank-sizes table").wait_for()
    expect(page.locator("#loading")).to_be_hidden()
    everything = page.locator("body").inner_text().split()
    assert everything == page.locator(".pclora-lab").inner_text().split()
    assert page.locator(".jp-InputArea, .jp-RenderedMarkdown, .cm-editor").count() == 0
    page.wait_for_timeout(1500)
    assert faults(page, "html") == []
    if SCREENSHOTS:
        page.wait_for_timeout(1000)
        page.screenshot(path=f"{SCREENSHOTS}/app_0_opened.png")


def test_train_works_to_the_end(page: Page, folder: Path) -> None:
    set_option(page, "steps", "30")
    press(page, "Train")
    expect(page.locator(".pclora-status")).to_have_text(re.compile("^finished"), timeout=180_000)
    (result,) = folder.glob("my runs/*/result.json")
    assert json.loads(result.read_text())["steps"] == 30
    drawn = "() => document.querySelector('.js-plotly-plot')._fullData[0].x.length > 10"
    page.wait_for_function(drawn)
    if SCREENSHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=f"{SCREENSHOTS}/app_1_finished.png")


def test_the_finished_model_is_downloaded_and_reloads(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as download:
        lab(page).locator("button").filter(has_text=re.compile("^Download$")).click()
    name = download.value.suggested_filename
    download.value.save_as(tmp_path / name)
    with zipfile.ZipFile(tmp_path / name) as archive:
        archive.extractall(tmp_path)
    expect(page.locator(".pclora-download")).to_contain_text(f"saved as {name}")
    folder = tmp_path / name.removesuffix(".zip")
    assert name.startswith("vit_digits-") and load_compressed(folder)


def test_nothing_was_fetched_from_elsewhere_and_no_script_failed(page: Page, address: str) -> None:
    here = address.split("?")[0]
    elsewhere = {
        url.split("?")[0] for url in page.asked if not url.startswith((here, "data:", "blob:"))
    }
    answered = [url for url in elsewhere if not url.startswith("https://cdn.jsdelivr.net/")]
    assert answered == [] and page.complaints == []


def test_closing_the_page_ends_its_run(page: Page, folder: Path) -> None:
    set_option(page, "steps", "5000")
    press(page, "Train")
    expect(page.locator(".pclora-status")).to_have_text(re.compile("^fading"), timeout=60_000)
    newest = max(folder.glob("my runs/*/status.json"), key=lambda path: path.stat().st_mtime)
    page.goto("about:blank")
    until(lambda: json.loads(newest.read_text())["status"] == "stopped", seconds=60)


def test_an_interrupt_ends_the_app_and_leaves_nothing(
    server: subprocess.Popen, address: str, folder: Path
) -> None:
    assert address  # it has begun
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0
    assert [path.name for path in (folder / "tmp").glob("pclora_lab_*")] == []
    assert list(folder.glob("*.ipynb")) == []

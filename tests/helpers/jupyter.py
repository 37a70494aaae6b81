"""JupyterLab on 127.0.0.1 with a token, and a headless Chromium that looks at it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# As people see pages: with scrollbars.
CHROMIUM_OPTIONS = {"args": list(CHROMIUM_FLAGS), "ignore_default_args": ["--hide-scrollbars"]}


def themes(default_config: str) -> list[str]:
    """Both themes for whoever looks at the screenshots; one, so that CI is done in time."""
    return ["light", "dark"] if os.environ.get("SCREENSHOTS") else [default_config]


def find_chromium() -> str:
    """Path of Chromium; without one, skip on a developer's machine and fail in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    reason = "no Chromium found: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def jupyter_lab(folder: Path, dark: bool = False) -> Iterator[str]:
    """Serve a folder; yields the address of its JupyterLab, token included."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    _settings(folder / ".settings", dark)
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    homes = {name: str(folder / ".jupyter" / name.lower()) for name in names}
    homes["JUPYTERLAB_SETTINGS_DIR"] = str(folder / ".settings")
    with (folder / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **homes}
        )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/api?token={token}", server, folder)
        yield f"http://127.0.0.1:{port}/lab/tree/{{notebook}}?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _settings(settings: Path, dark: bool) -> None:
    """Keep JupyterLab's question about news off the screenshots, and choose its theme."""
    plugin = settings / "@jupyterlab" / "apputils-extension"
    plugin.mkdir(parents=True, exist_ok=True)
    text = '{"fetchNews": "false", "checkForUpdates": false}'
    (plugin / "notification.jupyterlab-settings").write_text(text)
    theme = "JupyterLab Dark" if dark else "JupyterLab Light"
    (plugin / "themes.jupyterlab-settings").write_text(f'{{"theme": "{theme}"}}')


def _wait_until_it_answers(url: str, server: subprocess.Popen, folder: Path) -> None:
    for _ in range(120):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError((folder / "jupyter.log").read_text()[-2000:])

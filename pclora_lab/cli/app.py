"""The lab as a page of its own, without a notebook around it: Voilà on 127.0.0.1 with a token.

The page runs one small notebook that is written for it, so nobody's edits of a notebook can
change what the app shows. Files land where the app was started.
"""

import logging
import sys
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pclora_lab.files import write_text
from pclora_lab.json_files import to_json

__all__ = ["lab_notebook", "main", "make_app"]

TITLE = "PC-LoRA lab"


PORT = 8866

_LOG = logging.getLogger("tornado.access")


# The page needs nothing from elsewhere: without this rule, a machine whose network swallows
# packets shows nothing until the icons that Voilà's template links from a CDN time out.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws://127.0.0.1:*; "
    "frame-ancestors 'self'"
)


def lab_notebook(root: Path | str, folder: Path | str) -> dict[str, Any]:
    """A notebook with one cell that shows the lab.

    Args:
        root: folder of runs, as the lab is told; relative to ``folder``.
        folder: where the kernel works.

    Example:
        >>> print(lab_notebook("runs", "/home/me")["cells"][0]["source"])
        import os
        from pclora_lab import ui
        os.chdir('/home/me')
        ui.Lab(root='runs')
    """
    source = (
        "import os\nfrom pclora_lab import ui\n"
        f"os.chdir({str(folder)!r})\nui.Lab(root={str(root)!r})"
    )
    cell = {"cell_type": "code", "id": "lab", "metadata": {}, "source": source}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"title": TITLE, "kernelspec": kernel},
        "cells": [{**cell, "outputs": [], "execution_count": None}],
    }


def make_app(
    root: Path | str,
    folder: Path | str,
    port: int,
    announce: Callable[[str], None],
    *,
    dark: bool = False,
) -> Any:
    """A Voilà application that is not started yet.

    Args:
        root: folder of runs, relative to where the app is started.
        folder: an empty folder of the app's own; nothing outside it is served as a file.
        port: where to listen; if it is taken, one near it.
        announce: called with the address, token included, once the app listens.
        dark: a dark page.

    Raises:
        ImportError: Voilà is not installed.
        ValueError: there is no such port.
    """
    try:
        from voila.app import Voila
    except ImportError as error:
        raise ImportError(
            "the app needs Voilà, which is not installed: pip install 'pclora-lab[app]', or voila"
        ) from error
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is none: use a number from 1 to 65535, such as {PORT}")
    notebook = Path(folder) / "lab.ipynb"
    write_text(notebook, to_json(lab_notebook(root, Path.cwd())))
    # Configuration files of other Voilà applications could open this one to the network.
    app = Voila(config_file_paths=[], ip="127.0.0.1", port=port, auto_token=True, log_level=30)
    app.notebook_path, app.root_dir = str(notebook), str(folder)
    # With allow_remote_access any host name would do, also one that a foreign page brought along.
    headers = {"Content-Security-Policy": _POLICY}
    settings = {"headers": headers, "log_function": _log_path}
    app.tornado_settings = {**settings, "allow_remote_access": False}
    # A page that was lost without a word: its kernel goes once nothing happens in it any more.
    app.config.MappingKernelManager.update({"cull_idle_timeout": 600, "cull_interval": 60})
    # Voilà opens the browser without the token.
    app.launch_browser = lambda: announce(app.display_url)
    app.initialize([])
    handlers = app.init_handlers
    app.init_handlers = lambda: _with_working_shutdown(handlers())
    app.voila_configuration.show_tracebacks = True
    app.voila_configuration.theme = "dark" if dark else "light"
    app.voila_configuration.allow_template_override = "NO"
    app.voila_configuration.allow_theme_override = "NO"
    return app


def _log_path(handler: Any) -> None:
    """As tornado logs what went wrong, without the rest of the address: the token stands there."""
    request, status = handler.request, handler.get_status()
    level = logging.DEBUG if status < 400 else logging.WARNING
    text = "%d %s %s (%s)"
    _LOG.log(level, text, status, request.method, request.path, request.remote_ip)


def _with_working_shutdown(handlers: list[tuple]) -> list[tuple]:
    """Let a page that is closed end its kernel.

    Voilà's page sends that request without the token that jupyter_server wants against forged
    requests (voila issue 1458), so kernels would go on unseen. The browser's own ``Origin`` header
    is as good a proof.
    """
    from tornado.web import HTTPError
    from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler

    class Shutdown(VoilaShutdownKernelHandler):
        def check_xsrf_cookie(self) -> None:
            if self.request.headers.get("Origin") is None or not self.check_origin():
                raise HTTPError(403)

    swap = {VoilaShutdownKernelHandler: Shutdown}
    return [(path, swap.get(handler, handler), *rest) for path, handler, *rest in handlers]


def main(
    root: Path | str = "runs",
    *,
    port: int = PORT,
    open_browser: bool = True,
    as_json: bool = False,
    dark: bool = False,
) -> int:
    """Serve the lab until Ctrl+C; closing the page ends its run.

    Args:
        root: folder of runs.
        port: where to listen on 127.0.0.1.
        open_browser: open the page in the default browser.
        as_json: print the address as a JSON object.
        dark: a dark page.

    Raises:
        ImportError: Voilà is not installed.
        ValueError: there is no such port.
    """
    with tempfile.TemporaryDirectory(prefix="pclora_lab_") as folder:

        def announce(address: str) -> None:
            text = f"{TITLE}: {address}\nClosing the page ends its run; Ctrl+C ends the app."
            print(to_json({"address": address}) if as_json else text, flush=True)
            if open_browser:
                _open(address, Path(folder))

        make_app(root, folder, port, announce, dark=dark).start()
    return 0


def _open(address: str, folder: Path) -> None:
    """Through a file that only its owner can read: arguments of a process are seen by everyone."""
    page = folder / "open.html"
    page.touch(mode=0o600)
    head = f'<title>{TITLE}</title><meta http-equiv="refresh" content="0;url={address}">'
    text = f'<!doctype html>{head}<a href="{address}">{TITLE}</a>'
    write_text(page, text)
    try:
        webbrowser.open(page.as_uri())
    except webbrowser.Error as error:
        print(f"no browser was opened ({error}): open the address by hand", file=sys.stderr)

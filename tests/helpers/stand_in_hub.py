"""A stand-in for the hub on 127.0.0.1 that keeps what it is sent."""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class StandIn(BaseHTTPRequestHandler):
    """Answers the calls of an upload; files arrive inside the commit."""

    calls: list[tuple[str, str, dict]]
    files: dict[str, bytes]
    needs_token = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        self.calls.append((self.path, self.headers.get("Authorization"), lines))
        if self.is_refused():
            return
        if self.path == "/api/repos/create":
            is_there = sum(path == self.path for path, *_ in self.calls) > 1
            self.answer(
                {"url": f"{self.server.address}/me/small", "id": "1", "name": "me/small"},
                409 if is_there else 200,
            )
        elif self.path == "/api/validate-yaml":  # of the card
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in lines[0]["files"]
            ]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            for line in lines:
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"{self.server.address}/me/small/commit/abc"
            self.answer({"success": True, "commitOid": "abc", "commitUrl": address})
        else:
            self.answer({}, 404)

    def do_GET(self) -> None:
        if self.is_refused():
            return
        self.answer({"id": "me/small", "sha": "abc", "siblings": [], "private": True})

    def do_HEAD(self) -> None:
        """No file can be fetched, so every card is a new one."""
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()

    def is_refused(self) -> bool:
        """As one without a token is, where one is needed."""
        if not self.needs_token or self.headers.get("Authorization"):
            return False
        self.answer({"error": "Invalid username or password."}, 401)
        return True

    def answer(self, values: dict, status: int = 200) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        """Silent."""


@contextlib.contextmanager
def running_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A server with an ``address``; ``RequestHandlerClass`` has its calls and files."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    handler = type("Handler", (StandIn,), {"calls": [], "files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()

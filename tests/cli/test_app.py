"""The app without a browser."""

import ast
import signal
import sys
from types import SimpleNamespace

import pytest

from pclora_lab.cli.app import lab_notebook, make_app
from pclora_lab.cli.main import main


def test_the_notebook_is_valid_and_its_code_whatever_the_names():
    import nbformat

    notebook = lab_notebook("my 'runs'", '/tmp/"odd"\n\\folder')
    nbformat.validate(notebook)
    (cell,) = notebook["cells"]
    values = {node.value for node in ast.walk(ast.parse(cell["source"])) if hasattr(node, "value")}
    assert "my 'runs'" in values and '/tmp/"odd"\n\\folder' in values


def test_without_voila_the_cure_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "voila.app", None)
    assert main(["app", "--no-browser"]) == 2
    assert "pip install 'pclora-lab[app]'" in capsys.readouterr().err


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_a_port_that_is_none_is_refused(port, tmp_path):
    with pytest.raises(ValueError, match="from 1 to 65535"):
        make_app("runs", tmp_path, port, print)
    assert list(tmp_path.iterdir()) == []


def test_kernels_of_lost_pages_are_ended_and_no_other_host_name_is_answered(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    app = make_app("runs", tmp_path, 8866, print)
    signal.signal(signal.SIGTERM, before)
    app.connection_dir = str(tmp_path)
    app.init_settings()
    assert app.kernel_manager.cull_idle_timeout == 600 and not app.kernel_manager.cull_connected
    assert app.ip == "127.0.0.1" and len(app.identity_provider.token) >= 40
    assert app.tornado_settings["allow_remote_access"] is False


@pytest.mark.parametrize("status", [200, 403, 500])
def test_the_token_stands_in_no_log(tmp_path, caplog, status):
    before = signal.getsignal(signal.SIGTERM)
    app = make_app("runs", tmp_path, 8866, print)
    signal.signal(signal.SIGTERM, before)
    request = SimpleNamespace(
        method="GET", uri="/?token=secret", path="/", remote_ip="127.0.0.1", headers={}
    )
    handler = SimpleNamespace(request=request, get_status=lambda: status)
    with caplog.at_level("DEBUG"):
        app.tornado_settings["log_function"](handler)
    assert f"{status} GET / (127.0.0.1)" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize(("dark", "theme"), [(False, "light"), (True, "dark")])
def test_the_page_is_dark_if_it_is_asked_for_and_an_address_cannot_change_it(tmp_path, dark, theme):
    before = signal.getsignal(signal.SIGTERM)
    app = make_app("runs", tmp_path, 8866, print, dark=dark)
    signal.signal(signal.SIGTERM, before)
    assert app.voila_configuration.theme == theme
    assert app.voila_configuration.allow_theme_override == "NO"

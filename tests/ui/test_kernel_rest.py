"""A page that has not answered is given up only if the kernel could have listened."""

import time

import pytest
from IPython.core.interactiveshell import InteractiveShell

from pclora_lab.ui import kernel_rest
from pclora_lab.ui.kernel_rest import seconds_at_rest


@pytest.fixture
def shell(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr(kernel_rest, "get_ipython", lambda: shell)
    kernel_rest._rest.cache_clear()
    yield shell
    kernel_rest._rest.cache_clear()


def test_a_cell_that_runs_is_no_rest(shell):
    seconds_at_rest()
    time.sleep(0.1)
    assert seconds_at_rest() >= 0.1
    seen = shell.user_ns["seen"] = []
    shell.user_ns["look"] = lambda: seen.append(seconds_at_rest())
    shell.run_cell("look()")
    assert seen == [0.0] and seconds_at_rest() < 0.1


def test_pictures_wait_until_the_kernel_has_listened(monkeypatch):
    from pclora_lab.data.cache import DataCache
    from pclora_lab.ui.views import views
    from pclora_lab.ui.views.views import RunViews
    from pclora_lab.ui.widgets.page import Page

    shown = RunViews(Page(), DataCache())
    shown.shown_at = time.monotonic() - 100
    monkeypatch.setattr(views, "seconds_at_rest", lambda: 1.0)
    assert not shown._needs_picture()
    monkeypatch.setattr(views, "seconds_at_rest", lambda: 9.0)
    assert shown._needs_picture()
    shown.page.alive = True
    assert not shown._needs_picture() and shown._still.layout.display == "none"

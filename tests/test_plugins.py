"""The registry of what other packages add: usable entries come in, the others say why not."""

import sys
import threading
from importlib.metadata import EntryPoint

import pytest

from pclora_lab import plugins
from pclora_lab.plugins import PluginError, Registry

MODULES = {
    "good_plugin": "VALUE = 7\n",
    "broken_plugin": "raise OSError('no such library')\n",
    "leaving_plugin": "raise SystemExit(3)\n",
}


def entry(name, value, group="example.numbers"):
    return EntryPoint(name, value, group)


def whole(name, value):
    if not isinstance(value, int):
        raise PluginError(f"it is {value!r}", "Return a whole number")
    return value


@pytest.fixture
def make(tmp_path, monkeypatch):
    for module, text in MODULES.items():
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def made(*entries, check=whole):
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
        return Registry("example.numbers", "number", {"one": 1}, check)

    yield made
    for module in MODULES:
        sys.modules.pop(module, None)


def test_an_entry_is_imported_when_more_than_what_is_built_in_is_asked_for(make):
    registry = make(entry("seven", "good_plugin:VALUE"))
    assert registry["one"] == 1 and "one" in registry and registry.require("one") == 1
    assert "good_plugin" not in sys.modules
    assert registry["seven"] == 7 and list(registry) == ["one", "seven"] and len(registry) == 2
    assert registry.problems == () and "good_plugin" in sys.modules


@pytest.mark.parametrize(
    ("name", "value", "reason", "cure"),
    [
        ("bad", "broken_plugin:VALUE", "OSError: no such library", "Update or uninstall"),
        ("bad", "leaving_plugin:VALUE", "SystemExit: 3", "Update or uninstall"),
        ("bad", "good_plugin:OTHER", "AttributeError", "Update or uninstall"),
        ("bad", "no_such_plugin", "ModuleNotFoundError", "Update or uninstall"),
        ("one", "good_plugin:VALUE", "this package has a number of that name", "another name"),
        ("seven", "good_plugin:VALUE", "another package has a number of that name", "another name"),
        ("a,b", "good_plugin:VALUE", "'a,b' can't be the name of a number", "Use letters"),
        ("bad", "good_plugin", "it is <module", "Return a whole number"),
    ],
)
def test_what_cannot_be_used_stays_out_and_says_why(make, name, value, reason, cure):
    registry = make(entry("seven", "good_plugin:VALUE"), entry(name, value))
    (problem,) = registry.problems
    assert reason in problem.reason and cure in problem.cure
    assert name in str(problem) and value in str(problem)
    assert dict(registry) == {"one": 1, "seven": 7}


def test_asking_for_what_was_left_out_says_why(make):
    registry = make(entry("bad", "broken_plugin:VALUE"))
    with pytest.raises(ValueError, match="unknown number 'bad': .*no such library.*Update"):
        registry.require("bad")
    with pytest.raises(ValueError, match=r"unknown number \['bad'\]: use one of one$"):
        registry.require(["bad"])


def test_threads_see_all_entries_or_wait(make):
    registry = make(entry("seven", "good_plugin:VALUE"))
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(list(registry))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [["one", "seven"]] * 8

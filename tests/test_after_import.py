"""Something to do once a module is loaded: at once, later, once, and without loading it."""

import importlib
import inspect
import sys

import pytest

from pclora_lab.after_import import after_import


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that nobody has imported."""
    name = "imported_only_here"
    (tmp_path / f"{name}.py").write_text("steps = ['its own code']\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield name
    sys.modules.pop(name, None)


def test_it_is_done_after_the_module_is_loaded_and_once(module):
    done = []
    after_import(module, lambda: done.append(list(sys.modules[module].steps)))
    assert module not in sys.modules and done == []
    loaded = importlib.import_module(module)
    assert done == [["its own code"]]
    importlib.import_module(module)
    importlib.reload(loaded)
    assert len(done) == 1
    # Whoever looks at the module finds it as if nobody had waited for it.
    assert inspect.getsource(loaded).startswith("steps")
    assert type(loaded.__loader__) is type(loaded.__spec__.loader)
    assert type(loaded.__loader__).__module__ != "pclora_lab.after_import"


def test_it_is_done_at_once_where_the_module_is_there(module):
    importlib.import_module(module)
    done = []
    after_import(module, lambda: done.append(1))
    assert done == [1]


def test_a_module_that_is_not_there_is_missed_as_ever(module):
    done = []
    after_import("not_there_at_all", lambda: done.append(1))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        importlib.import_module("not_there_at_all")
    assert done == []


def test_two_may_wait_for_one(module):
    done = []
    for number in (1, 2):
        after_import(module, lambda number=number: done.append(number))
    importlib.import_module(module)
    assert sorted(done) == [1, 2]


def test_others_are_loaded_by_those_who_can(module):
    after_import("not_there_at_all", lambda: None)
    assert importlib.import_module(module).steps == ["its own code"]

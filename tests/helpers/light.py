"""Modules of the package that are imported while some library can't be."""

import importlib.util
import sys
from types import ModuleType

import pytest


def imported_without(name: str, *libraries: str) -> ModuleType:
    """A module of its own, run anew; an ImportError where it needs one of the libraries for that.

    What only a type checker or one function needs should not be paid for by everybody who imports
    the module: some libraries take seconds.
    """
    spec = importlib.util.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for library in libraries:
            for loaded in [n for n in sys.modules if n == library or n.startswith(f"{library}.")]:
                patch.delitem(sys.modules, loaded)
            patch.setitem(sys.modules, library, None)
        patch.setitem(sys.modules, name, module)  # dataclasses look there for what they are in
        spec.loader.exec_module(module)
    return module

"""Imports the modules named in a file, so that processes forked from this one start at once.

They are what the package imports, and nothing of the package: a fault in it must be read anew.
"""

import contextlib
import importlib
import os
from pathlib import Path

for _name in Path(os.environ.get("WARM_MODULES", os.devnull)).read_text().split():
    # A few can't be imported by their name; the tests import what they need.
    with contextlib.suppress(Exception):
        importlib.import_module(_name)

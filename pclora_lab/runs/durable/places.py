"""Places that mean the same from every folder: a run is taken up from elsewhere, too."""

import dataclasses
import os
import re
from pathlib import Path

from pclora_lab.data.loading import EMBEDDED_DATA
from pclora_lab.data.sources import local_path
from pclora_lab.data.splits import short_name
from pclora_lab.files import without_home
from pclora_lab.models.loading import local_model
from pclora_lab.training.config import RunConfig

__all__ = ["home_of_teachers", "settled", "whole_data", "whole_model"]
__all__ += ["without_places"]


def home_of_teachers(folder: Path) -> Path:
    """Where a run looks for ``teachers``: among its fellows, or in the comparison it is a cell of.

    Args:
        folder: of the run.

    Example:
        >>> home_of_teachers(Path("runs/one")).name
        'runs'
    """
    folder = Path(os.path.abspath(folder))
    around = folder.parent.parent
    is_cell = folder.parent.name == "cells" and (around / "comparison.json").is_file()
    return around if is_cell else folder.parent


def without_places(text: str, *places: Path | str) -> str:
    """A text for others to read: of paths on this machine, the last part only.

    Args:
        text: may name these places, or what is below them.
        places: of models, data and runs; names of the hub are no places.

    Example:
        >>> text = "/mnt/clinic/pictures/3/7.png is damaged"
        >>> without_places(text, "/mnt/clinic/pictures")
        'pictures/3/7.png is damaged'
    """
    named = [str(place).removeprefix("local-dir:") for place in places]
    given = [place for place in named if short_name(place) != place or os.path.exists(place)]
    paths = {form(place) for place in given for form in (str, os.path.expanduser, os.path.abspath)}
    # The longest first, or what is inside another one would not be found any more.
    for path in sorted(paths, key=len, reverse=True):
        above = os.path.dirname(path.rstrip("/"))
        if above.strip("./"):
            text = re.sub(rf"(?<![\w./~-]){re.escape(above)}/", "", text)
    return without_home(text)


def settled(config: RunConfig) -> RunConfig:
    """The same settings, with whole paths in place of relative ones.

    What is below the home directory begins with ``~``, so that a run folder that is shared names
    nobody's home.

    Example:
        >>> settled(RunConfig()) == RunConfig()
        True
    """
    model, data = whole_model(config.model), whole_data(config.data)
    if (model, data) == (config.model, config.data):
        return config
    return dataclasses.replace(config, model=model, data=data)


def whole_data(name: str) -> str:
    """A file or folder by its whole path; other names stay as they are.

    Example:
        >>> whole_data("digits"), whole_data("uoft-cs/cifar10")
        ('digits', 'uoft-cs/cifar10')
    """
    if name in EMBEDDED_DATA:
        return name
    try:
        path = local_path(name)
    except ValueError:  # what can't be right is said where the data are read
        return name
    return name if path is None or not path.exists() else _whole(path)


def whole_model(name: str) -> str:
    """A folder by its whole path; other names stay as they are.

    Example:
        >>> whole_model("vit_digits"), whole_model("no such model")
        ('vit_digits', 'no such model')
    """
    try:
        folder = local_model(name)
    except ValueError:
        return name
    return name if folder is None else _whole(folder)


def _whole(path: Path) -> str:
    path = Path(os.path.abspath(path))
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # it is elsewhere, or nobody is at home
        return str(path)

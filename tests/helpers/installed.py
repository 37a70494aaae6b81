"""The packages that `pip install` of this project brings, and nothing else."""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def declared(extra: str | None = None) -> list[str]:
    """What pyproject.toml asks for, or one of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] if extra is None else project["optional-dependencies"][extra]


def name_of(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def closure(requirements: Iterable[str]) -> set[str]:
    """Every distribution that these need, directly or not, here and on this Python."""
    found: dict[str, set[str]] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        extras = {"", *wanted.extras}
        if extras <= found.get(name, set()):
            continue
        found[name] = extras | found.get(name, set())
        waiting += _needs(name, found[name])
    return set(found)


def _needs(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    try:
        requires = distribution(name).requires or ()
    except PackageNotFoundError:  # for another system, or not needed by what is installed
        return
    for needed in map(Requirement, requires):
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
            yield needed


def link_farm(folder: Path, names: Iterable[str]) -> Path:
    """A folder like site-packages that holds these distributions only, as links."""
    folder.mkdir()
    for name in names:
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:
            continue
        tops = {file.parts[0]: file for file in files if file.parts[0] not in ("..", "__pycache__")}
        for top, file in tops.items():
            place = Path(str(file.locate()))
            for _ in file.parts[1:]:
                place = place.parent
            if not (folder / top).exists():
                (folder / top).symlink_to(place)
    return folder


def python(*arguments: str) -> list[str]:
    """Python without its site-packages: only PYTHONPATH counts."""
    return [sys.executable, "-S", *arguments]

"""What the documents name is there."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/what_can_go_wrong.md",
    "docs/glossary.md", "docs/more_processes.md", "docs/notation.md", "docs/other_libraries.md",
    "docs/questions.md", "docs/tasks.md",
)  # fmt: skip
ROOMS = (
    *("nn", "data", "models", "tasks", "methods", "training", "runs"),
    *("plots", "export", "ui", "cli"),
)
PATH = re.compile(r"`((?:pclora_lab|tests|data|docs|notebooks)/[\w./-]+)`")
NAME = re.compile(rf"`(?:pclora_lab\.)?((?:{'|'.join(ROOMS)})\.[A-Za-z_][\w.]*[A-Za-z_])`")
LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def names_in(document: str) -> list[str]:
    """Dotted names of this package that a document gives; ``nn.Linear`` is torch's."""
    names = NAME.findall((ROOT / document).read_text())
    return [name for name in names if not re.match(r"nn\.[A-Z]", name)]


def find(dotted: str) -> object:
    """The module, or the attribute of one, that a dotted name stands for."""
    parts = ["pclora_lab", *dotted.split(".")]
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_and_link_leads_somewhere(document):
    path = ROOT / document
    text = path.read_text()
    missing = [name for name in PATH.findall(text) if not (ROOT / name).exists()]
    missing += [name for name in LINK.findall(text) if not (path.parent / name).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_name_is_there(document):
    for name in names_in(document):
        find(name)


def test_the_walks_name_what_they_walk_through():
    names = names_in("docs/architecture.md")
    assert len(names) >= 30
    with pytest.raises(AttributeError):
        find("nn.ranks.no_such_function")
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        find("nn.no_such_module.function")


def test_the_staircase_is_drawn_as_it_is_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c["layers"] for c in contracts["contracts"] if c["id"] == "staircase")
    drawing = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    drawn = [line.split("  ")[0] for line in drawing.splitlines() if line[:1].isalpha()]
    assert [set(line.split(" · ")) for line in drawn] == [set(la.split(" | ")) for la in layers]

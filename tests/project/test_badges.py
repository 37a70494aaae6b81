"""Badges are put on lessons and index, and replaced when they are put on again."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _module():
    spec = importlib.util.spec_from_file_location("badges", ROOT / "notebooks" / "badges.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_lesson_of_the_index_gets_badges_once():
    badges = _module()
    lessons = sorted(path.name for path in ROOT.glob("notebooks/*.ipynb"))
    assert len(lessons) == 10
    readme = (ROOT / "README.md").read_text()
    once = badges.on_index(readme, "you/lab")
    assert all(f"blob/main/notebooks/{name})" in once for name in lessons)
    again = badges.on_index(once, "they/other")
    assert again == badges.on_index(readme, "they/other") and "you/lab" not in again


def test_a_lesson_keeps_its_title_first_and_its_text():
    badges = _module()
    notebook = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text())
    text = "".join(notebook["cells"][0]["source"])
    once = badges.on_lesson(text, "you/lab", "00_start_here.ipynb")
    assert once.startswith(text.splitlines()[0] + "\n\n<!-- badges -->\n[![Open in Colab]")
    assert badges.on_lesson(once, "you/lab", "00_start_here.ipynb") == once
    assert once.endswith(text.split("\n", 1)[1])

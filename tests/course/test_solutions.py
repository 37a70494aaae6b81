"""Every exercise has a solution, and every solution is right."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pclora_lab import course

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
SOLUTIONS = ROOT / "notebooks" / "solutions"
BEGINNING = re.compile(r"^(?:\*\*)?(\d)\.(?:\*\*)? ", re.MULTILINE)
QUOTE = re.compile(r"^## Exercise (\d)\n\n((?:>[^\n]*\n)+)([\s\S]*)")


def cells_of(path: Path, kind: str) -> list[dict[str, Any]]:
    """A notebook's cells of one kind."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def asked(lesson: Path) -> dict[int, str]:
    """The exercises of a lesson by number, up to the first empty line of each."""
    texts = ["".join(cell["source"]) for cell in cells_of(lesson, "markdown")]
    after = "\n\n".join(texts).partition("## Exercises\n")[2]
    _, *parts = BEGINNING.split(after.partition("\n## ")[0])
    return {
        int(number): text.strip().partition("\n\n")[0]
        for number, text in zip(parts[::2], parts[1::2], strict=True)
    }


def answered(lesson: Path) -> dict[int, tuple[str, str]]:
    """Exercise and answer by number, as the solutions give them."""
    texts = ["".join(c["source"]) for c in cells_of(SOLUTIONS / lesson.name, "markdown")]
    found = [match for text in texts if (match := QUOTE.match(text))]
    return {int(m[1]): (m[2].replace("> ", ""), m[3].strip()) for m in found}


def words_of(text: str) -> set[str]:
    """The words and numbers of a text."""
    return set(re.findall(r"\w+", text.lower()))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_exercise_of_a_lesson_is_answered(lesson: Path):
    exercises, solutions = asked(lesson), answered(lesson)
    assert len(exercises) >= 2 and sorted(solutions) == sorted(exercises)
    for number, text in exercises.items():
        quoted, answer = solutions[number]
        ours, theirs = words_of(quoted), words_of(text)
        assert len(ours & theirs) >= 0.7 * len(ours | theirs), f"another exercise: {quoted}"
        assert answer.startswith("**") and len(words_of(answer)) >= 15


@pytest.mark.parametrize("check", [n for n in course.__all__ if n.startswith("check_")])
def test_a_solution_is_what_its_check_calls_right(check: str):
    (path,) = SOLUTIONS.glob(f"{check.split('_')[1]}_*.ipynb")
    calls = [c for c in cells_of(path, "code") if f"print({check}(" in "".join(c["source"])]
    assert len(calls) == 1
    (output,) = calls[0]["outputs"]
    assert "".join(output["text"]).startswith("right")


@pytest.mark.parametrize("path", sorted(SOLUTIONS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_solution_is_compared_with_what_it_prints(path: Path):
    book = json.loads(path.read_text())
    assert "widgets" not in book["metadata"] and book["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < 30_000 and f"](../{path.name})" in book["cells"][0]["source"][2]
    for cell in cells_of(path, "code"):
        assert cell["metadata"]["tags"] == ["nbval-check-output"] and cell["outputs"]
        assert all(set(output) >= {"name", "text"} for output in cell["outputs"])


def test_make_runs_the_solutions_too():
    command = ["make", "--dry-run", "--assume-old=.venv/ready", "notebooks"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(path.relative_to(ROOT).as_posix() in told for path in SOLUTIONS.glob("*.ipynb"))

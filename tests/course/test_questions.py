"""Twenty questions, each answered under a heading of a lesson."""

import re
from pathlib import Path

import pytest
from test_solutions import cells_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROW = re.compile(r"\| (\d+) \| (.+?) \| (.+) \|")
PLACE = re.compile(r"\[(\d\d)\]\((\.\./notebooks/\w+\.ipynb)\): (.+?)(?:<br>|$)")
# What an answer can't do without, by question: found under one of its headings.
NEEDED = {
    1: r"rank is full",
    2: r"b \+ \(W - BA\)",
    3: r"in.*out.*/.*in.*\+.*out",
    4: r"No matrix of rank r is closer",
    5: r"\\mathbb\{E\}.*b \+ \(W - BA\)",
    6: r"0\.39",
    7: r"\(1 - \\lambda\)\\,e.*\\sqrt\{e\^2",
    8: r"value.*gradient",
    9: r"both sides.*freez",
    10: r"\\alpha.*feature.*logit",
    11: r"gradient.*T²",
    12: r"padding",
    13: r"rank.*93\.42",
    14: r"memory.*kernel|kernel.*memory",
    15: r"plain.*activation-aware|activation-aware.*plain",
    16: r"[Rr]epair.*[Ff]ine-tune",
    17: r"score.*\(1 - \\tau\)\^3",
    18: r"learning rate.*seeds",
    19: r"above\s+100%",
    20: r"break-even rank",
}


def rows() -> list[tuple[int, str, str]]:
    """Number, question and places of the answer."""
    text = (DOCS / "questions.md").read_text()
    return [(int(m[1]), m[2], m[3]) for m in ROW.finditer(text)]


def sections(lesson: Path) -> dict[str, str]:
    """What a lesson says, by heading; the title's own text is under the title."""
    text = "\n\n".join("".join(cell["source"]) for cell in cells_of(lesson, "markdown"))
    _, *parts = re.split(r"^#{1,3} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_there_are_twenty_questions():
    assert [number for number, _, _ in rows()] == list(range(1, 21)) == sorted(NEEDED)
    assert all(question.endswith("?") for _, question, _ in rows())


@pytest.mark.parametrize(("number", "question", "places"), rows())
def test_the_lesson_answers_under_that_heading(number: int, question: str, places: str):
    found = PLACE.findall(places)
    assert found and len(found) == places.count("](")
    said = ""
    for lesson, link, heading in found:
        assert f"/{lesson}_" in link
        parts = sections((DOCS / link).resolve())
        assert heading in parts, f"{link} has no heading {heading!r}: {[*parts]}"
        said += parts[heading]
    assert re.search(NEEDED[number], said, re.DOTALL), f"{question}: not under {places}"

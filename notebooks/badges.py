"""Put Colab and Binder badges on the lessons, once the project has a public address.

    python notebooks/badges.py owner/name

Writes one line below the title of every lesson and a column into the README's index. Run again with
another name, it replaces what it wrote before.
"""

import argparse
import json
import re
from pathlib import Path

HERE = Path(__file__).parent
MARK = "<!-- badges -->"
COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"


def badges(repository: str, notebook: str) -> str:
    """Two badges that open a lesson.

    Example:
        >>> badges("you/lab", "00_start_here.ipynb").count("you/lab")
        2
    """
    colab = f"{COLAB}/github/{repository}/blob/main/notebooks/{notebook}"
    binder = f"{BINDER}/v2/gh/{repository}/main?labpath=notebooks%2F{notebook}"
    return (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Binder]({BINDER}/badge_logo.svg)]({binder})"
    )


def on_lesson(text: str, repository: str, notebook: str) -> str:
    """A lesson's first cell with the badges below its title; on Colab the package comes first."""
    install = f"On Colab, first run `%pip install git+https://github.com/{repository}`."
    kept = re.sub(rf"\n*{MARK}.*?{MARK}", "", text, flags=re.DOTALL)
    title, _, rest = kept.partition("\n")
    line = f"{MARK}\n{badges(repository, notebook)} {install}\n{MARK}"
    return f"{title}\n\n{line}\n{rest}"


def on_index(readme: str, repository: str) -> str:
    """The README's index with badges behind every lesson's name."""

    def put(match: re.Match) -> str:
        shown = badges(repository, match["file"])
        return f"| {match['link']} {MARK} {shown} {MARK} |"

    lesson = rf"\| (?P<link>\[\w+\]\(notebooks/(?P<file>\w+\.ipynb)\))(?: {MARK}.*?{MARK})? \|"
    return re.sub(lesson, put, readme)


def main() -> None:
    """Rewrite all lessons and the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", help="owner/name on GitHub")
    repository = parser.parse_args().repository
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        parser.error(f"{repository!r} is no repository: write owner/name")
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf8"))
        first = notebook["cells"][0]
        changed = on_lesson("".join(first["source"]), repository, path.name)
        first["source"] = changed.splitlines(keepends=True)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    readme = HERE.parent / "README.md"
    readme.write_text(on_index(readme.read_text(encoding="utf8"), repository), encoding="utf8")


if __name__ == "__main__":
    main()

"""What every lesson has, whatever it is about."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

LESSONS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("0*.ipynb"))
# One inch of a figure is 80 pixels of the page: so many pixels of the picture make 150 dpi.
_PIXELS_PER_CSS_PIXEL = 150 / 80


def cells_of(path: Path, kind: str) -> list[dict[str, Any]]:
    """A lesson's cells of one kind."""
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_says_what_for_what_is_needed_and_what_stays(path):
    head, *_, foot = ["".join(cell["source"]) for cell in cells_of(path, "markdown")]
    for part in ("**After this lesson you can**", "**You need**", "**Time**"):
        assert part in head, f"{path.stem} lacks {part} in its first cell"
    assert re.search(r"\*\*Time\*\*.*minutes", head)
    remembered = foot.partition("## Three things to remember")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d\. ", remembered, re.MULTILINE)) == 3


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_figure_is_sharp_and_says_what_is_to_be_seen(path):
    drawn = [c for c in cells_of(path, "code") if any("image/png" in _data(o) for o in outputs(c))]
    for cell in drawn:
        source = "".join(cell["source"])
        assert ".described(" in source, f"a figure without a description: {source}"
        for output in outputs(cell):
            if "image/png" in _data(output):
                about = output["metadata"]["image/png"]
                picture = Image.open(io.BytesIO(base64.b64decode(_data(output)["image/png"])))
                assert picture.width >= _PIXELS_PER_CSS_PIXEL * about["width"]
                assert len(about["alt"]) > 40


def outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """What a code cell showed."""
    return list(cell["outputs"])


def _data(output: dict[str, Any]) -> dict[str, Any]:
    return dict(output.get("data", {}))

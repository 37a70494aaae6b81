"""The README's pictures: the lab in a real browser, a run's fade as an animation, the comparison.

python tests/benchmarks/readme_pictures.py --out notebooks
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from jupyter import CHROMIUM_FLAGS, find_chromium, jupyter_lab
from lab_page import press, ready, run_cell, status

from pclora_lab.course.figures.diagrams import fade_animation
from pclora_lab.plots.pareto import pareto_figure
from pclora_lab.runs.reader import list_runs

COMPARISON = Path(__file__).parents[2] / "data/results/compare_deit_tiny_cifar10.json"
CELL = "from pclora_lab.ui import Lab\nlab = Lab()\nlab"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        _drive(Path(place), args.out)
        rows = list_runs(Path(place) / "runs")[0].rows
        (args.out / "fade.gif").write_bytes(fade_animation(rows).gif)
    record = json.loads(COMPARISON.read_text(encoding="utf8"))
    pareto_figure(record["rows"]).savefig(args.out / "pareto.png", dpi=120)


def _drive(folder: Path, out: Path) -> None:
    """One run of the built-in default, seen while it trains and afterwards."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, folder / "lab.ipynb")
    with jupyter_lab(folder) as address, sync_playwright() as playwright:
        flags = list(CHROMIUM_FLAGS)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=flags)
        page = browser.new_page(viewport={"width": 1480, "height": 1150})
        page.set_default_timeout(120_000)
        page.goto(address.format(notebook="lab.ipynb"))
        ready(page)
        page.keyboard.press("Control+b")  # the file browser away
        run_cell(page, 0)
        _run(page, page.locator(".pclora-lab").first, out)
        browser.close()


def _run(page: Page, lab: Locator, out: Path) -> None:
    lab.locator(".pclora-views").wait_for()
    page.wait_for_timeout(5000)
    press(page, "Train")
    status(page, r"step 1[2-6]\d of 300", timeout=300_000)
    _save(page, lab, out / "lab.png")
    status(page, "^finished", timeout=300_000)
    lab.get_by_role("tab", name="Layers").click()
    page.wait_for_timeout(5000)
    _save(page, lab, out / "lab_layers.png")
    lab.get_by_role("tab", name="Examples").click()
    handle = lab.locator(".pclora-timeline .noUi-handle")
    handle.focus()
    for _ in range(14):
        handle.press("PageDown")
    page.wait_for_timeout(5000)
    _save(page, lab, out / "lab_back_in_time.png")


def _save(page: Page, lab: Locator, path: Path) -> None:
    """The lab to the end of its views, without what a pointer shows."""
    page.mouse.move(5, 1100)
    page.wait_for_timeout(1500)
    box, views = lab.bounding_box(), lab.locator(".pclora-views").bounding_box()
    height = views["y"] + views["height"] + 10 - box["y"]
    sides = {"x": box["x"] - 6, "y": box["y"] - 2, "width": box["width"] + 12, "height": height}
    page.screenshot(path=path, clip=sides)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


if __name__ == "__main__":
    main()

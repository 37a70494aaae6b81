"""The README's pictures: the lab in a real browser, a run's fade as an animation, the comparison.

python tests/benchmarks/readme_pictures.py --out notebooks
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from jupyter import CHROMIUM_FLAGS, find_chromium, jupyter_lab

from pclora_lab.plots.course.diagrams import fade_animation
from pclora_lab.plots.pareto import pareto_figure
from pclora_lab.runs.reader import list_runs

COMPARISON = Path(__file__).parents[2] / "data/results/compare_deit_tiny_cifar10.json"
CELL = "from pclora_lab.ui import Lab\nlab = Lab()\nlab"
WIDTH = 1180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for dark in (False, True):
            folder = Path(place) / ("dark" if dark else "light")
            folder.mkdir()
            _drive(folder, dark, args.out)
        rows = list_runs(Path(place) / "light" / "runs")[0].rows
        (args.out / "fade.gif").write_bytes(fade_animation(rows).gif)
    record = json.loads(COMPARISON.read_text(encoding="utf8"))
    pareto_figure(record["rows"]).savefig(args.out / "pareto.png", dpi=120)


def _drive(folder: Path, dark: bool, out: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, folder / "lab.ipynb")
    with jupyter_lab(folder, dark) as address, sync_playwright() as playwright:
        flags = list(CHROMIUM_FLAGS)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=flags)
        page = browser.new_page(viewport={"width": WIDTH, "height": 1800})
        page.set_default_timeout(120_000)
        page.goto(address.format(notebook="lab.ipynb").replace("/lab/tree/", "/doc/tree/"))
        page.get_by_text(re.compile(r"Idle|Python 3")).first.wait_for()
        page.wait_for_timeout(3000)
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+Enter")
        lab = page.locator(".pclora-lab").first
        lab.locator(".pclora-views").wait_for()
        (_dark if dark else _light)(page, lab, out)
        browser.close()


def _press(lab: Locator, name: str) -> None:
    lab.locator("button").filter(has_text=re.compile(f"^{name}$")).first.click()


def _light(page: Page, lab: Locator, out: Path) -> None:
    _press(lab, "Train")
    status = lab.locator(".pclora-status")
    expect(status).to_have_text(re.compile(r"step (2[0-4]\d) of 300"), timeout=300_000)
    page.wait_for_timeout(1000)
    _save(page, lab, out / "lab.png")
    expect(status).to_have_text("finished", timeout=300_000)
    lab.get_by_role("tab", name="Layers").click()
    _go_back(lab, 30)
    page.wait_for_timeout(6000)
    _save(page, lab.locator(".pclora-views"), out / "lab_layers.png")


def _dark(page: Page, lab: Locator, out: Path) -> None:
    _press(lab, "Train")
    expect(lab.locator(".pclora-status")).to_have_text("finished", timeout=300_000)
    lab.get_by_role("tab", name="Examples").click()
    _go_back(lab, 30)
    page.wait_for_timeout(4000)
    lab.locator(".pclora-timeline").scroll_into_view_if_needed()
    _save(page, lab.locator(".pclora-views"), out / "lab_back_in_time.png")


def _go_back(lab: Locator, pages: int) -> None:
    handle = lab.locator(".pclora-timeline .noUi-handle")
    handle.focus()
    for _ in range(pages):
        handle.press("PageDown")


def _save(page: Page, part: Locator, path: Path) -> None:
    part.screenshot(path=path)
    # All colors: with a palette the heatmap takes the room of the lines beside it.
    Image.open(path).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()

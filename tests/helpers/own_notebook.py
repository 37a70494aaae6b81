"""A notebook made of some cells, opened and run in a browser; in light and dark JupyterLab."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jupyter import CHROMIUM_OPTIONS, find_chromium, jupyter_lab
from playwright.sync_api import Page, sync_playwright


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Code cells without outputs."""
    made = [
        {"cell_type": "code", "id": f"c{i}", "source": source, "metadata": {}, "outputs": [],
         "execution_count": None}
        for i, source in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4}
    path.write_text(json.dumps({**notebook, "nbformat_minor": 5}))


@contextmanager
def run_notebook(folder: Path, cells: Sequence[str], *, dark: bool = False) -> Iterator[Page]:
    """The page of a notebook whose cells were all started."""
    write_notebook(folder / "own.ipynb", cells)
    chromium = find_chromium()
    with jupyter_lab(folder) as address, sync_playwright() as playwright:
        if dark:
            settings = folder / ".settings" / "@jupyterlab" / "apputils-extension"
            text = '{"theme": "JupyterLab Dark"}'
            (settings / "themes.jupyterlab-settings").write_text(text)
        browser = playwright.chromium.launch(executable_path=chromium, **CHROMIUM_OPTIONS)
        # A context of our own, so that a test may open a second tab in it.
        page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        page.set_default_timeout(60_000)
        page.goto(address.format(notebook="own.ipynb"))
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        yield page
        browser.close()

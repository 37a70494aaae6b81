"""How soon the lab answers: from a key or a page load to the painted frame, in a real browser.

    python tests/benchmarks/frames.py --result data/results/frames.json

``rank``, ``schedule`` and ``λ`` go through the kernel and back, λ while a run trains on the same
machine; the timeline's cursor is drawn by the page alone. A load is timed from the notebook's
cells on the screen to a lab whose kernel answers a key. Milliseconds, in one JupyterLab.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page

from pclora_lab.json_files import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from lab_page import lab, press, set_option, status
from own_notebook import run_notebook

CELLS = ("from pclora_lab.ui import Lab\nLab()",)
# The next task after an animation frame comes when that frame has been painted.
WATCH = """([target, how]) => {
    window.delays = [];
    const read = () => {
        const found = document.querySelector(target);
        return how === 'text' ? found?.textContent : how === 'style' ? found?.style.left
            : found?.getAttribute('points');
    };
    window.watch?.abort();
    window.watch = new AbortController();
    const begin = () => {
        const [began, was] = [performance.now(), read()];
        const look = () => {
            if (read() === was) return requestAnimationFrame(look);
            const channel = new MessageChannel();
            channel.port1.onmessage = () => window.delays.push(performance.now() - began);
            channel.port2.postMessage(0);
        };
        requestAnimationFrame(look);
    };
    for (const name of ['keydown', 'change'])
        addEventListener(name, begin, { capture: true, signal: window.watch.signal });
}"""


def delays(page: Page, target: str, how: str, act: Callable[[int], None], times: int) -> list:
    """Do something that changes an element, again and again, and time each change."""
    page.evaluate(WATCH, [target, how])
    for turn in range(times):
        act(turn)
        page.wait_for_function(f"window.delays.length > {turn}")
        page.wait_for_timeout(150)
    return page.evaluate("window.delays")


def keys(page: Page, handle: Locator, *names: str) -> Callable[[int], None]:
    handle.focus()
    return lambda turn: page.keyboard.press(names[turn % len(names)])


def loads(page: Page, times: int) -> list[float]:
    """Milliseconds of each load, one after the other."""
    found = []
    for _ in range(times):
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1500)
        page.reload()
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        began = time.perf_counter()
        lab(page).locator(".pclora-tiles").wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        lab(page).locator(".pclora-rank .noUi-handle").wait_for()
        found.append(1000 * (time.perf_counter() - began))
    return found


def measure(page: Page, times: int, reloads: int) -> dict[str, list[float]]:
    """All of it, in the order in which a person does it."""
    lab(page).locator(".pclora-rank-sizes table").wait_for(timeout=120_000)
    page.wait_for_timeout(3000)
    found = {"load": loads(page, reloads)}
    page.wait_for_timeout(2000)
    rank = keys(page, lab(page).locator(".pclora-rank .noUi-handle"), "ArrowRight", "ArrowLeft")
    found["rank"] = delays(page, ".pclora-tile:nth-child(2)", "text", rank, times)
    schedule = lab(page).locator(".pclora-schedule select").first
    names = schedule.locator("option").all_inner_texts()[:3]
    curve = ".pclora-curve-line"
    choose = lambda turn: schedule.select_option(names[(turn + 1) % len(names)])  # noqa: E731
    found["schedule"] = delays(page, curve, "points", choose, times)
    set_option(page, "steps", "3000")
    press(page, "Train")
    status(page, r"fading the base: step [3-9]\d\d")
    hand = keys(page, lab(page).locator(".pclora-lambda .noUi-handle"), "ArrowLeft", "ArrowLeft")
    found["λ, while training"] = delays(page, ".pclora-hold", "text", hand, times)
    timeline = keys(page, lab(page).locator(".pclora-timeline .noUi-handle"), "ArrowLeft")
    cursor = ".pclora-cursor:not([hidden])"
    found["timeline, while training"] = delays(page, cursor, "style", timeline, min(times, 8))
    press(page, "Stop")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    with run_notebook(Path(tempfile.mkdtemp()), CELLS) as page:
        found = measure(page, args.times, args.reloads)
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(medians, file=sys.stderr)
    report = {
        "command": " ".join(["python", "tests/benchmarks/frames.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores",
        "median_ms": medians,
        "ms": found,
    }
    write_json(args.result, report)


if __name__ == "__main__":
    main()

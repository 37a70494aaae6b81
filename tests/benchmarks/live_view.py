"""What the live view costs, and how soon it shows something: runs in turns, in a real kernel.

    python tests/benchmarks/live_view.py --result data/results/live_view.json

``plain`` is a session without a lab and without facts by layer, ``curves`` the lab as it opens with
facts by layer left out, ``layers`` the lab with its heatmap open. Seconds of the fade are
compared, so that serializing and sending the figures count too. The processor time of the thread
that draws stands beside them: it does not depend on what else the machine does. No browser is
attached; drawing happens in the browser's own process.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from pclora_lab.json_files import write_json

CELL = """
import json, tempfile, time
from dataclasses import replace
from statistics import median
from pclora_lab.training.config import RunConfig
from pclora_lab import Session
from pclora_lab.nn.runtime.openmp import release_workers
from pclora_lab.ui.lab import Lab
facts = RunConfig(steps={steps}, evaluations=30)
bare = replace(facts, layer_metrics=False)
lab = Lab(facts, root=tempfile.mkdtemp())
lab.page.alive = True  # or pictures would be drawn for a browser that does not answer
PANEL_CURVES = ("λ", "student as it is", "task", "parameters held")
spent = []
draw = lab.shown.draw

def drawn(session, snapshot):
    began = time.thread_time()
    draw(session, snapshot)
    spent.append(time.thread_time() - began)

lab.shown.draw = drawn
time.sleep(5)

def seconds(session):
    session.wait()
    rows = session.snapshot().rows
    return rows[-1]["seconds"] - rows[0]["seconds"]

def watched(config, tab):
    lab.controls.show(config)
    lab.views.tabs.selected_index = tab
    release_workers()  # as a notebook does after a message of a widget
    time.sleep(2)  # a person looks at the numbers before the click; they are counted meanwhile
    clicked = time.perf_counter()
    lab.buttons.train.click()
    traces = [t for c in lab.views.live.charts for t in c.figure.data if t.name in PANEL_CURVES]
    while tab == 0 and any(t.x is None or not len(t.x) for t in traces):
        time.sleep(0.005)
    first = time.perf_counter() - clicked
    took = seconds(lab.session)
    lab.active.refresher.wait()
    percent = 100 * sum(spent) / took
    spent.clear()
    return took, first, percent

watched(replace(bare, steps=20), 0)
watched(replace(facts, steps=20), 1)
turns = []
for _ in range({turns}):
    plain = seconds(Session(bare, lab.root, cache=lab.cache).start())
    curves, first, drawing_curves = watched(bare, 0)
    layers, _, drawing_layers = watched(facts, 1)
    probe = lab.session.result["probe_percent"]
    step_ms = median(row["step_ms"] for row in lab.session.snapshot().rows if row.get("step_ms"))
    turns.append(
        dict(
            plain=plain,
            curves=curves,
            layers=layers,
            first_points=first,
            drawing_curves_percent=drawing_curves,
            drawing_layers_percent=drawing_layers,
            probe_percent=probe,
            step_ms=step_ms,
        )
    )
print(json.dumps(turns))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    source = CELL.format(steps=args.steps, turns=args.turns)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    text = "".join(o.get("text", "") for o in notebook.cells[0].outputs if o["name"] == "stdout")
    turns = json.loads(text.strip().splitlines()[-1])
    ratios = {name: [t[name] / t["plain"] for t in turns] for name in ("curves", "layers")}
    report = {
        "command": " ".join(["python", "tests/benchmarks/live_view.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores",
        "turns": turns,
        "median_ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratios": ratios,
        "medians": {name: statistics.median(t[name] for t in turns) for name in turns[0]},
    }
    write_json(args.result, report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

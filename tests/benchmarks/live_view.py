"""What the live view costs: the same run with and without it, alternating, in a real kernel.

    python tests/benchmarks/live_view.py --result data/results/live_view.json

Wall-clock seconds of the fade are compared, so that serialising and sending the figure count too.
No browser is attached; drawing happens in the browser's own process.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from pclora_lab.runs import write_json

CELL = """
import json, tempfile, time
from pclora_lab import RunConfig, Session
from pclora_lab.ui import Lab
config = RunConfig(steps={steps}, evaluations=10)
lab = Lab(config, root=tempfile.mkdtemp())
def seconds(session):
    session.wait()
    rows = session.snapshot().rows
    return rows[-1]["seconds"] - rows[0]["seconds"]
lab.controls.steps.value = 20
seconds(lab.train())
lab.controls.steps.value = {steps}
pairs = []
for _ in range({pairs}):
    plain = seconds(Session(config, lab.root).start())
    pairs.append((plain, seconds(lab.train())))
    lab._painter.join()
print(json.dumps(pairs))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    source = CELL.format(steps=args.steps, pairs=args.pairs)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    text = "".join(o.get("text", "") for o in notebook.cells[0].outputs if o["name"] == "stdout")
    pairs = json.loads(text.strip().splitlines()[-1])
    ratios = [live / plain for plain, live in pairs]
    report = {
        "command": " ".join(["python", "tests/benchmarks/live_view.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores",
        "seconds_plain_and_live": pairs,
        "median_ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    write_json(args.result, report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""What do 8 bits cost and save on top of the compression?

``python tests/benchmarks/int8.py --result data/results/int8.json`` trains the embedded models at
their defaults, exports them in float32 and in 8 bits, and times every way of running them.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from pclora_lab.export.run import export_run
from pclora_lab.export.speeds import speeds
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig

FORMATS = ("standalone", "onnx", "plain-int8", "onnx-int8")
MODELS = {"vit_digits": "digits", "bert_glosses": "glosses"}


def measured(model: str, data: str, steps: int, folder: Path) -> dict[str, Any]:
    """What was written of one run, and how fast each of it is."""
    run = execute(RunConfig(model=model, data=data, steps=steps, device="cpu"), folder)
    *_, end = run
    reports = export_run(run.folder, folder / "exported", FORMATS)
    written = {report.format: Path(report.path) for report in reports}
    exports = {}
    for report in reports:
        exports[report.format] = {**report.to_dict(), "path": written[report.format].name}
    small = from_pretrained(run.folder / "compressed")
    return {
        "accuracy": end.result["accuracy"],
        "teacher_accuracy": end.result["teacher_accuracy"],
        "exports": exports,
        "speeds_ms": speeds(small, written),
    }


def main() -> None:
    """Measure both embedded models, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    record: dict[str, Any] = {
        "command": "python tests/benchmarks/int8.py " + " ".join(sys.argv[1:]),
        "hardware": f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}",
        "seed": 0,
    }
    for model, data in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            record[model] = measured(model, data, args.steps, Path(folder))
        print(json.dumps(record[model], indent=1))
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

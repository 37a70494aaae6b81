"""What does a hard switch of λ do to AdamW, and does clearing its moments help?

``python tests/benchmarks/moments.py --result data/results/moments.json`` compresses the embedded
model with the schedule ``identity`` from the ``zeros`` start, with ``reset_moments`` and without,
at the smaller rate of ``schedules.py``: in trials at 2e-3 (only cleared) and 5e-3 none came back
from the switch. Both see the same batches; up to the switch they are the same training. The test
split is what gets reported, three seeds each. What is finished is not run again.
"""

import sys

import schedules
from schedules import SEEDS, arguments, run, save

SWITCH = {"name": "pclora", "rank": 8, "init": "zeros", "schedule": "identity"}
SETTINGS = {
    "moments kept": SWITCH,
    "moments cleared": {**SWITCH, "reset_moments": True},
}
LR = 1e-2
schedules.BASE["steps"] = 300


def main() -> None:
    """Run both settings, write the record."""
    args = arguments("runs/moments")
    rows = [run(args.out, label, SETTINGS[label], LR, s) for label in SETTINGS for s in SEEDS]
    save(args.result, rows, [])
    print([(row["label"], row["accuracy"]) for row in rows], file=sys.stderr)


if __name__ == "__main__":
    main()

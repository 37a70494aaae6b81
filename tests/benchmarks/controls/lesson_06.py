"""What does the competition gain, and what the kernel? The controls of lesson 06.

``python tests/benchmarks/controls/lesson_06.py --result data/results/lesson_06.json`` adapts the
built-in model to inverted digits: with SNELLA as the lesson has it, with equal shares in place of
the competition, with other kernels, and with the head alone, since it is trained in all of them.
The learning rate was searched on the validation split with the first seed; equal shares take the
competition's.
"""

from pathlib import Path
from typing import Any

from seeded_runs import arguments, inverted_digits, save, seeded_rows

BASE = {"model": "vit_digits", "steps": 150, "evaluations": 2, "device": "cpu"}
LRS = (2e-2, 4e-2)
SNELLA = {"name": "snella", "rank": 8, "sparsity": 0.9}
SEARCHED = {
    "competition": SNELLA,
    "linear kernel": {**SNELLA, "kernel": "linear"},
    "mixed kernel": {**SNELLA, "kernel": "mixed"},
    "head alone": {**SNELLA, "sparsity": 1.0, "start_sparsity": 1.0},
}
AT_THE_SAME_RATE = {"equal shares": {**SNELLA, "allocations": 1}}


def tried_rates(out: Path, base: dict[str, Any], label: str) -> dict[float, float]:
    """Validation accuracy by learning rate, first seed; goes outwards while an edge is best."""
    tried: dict[float, float] = {}
    rates = list(LRS)
    for lr in rates:
        trial = {**base, "lr": lr, "report_on": "validation"}
        (row,) = seeded_rows(out, trial, {label: SEARCHED[label]}, seeds=(0,))
        tried[lr] = row["accuracy"]
        best = max(tried, key=lambda rate: tried[rate])
        if lr == rates[-1] and best in (min(tried), max(tried)):
            rates.append(best * 2 if best == max(tried) else best / 2)
    return tried


def main() -> None:
    """Run the grid, write the record."""
    args = arguments(__doc__.splitlines()[0], "runs/lesson_06")
    base = {**BASE, "data": inverted_digits(args.out / "inverted_digits")}
    rows, tried = [], []
    for label, method in SEARCHED.items():
        by_rate = tried_rates(args.out, base, label)
        best = max(by_rate, key=lambda rate: by_rate[rate])
        rows += seeded_rows(args.out, {**base, "lr": best}, {label: method})
        tried += [{"label": label, "lr": lr, "validation": v} for lr, v in by_rate.items()]
    rows += seeded_rows(args.out, {**base, "lr": rows[0]["lr"]}, AT_THE_SAME_RATE)
    facts = {**BASE, "data": "inverted digits"}
    save(args.result, facts, SEARCHED | AT_THE_SAME_RATE, rows, learning_rates_tried=tried)


if __name__ == "__main__":
    main()

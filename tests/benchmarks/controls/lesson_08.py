"""What does a narrow table of words cost, and what the fade? The controls of lesson 08.

``python tests/benchmarks/controls/lesson_08.py --result data/results/lesson_08.json`` compresses
the built-in text model with its table of words dense and at the layers' rank, and once more without
the fade: same rank, steps and learning rate, three seeds.
"""

from seeded_runs import arguments, save, seeded_rows

BASE = {
    "model": "bert_glosses",
    "data": "glosses",
    "steps": 80,
    "evaluations": 2,
    "lr": 2e-3,
    "device": "cpu",
}
START = {"rank": 8, "init": "activation_svd"}
SETTINGS = {
    "dense words": {"name": "pclora", **START},
    "low-rank words": {"name": "pclora", "embeddings": "low_rank", **START},
    "dense words, no fade": {"name": "svd_kd", **START},
}


def main() -> None:
    """Run the grid, write the record."""
    args = arguments(__doc__.splitlines()[0], "runs/lesson_08")
    save(args.result, BASE, SETTINGS, seeded_rows(args.out, BASE, SETTINGS))


if __name__ == "__main__":
    main()

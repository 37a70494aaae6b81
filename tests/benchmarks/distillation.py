"""What does the teacher teach? Shares of the loss, places to listen at, and two starts.

``python tests/benchmarks/distillation.py --result data/results/distillation.json`` compresses the
built-in model with every loss. For each one the learning rate is chosen on the validation split
with the first seed; the test split is what gets reported. What is finished is not run again.
"""

from schedules import FADE, arguments, best_rates, save

LOSSES = {
    "labels alone (α = 1)": {"alpha": 1.0},
    "layers and labels (α = 0.2)": {"alpha": 0.2},
    "layers alone (α = 0)": {"alpha": 0.0},
    "blocks and labels (α = 0.2)": {"alpha": 0.2, "taps": "blocks"},
    "blocks alone (α = 0)": {"alpha": 0.0, "taps": "blocks"},
    "layers and logits (α = 0)": {"alpha": 0.0, "logit_weight": 1.0},
}
WITH_A_HEAD_START = (
    "labels alone (α = 1)",
    "layers and labels (α = 0.2)",
    "layers alone (α = 0)",
)


def main() -> None:
    """Run the grid, write the record."""
    args, tried = arguments("runs/distillation"), []
    settings = {f"zeros: {label}": {**FADE, **loss} for label, loss in LOSSES.items()}
    for label in WITH_A_HEAD_START:
        settings[f"svd: {label}"] = {**FADE, "init": "svd", **LOSSES[label]}
    save(args.result, best_rates(args.out, settings, tried), tried)


if __name__ == "__main__":
    main()

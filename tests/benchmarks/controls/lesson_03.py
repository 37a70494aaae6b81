"""Controls of lesson 03: why features drift, what a first step does, what a head still lacks.

``python tests/benchmarks/controls/lesson_03.py --result data/results/lesson_03.json`` trains the
built-in model for 40 steps on one batch of 64 images, three batches in turn: with λ falling and
with λ held at 1, with the teacher's features and without, at a larger rank, with AdamW, with a
warm-up and with SGD. Then it trains students on features alone, as for ``distillation.json``, and
fits them a new head.
"""

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab import (
    Distiller,
    PCLoRAConfig,
    RunConfig,
    get_pclora_model,
    load_data,
    load_model,
    set_progress,
    total_loss,
)
from pclora_lab.data.batches import Batches
from pclora_lab.json_files import write_json
from pclora_lab.models import preprocessing_of
from pclora_lab.training.events import RunEnd
from pclora_lab.training.loop import train

SEEDS, STEPS, BATCH, RANK = (0, 1, 2), 40, 64, 4
ADAMW: dict[str, Any] = {"optimizer": "adamw", "lr": 1e-2}
SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 1e-1}
RUNS: dict[str, dict[str, Any]] = {
    "labels alone, λ falls": {**ADAMW, "alpha": 1.0},
    "labels alone, λ = 1": {**ADAMW, "alpha": 1.0, "falls": False},
    "labels and features, λ falls": {**ADAMW, "alpha": 0.2},
    "labels and features, λ = 1": {**ADAMW, "alpha": 0.2, "falls": False},
    "labels and features, rank 32": {**ADAMW, "alpha": 0.2, "rank": 32},
    "labels and features, rate 0.003": {**ADAMW, "alpha": 0.2, "lr": 3e-3},
    "labels and features, rank 32, rate 0.003": {**ADAMW, "alpha": 0.2, "rank": 32, "lr": 3e-3},
    "labels alone, warm-up of 10 steps": {**ADAMW, "alpha": 1.0, "warmup": 10},
    "detached features": {**ADAMW, "alpha": 0.2, "detached": True},
    "SGD, labels alone": {**SGD, "alpha": 1.0},
    "SGD, detached features": {**SGD, "alpha": 0.2, "detached": True},
}
FEATURES_ALONE = {"name": "pclora", "rank": RANK, "init": "zeros", "alpha": 0.0}


def short_run(
    teacher: nn.Module,
    batch: tuple[Any, Tensor],
    *,
    optimizer: str,
    lr: float,
    alpha: float,
    falls: bool = True,
    warmup: int = 0,
    rank: int = RANK,
    detached: bool = False,
) -> list[float]:
    """The feature term before every step."""
    student = get_pclora_model(teacher, PCLoRAConfig(rank=rank, init="svd", alpha=alpha))
    distiller = Distiller(student, teacher)
    trained = [p for p in student.parameters() if p.requires_grad]
    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD
    steps, features = kind(trained, lr=lr), []
    for step in range(STEPS):
        steps.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / (warmup + 1))
        set_progress(student, step / STEPS if falls else 0.0)
        terms = distiller.terms(*batch)
        features.append(round(terms["feature"].item(), 4))
        if detached:
            terms["feature"] = terms["feature"].detach()
        steps.zero_grad()
        total_loss(terms, student.pclora_config).backward()
        steps.step()
    return features


def short_runs(teacher: nn.Module, data: Batches) -> list[dict[str, Any]]:
    """Every setting on every batch; a seed draws the batch, since the start has no chance in it."""
    rows = []
    for seed in SEEDS:
        drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:BATCH]
        batch = data.batch(drawn)
        for label, options in RUNS.items():
            features = short_run(teacher, batch, **options)
            rows.append({"label": label, "seed": seed, **options, "features": features})
            print(label, seed, features[1], features[-1], flush=True)
    return rows


def head_inputs(model: Any, data: Batches) -> tuple[Tensor, Tensor]:
    """What the head reads for a whole split, and its labels."""
    with torch.no_grad():
        images, labels = data.batch(torch.arange(len(data)))
        read = model.forward_head(model.forward_features(images), pre_logits=True)
    return read, labels


def fitted_head(inputs: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """Logistic regression, with the weight decay that keeps it finite."""
    head = nn.Linear(inputs.shape[1], classes)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(head(inputs), labels) + 1e-4 * head.weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return head


def new_heads(out: Path) -> list[dict[str, Any]]:
    """Test accuracy of the students of features alone, with the teacher's head and a new one."""
    rows = []
    for seed in SEEDS:
        config = RunConfig.from_dict(
            {"method": FEATURES_ALONE, "lr": 2e-2, "seed": seed, "steps": 200, "device": "cpu"}
            | {"precision": "float32", "evaluations": 2}
        )
        (end,) = [e for e in train(config, out) if isinstance(e, RunEnd)]
        row: dict[str, Any] = {"seed": seed, "teachers_head": end.result["accuracy"]}
        data, batches = load_data(config.data), preprocessing_of(end.model).batches
        small = end.model.eval()
        head = fitted_head(*head_inputs(small, batches(data.train)), len(data.class_names))
        inputs, labels = head_inputs(small, batches(data.test))
        row["new_head"] = (head(inputs).argmax(-1) == labels).float().mean().item()
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Run all, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lesson_03"))
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    teacher = load_model("vit_digits")
    data = preprocessing_of(teacher).batches(load_data("digits").train)
    heads, rows = new_heads(args.out), short_runs(teacher, data)
    ends: dict[str, list[float]] = {}
    for row in rows:
        ends.setdefault(row["label"], []).append(row["features"][-1])
    record = {
        "command": f"python tests/benchmarks/controls/lesson_03.py --result data/results/"
        f"{args.result.name}",
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "summary": {label: round(statistics.mean(values), 4) for label, values in ends.items()},
        "rows": rows,
        "heads": heads,
    }
    write_json(args.result, record)


if __name__ == "__main__":
    main()

"""How far are small models from their teacher, layer by layer, and how often do they agree?

``python tests/benchmarks/controls/lesson_01.py --result data/results/lesson_01.json`` compresses
the built-in model as lesson 01 does, from two starts and with two losses (labels and the teacher's
layers; the layers alone), and compares every result with the teacher.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab import load_data, load_model
from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.methods.distillation.taps import FeatureTaps
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.nn.counting import count_model
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import RunEnd
from pclora_lab.training.loop import train

SEEDS = (0, 1, 2)
BASE = {"steps": 150, "lr": 1e-2, "evaluations": 2, "device": "cpu", "precision": "float32"}
SETTINGS = {
    f"{start}, {loss}": {"name": "pclora", "rank": 8, "init": start, "alpha": alpha}
    for start in ("zeros", "activation_svd")
    for loss, alpha in (("labels and layers", 0.2), ("layers alone", 0.0))
}


def distances(teacher: nn.Module, small: nn.Module, x: Tensor) -> dict[str, float]:
    """Relative errors against the teacher, and the share of its answers that are kept."""
    layers = [layer.name for layer in count_model(teacher).layers]
    found = []
    for model in (teacher, small):
        with FeatureTaps(model.eval(), [*layers, "blocks.3"]) as taps, torch.no_grad():
            found.append({"logits": model(x), **taps.outputs})
    theirs, ours = found
    off = {key: ((ours[key] - y).norm() / y.norm()).item() for key, y in theirs.items()}
    same = (ours["logits"].argmax(1) == theirs["logits"].argmax(1)).float().mean().item()
    mean = sum(off[layer] for layer in layers) / len(layers)
    return {"layers": mean, "block": off["blocks.3"], "logits": off["logits"], "same": same}


def main() -> None:
    """Run the grid, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lesson_01"))
    parser.add_argument("--result", type=Path, required=True)
    args, cache, rows = parser.parse_args(), DataCache(), []
    teacher = load_model("vit_digits")
    images = preprocessing_of(teacher).batches(load_data("digits").train)
    x = torch.cat([images.inputs(indices) for indices in images.in_order(64, 256)])
    for label, method in SETTINGS.items():
        for seed in SEEDS:
            row: dict[str, Any] = {"label": label, "seed": seed}
            config = RunConfig.from_dict({**BASE, "method": method, "seed": seed})
            for event in train(config, args.out, cache=cache):
                if isinstance(event, RunEnd):
                    row["accuracy"] = event.result["accuracy"]
                    row |= distances(teacher, event.model, x)
            rows.append({key: _short(value) for key, value in row.items()})
            print(rows[-1], file=sys.stderr, flush=True)
    command = "python tests/benchmarks/controls/lesson_01.py --result data/results/"
    record = {
        "command": command + args.result.name,
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "base": BASE,
        "rows": rows,
    }
    write_json(args.result, record)


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()

"""Controls of lesson 04: what becomes of multiply-adds in milliseconds, on this processor.

``python tests/benchmarks/controls/lesson_04.py --result data/results/lesson_04.json`` times single
layers, dense and as two thin ones, at shares of their multiply-adds; and says where ViT-B spends
its time, dense and at rank 32 (untrained: weights do not change the time). Each three times, on one
thread, in CPU time.
"""

import argparse
import copy
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pclora_lab import LowRankLinear, load_model
from pclora_lab.json_files import write_json
from pclora_lab.nn import find_targets, replace_modules

TURNS, RANK = (0, 1, 2), 32
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
LAYERS = {
    "768→3072, 197 tokens": (768, 3072, 197),
    "768→3072, 1 token": (768, 3072, 1),
    "96→96, 17 tokens": (96, 96, 17),
}


def cpu_ms(function: Callable[[], object]) -> float:
    """CPU time of one call on this thread: what else the machine does is not counted."""
    began = time.thread_time()
    function()
    return 1000 * (time.thread_time() - began)


def layer_times(width: int, out: int, tokens: int, repeats: int) -> dict[str, Any]:
    """CPU milliseconds of a layer, dense and at every share of its multiply-adds, in turns."""
    x, dense = torch.randn(1, tokens, width), nn.Linear(width, out)
    ranks = [max(1, round(share * width * out / (width + out))) for share in SHARES]
    layers = [dense, *(LowRankLinear(width, out, rank) for rank in ranks)]
    best = [float("inf")] * len(layers)
    with torch.inference_mode():
        for _ in range(5):
            for i, layer in enumerate(layers):
                times = [cpu_ms(lambda layer=layer: layer(x)) for _ in range(repeats)]
                best[i] = min(best[i], *times)
    return {"ranks": ranks, "dense_ms": best[0], "low_rank_ms": best[1:]}


def call_times(repeats: int = 2000) -> dict[str, float]:
    """CPU milliseconds of a layer of one number, whose arithmetic is nothing: one call, and two."""
    x = torch.randn(1, 1)
    layers = {"dense_ms": nn.Linear(1, 1), "low_rank_ms": LowRankLinear(1, 1, 1)}
    with torch.inference_mode():
        return {n: min(cpu_ms(lambda m=m: m(x)) for _ in range(repeats)) for n, m in layers.items()}


def low_rank(model: nn.Module) -> nn.Module:
    """A copy with thin layers in place of the large ones; their weights are random."""
    layers = find_targets(model).items()
    thin = {n: LowRankLinear(m.in_features, m.out_features, RANK) for n, m in layers}
    return replace_modules(copy.deepcopy(model), thin)


def spent(
    model: nn.Module, names: Iterable[str], x: torch.Tensor, repeats: int = 8
) -> dict[str, float]:
    """Milliseconds of one forward pass in the replaced layers, and in all else; of the fastest."""
    inside: list[float] = []
    began: list[float] = []
    for layer in map(model.get_submodule, names):
        layer.register_forward_pre_hook(lambda *_: began.append(time.thread_time()))
        layer.register_forward_hook(lambda *_: inside.append(time.thread_time() - began.pop()))
    found = []
    with torch.inference_mode():
        model(x)
        for _ in range(repeats):
            inside.clear()
            whole = cpu_ms(lambda: model(x))
            layers = 1000 * sum(inside)
            found.append({"replaced layers": layers, "all else": whole - layers})
    return min(found, key=lambda parts: sum(parts.values()))


def main() -> None:
    """Time all, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = []
    for turn in TURNS:
        for name, sizes in LAYERS.items():
            repeats = 10 if sizes[2] > 100 else 60
            rows.append({"layer": name, "turn": turn, **layer_times(*sizes, repeats)})
            print(rows[-1], flush=True)
    dense = load_model("vit_base_patch16_224", num_classes=10, pretrained=False).eval()
    small, x = low_rank(dense).eval(), torch.randn(1, 3, 224, 224)
    names, models = list(find_targets(dense)), {"dense": dense, "small": small}
    where, calls = [], [{"turn": turn, **call_times()} for turn in TURNS]
    for turn in TURNS:
        parts = {f"{label}_ms": spent(m, names, x) for label, m in models.items()}
        where.append({"turn": turn, **parts})
        print(where[-1], flush=True)
    record = {
        "command": "python tests/benchmarks/controls/lesson_04.py --result data/results/"
        f"{args.result.name}",
        "hardware": f"{os.cpu_count()} CPU cores, {args.threads} thread(s)",
        "torch": torch.__version__,
        "shares": SHARES,
        "rows": rows,
        "calls": calls,
        "where": where,
    }
    write_json(args.result, record)


if __name__ == "__main__":
    main()

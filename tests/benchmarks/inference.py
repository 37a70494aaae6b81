"""How much faster is the compressed model than the dense one? ViT-B, in every way of running it.

``python tests/benchmarks/inference.py --result data/results/inference.json`` times ViT-B with ten
classes dense and at rank 32 (untrained: weights do not change the time), in turns: in torch, with
torch.compile, in bfloat16, and in onnxruntime in float32 and 8 bits.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.export.int8 import export_onnx_int8
from pclora_lab.export.onnx import export_onnx, open_onnx
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.loading import load_model
from pclora_lab.nn.counting import count_macs
from pclora_lab.nn.latency import timed_ms
from pclora_lab.nn.runtime.plain_attention import plain_attention

Run = Callable[[Tensor], Any]


def models_of(rank: int) -> dict[str, nn.Module]:
    """ViT-B for ten classes, dense and cut to a rank."""
    torch.manual_seed(0)
    dense = load_model("vit_base_patch16_224", num_classes=10, pretrained=False).eval()
    return {"dense": dense, "small": SVD(SVDConfig(rank=rank)).apply(dense).eval()}


def in_torch(model: nn.Module) -> dict[str, Run]:
    """Eager, compiled, and both in bfloat16."""
    half = deepcopy(model).to(torch.bfloat16)

    def in_half(run: Run) -> Run:
        def call(x: Tensor) -> Any:
            with plain_attention():
                return run(x.to(torch.bfloat16))

        return call

    return {
        "eager": model,
        "compiled": torch.compile(model, dynamic=False),
        "bfloat16": in_half(half),
        "bfloat16, compiled": in_half(torch.compile(half, dynamic=False)),
    }


def in_onnx(model: nn.Module, folder: Path, name: str) -> dict[str, Run]:
    """float32 and 8 bits."""
    files = {"onnx": folder / f"{name}.onnx", "onnx-int8": folder / f"{name}_int8.onnx"}
    export_onnx(model, files["onnx"], dense=model)
    export_onnx_int8(model, files["onnx-int8"], dense=model)
    sessions = {way: open_onnx(file) for way, file in files.items()}
    return {
        way: lambda x, session=session: session.run(None, {"pixel_values": x.numpy()})
        for way, session in sessions.items()
    }


def measured(ways: dict[str, dict[str, Run]], x: Tensor, turns: int) -> dict[str, Any]:
    """Milliseconds of every way and how many times as long the dense model takes."""
    times: dict[tuple[str, str], list[float]] = {}
    with torch.inference_mode():
        for turn in range(turns + 2):
            for model, runs in ways.items():
                for way, run in runs.items():
                    ms = timed_ms(lambda run=run: run(x))
                    if turn >= 2:
                        times.setdefault((way, model), []).append(ms)
    found = {}
    for way in ways["dense"]:
        pairs = zip(times[way, "dense"], times[way, "small"], strict=True)
        found[way] = {
            "dense_ms": statistics.median(times[way, "dense"]),
            "small_ms": statistics.median(times[way, "small"]),
            "times_as_fast": statistics.median(d / s for d, s in pairs),
        }
    return found


def main() -> None:
    """Build, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    models = models_of(args.rank)
    record: dict[str, Any] = {
        "command": "python tests/benchmarks/inference.py " + " ".join(sys.argv[1:]),
        "hardware": f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}",
        "macs": count_macs(models["dense"]) / count_macs(models["small"]),
    }
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            name: {**in_torch(model), **in_onnx(model, Path(folder), name)}
            for name, model in models.items()
        }
        for batch in args.batches:
            found = measured(ways, torch.randn(batch, 3, 224, 224), args.turns)
            record[f"batch {batch}"] = found
            told = {way: round(row["times_as_fast"], 2) for way, row in found.items()}
            print(batch, told, file=sys.stderr)
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

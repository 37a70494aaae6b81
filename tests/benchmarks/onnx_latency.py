"""How much faster is the compressed model where it is deployed? ViT-B in onnxruntime.

``python tests/benchmarks/onnx_latency.py --result data/results/onnx_vit_base.json`` exports ViT-B
with ten classes dense and at rank 32 (untrained: weights do not change the time), and times one
image in both, in turns, each turn in a process of its own so that no thread of the other waits
beside it.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from pclora_lab.export.onnx import export_onnx
from pclora_lab.json_files import write_json
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.loading import load_model

TIME = """
import statistics, sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
image = numpy.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype("float32")
times = []
for _ in range(23):
    began = time.perf_counter()
    session.run(None, {"pixel_values": image})
    times.append(1000 * (time.perf_counter() - began))
print(statistics.median(times[3:]))
"""


def milliseconds(file: Path, threads: int) -> float:
    """Median of twenty runs in a new process."""
    command = [sys.executable, "-c", TIME, str(file), str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Export both, time in turns, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    dense = load_model("vit_base_patch16_224", num_classes=10, pretrained=False)
    small = SVD(SVDConfig(rank=args.rank)).apply(dense)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("dense", "small")}
        report = export_onnx(small, files["small"], dense=dense)
        export_onnx(dense, files["dense"], dense=dense)
        sizes = {name: file.stat().st_size for name, file in files.items()}
        turns = [
            {name: milliseconds(file, args.threads) for name, file in files.items()}
            for _ in range(args.turns)
        ]
    ratios = [turn["dense"] / turn["small"] for turn in turns]
    result = {
        "command": "python tests/benchmarks/onnx_latency.py --result "
        "data/results/onnx_vit_base.json",
        "model": f"vit_base_patch16_224, 10 classes, rank {args.rank}, batch 1, "
        f"{args.threads} threads",
        "times_as_fast": statistics.median(ratios),
        "turns": turns,
        "bytes": sizes,
        "max_logit_difference": report.max_logit_difference,
        "torch": torch.__version__,
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
    if args.result:
        write_json(args.result, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""One kernel-sparse layer, forward and backward, against the plain way and against LoRA.

    python tests/benchmarks/snella_layer.py --result data/results/snella_layer.json

The three take turns in one process, and ratios are taken within a turn, so that a busy moment of
the machine hits all of them. Each is one 768→3072 layer on 8 images of 197 tokens; x takes a
gradient. "Plain" is the layer as one would write it first: a dense product, and a checkpointed
branch with torch.cdist and torch.quantile.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from official_snella import sparse_branch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pclora_lab.json_files import write_json
from pclora_lab.methods.snella.layers import KernelSparseLinear

Layer = Callable[[Tensor], Tensor]


def plain_layer(ours: KernelSparseLinear) -> Layer:
    """The same values from the same parameters, composed of torch's own functions."""
    weight, bias, A, B = ours.base.weight, ours.base.bias, ours.A, ours.B
    sparsity = ours.sparsity.item()

    def layer(x: Tensor) -> Tensor:
        branch = checkpoint(sparse_branch, x, A, B, sparsity, [], use_reentrant=False)
        return F.linear(x, weight, bias) + branch

    return layer


class LoRA(nn.Module):
    """``W x + b + B(A x)``."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.randn(base.out_features, rank) / rank**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.A), self.B)


def milliseconds(layer: Layer, x: Tensor, grad: Tensor) -> float:
    began = time.perf_counter()
    layer(x).backward(grad)
    return 1e3 * (time.perf_counter() - began)


def values_kept(layer: Layer, x: Tensor, parameters: list[Tensor]) -> int:
    """How many values the forward pass keeps for the backward pass, parameters left out."""
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(
        tensor.untyped_storage().nbytes() // tensor.element_size()
        for pointer, tensor in kept.items()
        if pointer not in known
    )


def compare(args: argparse.Namespace) -> dict:
    generator = torch.Generator().manual_seed(0)
    base = nn.Linear(args.inputs, args.outputs)
    ours = KernelSparseLinear(base, args.rank, generator=generator)
    lora = LoRA(base, args.rank)
    layers = {"ours": ours, "plain": plain_layer(ours), "lora": lora}
    x = torch.randn(args.tokens, args.inputs, generator=generator).requires_grad_()
    grad = torch.randn(args.tokens, args.outputs, generator=generator)
    torch.testing.assert_close(layers["ours"](x), layers["plain"](x), atol=1e-4, rtol=1e-4)
    parameters = [*ours.parameters(), *lora.parameters()]
    dense = args.inputs * args.outputs
    kept = {name: values_kept(layer, x, parameters) / dense for name, layer in layers.items()}
    turns = []
    for _ in range(args.warmup + args.turns):
        turns.append({name: milliseconds(layer, x, grad) for name, layer in layers.items()})
    turns = turns[args.warmup :]
    return {
        "median_ms": {name: statistics.median(turn[name] for turn in turns) for name in layers},
        "ours_over_plain": statistics.median(turn["ours"] / turn["plain"] for turn in turns),
        "ours_over_lora": statistics.median(turn["ours"] / turn["lora"] for turn in turns),
        "kept_for_backward_in_dense_matrices": kept,
        "turns_ms": turns,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=768)
    parser.add_argument("--outputs", type=int, default=3072)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=8 * 197)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = {
        "command": " ".join(["python", "tests/benchmarks/snella_layer.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores, {args.threads} threads",
        "torch": torch.__version__,
        **compare(args),
    }
    if args.result:
        args.result.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.result, report)
    print(json.dumps({key: value for key, value in report.items() if key != "turns_ms"}))


if __name__ == "__main__":
    main()

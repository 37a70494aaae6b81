"""What a training step needs of memory and network, from a model's shape alone.

``python tests/benchmarks/scaling.py --check --result data/results/scaling.json`` predicts full
fine-tuning and PC-LoRA for ViT-B to Llama-70B on 1 to 1,024 GPUs, and compares the formulas with
what torch really keeps for three models that fit here.

Per GPU, in bytes, with bfloat16 compute and AdamW in float32::

    full      weights 4P + gradients 4P + moments 8P + activations
    PC-LoRA   frozen weights 2P (teacher and student share them)
              + 16 bytes for each of the adapters' p parameters + activations + taps

Sharded over N GPUs (FSDP), all but activations is divided by N. Moved per step and GPU: with a copy
on every GPU (DDP) 2(N-1)/N times the gradients; sharded, (N-1)/N times the weights twice (forward,
backward) and once the gradients. Activations: what a transformer block keeps for its backward pass,
in tensors of the width d; a tap keeps the gradient of its output's distance.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import DistillationTerms
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress


@dataclass(frozen=True)
class Shape:
    """A transformer's sizes.

    Attributes:
        blocks: how many.
        width: d.
        hidden: of the MLP.
        tokens: of one example.
        rest: parameters outside the blocks (embeddings, head).
        gated: three matrices in the MLP instead of two (Llama).
        kv: width of keys and values; 0 means d.
    """

    blocks: int
    width: int
    hidden: int
    tokens: int
    rest: int
    gated: bool = False
    kv: int = 0

    @property
    def linears(self) -> list[tuple[int, int]]:
        """``(in, out)`` of a block's layers as they are adapted."""
        d, kv = self.width, self.kv or self.width
        if self.gated:
            up = [(d, self.hidden)] * 2
            return [(d, d), (d, kv), (d, kv), (d, d), *up, (self.hidden, d)]
        return [(d, 3 * d), (d, d), (d, self.hidden), (self.hidden, d)]

    @property
    def params(self) -> int:
        """P: all parameters, without biases and norms of a gated model."""
        extra = 0 if self.gated else sum(out for _, out in self.linears) + 4 * self.width
        return self.blocks * (sum(i * o for i, o in self.linears) + extra) + self.rest

    def adapter_params(self, rank: int) -> int:
        """p: A, B and C of every layer."""
        return self.blocks * sum(rank * (i + o) + o for i, o in self.linears)

    def kept_of_block(self) -> int:
        """Numbers per token that a block keeps for its backward pass.

        Plain: both norms' inputs and outputs 4d, query, key and value 3d, attention's output 2d (as
        the product is laid out anew), and the MLP's two inner tensors. Gated: four inner tensors.
        """
        d, kv = self.width, self.kv or self.width
        if self.gated:
            return 7 * d + 2 * kv + 4 * self.hidden
        return 9 * d + 2 * self.hidden

    def tapped(self, taps: str) -> int:
        """Numbers per token that a block's taps keep."""
        return self.width if taps == "blocks" else sum(out for _, out in self.linears)


VIT_B = Shape(12, 768, 3072, 197, 86_567_656 - 12 * 7_087_872)
SHAPES = {
    "ViT-B/16": VIT_B,
    "ViT-L/16": Shape(24, 1024, 4096, 197, 2_000_000),
    "Llama-2-7B": Shape(32, 4096, 11008, 4096, 2 * 32000 * 4096, gated=True),
    "Llama-2-13B": Shape(40, 5120, 13824, 4096, 2 * 32000 * 5120, gated=True),
    "Llama-2-70B": Shape(80, 8192, 28672, 4096, 2 * 32000 * 8192, gated=True, kv=1024),
}
GPUS = (1, 8, 64, 1024)
GB = 1e9


def memory(
    shape: Shape, method: str, *, batch: int, rank: int, taps: str, shards: int = 1
) -> dict[str, float]:
    """Gigabytes on every GPU, by what they hold; see the module."""
    P, tokens = shape.params, batch * shape.tokens
    kept = shape.blocks * shape.kept_of_block() * tokens * 2
    if method == "full":
        parts = {"weights": 4 * P, "gradients": 4 * P, "moments": 8 * P}
    else:
        p = shape.adapter_params(rank)
        parts = {"frozen weights": 2 * P, "adapters, gradients, moments": 16 * p}
        kept += shape.blocks * shape.tapped(taps) * tokens * 2
    found = {name: value / shards / GB for name, value in parts.items()}
    found["activations"] = kept / GB
    return {**found, "all": sum(found.values())}


def moved(shape: Shape, method: str, *, rank: int, gpus: int, sharded: bool) -> float:
    """Gigabytes that each GPU sends in a step."""
    share = (gpus - 1) / gpus
    gradients = 4 * (shape.params if method == "full" else shape.adapter_params(rank))
    if not sharded:
        return 2 * share * gradients / GB
    return share * (2 * 2 * shape.params + gradients) / GB


def predicted(batch: int, rank: int, taps: str) -> list[dict[str, Any]]:
    """A row per model, method and number of GPUs: sharded, as the large ones must be."""
    return [
        {
            "model": name, "method": method, "gpus": gpus,
            "memory_gb": memory(shape, method, batch=batch, rank=rank, taps=taps, shards=gpus),
            "moved_gb_sharded": moved(shape, method, rank=rank, gpus=gpus, sharded=True),
            "moved_gb_copies": moved(shape, method, rank=rank, gpus=gpus, sharded=False),
        }
        for name, shape in SHAPES.items()
        for method in ("full", "pclora")
        for gpus in GPUS
    ]  # fmt: skip


def least_macs(shape: Shape, rank: int, *, fading: float) -> dict[str, float]:
    """Multiplications of a step by full fine-tuning's: what no implementation can leave out.

    Of a layer's L multiplications per token, full fine-tuning needs 3 L (forward, gradients of
    input and weight), attention 3 A. Fading: L + A for the teacher, L + A forward, L + 2 A backward
    and the adapters' gradients through the rank, R each. Afterwards: L + A for the teacher, and
    3 R + 3 A.
    """
    L = sum(i * o for i, o in shape.linears)
    R = sum(rank * (i + o) for i, o in shape.linears)
    A = 2 * shape.tokens * shape.width
    full = 3 * (L + A)
    fades, after = (3 * L + 4 * A + 2 * R) / full, (L + 4 * A + 3 * R) / full
    return {"fading": fades, "after": after, "run": fading * fades + (1 - fading) * after}


# What can be measured here


def kept_numbers(step: Callable[[], Tensor], params: set[int]) -> int:
    """How many numbers torch keeps for the backward pass: every storage once, no parameters."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in params:
            seen[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    held = []  # or a storage that is freed gives its place to another one
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (held.append(t), pack(t))[1], lambda t: t
    ):
        loss = step()
    for node in _nodes(loss):
        # A tap keeps its difference beside what torch asks the hooks about.
        if (difference := getattr(node, "difference", None)) is not None:
            pack(difference)
    return sum(seen.values())


def _nodes(loss: Tensor) -> set[Any]:
    """All of a loss's graph."""
    found, left = set[Any](), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [following for following, _ in node.next_functions]
    return found


def checked(name: str, batch: int, rank: int) -> dict[str, Any]:
    """Prediction beside measurement for a model of timm, in float32."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10)
    d, blocks, tokens = model.embed_dim, len(model.blocks), model.pos_embed.shape[1]
    inside = sum(p.numel() for p in model.blocks.parameters())
    rest = sum(p.numel() for p in model.parameters()) - inside
    shape = Shape(blocks, d, model.blocks[0].mlp.fc1.out_features, tokens, rest)
    x, y = torch.randn(batch, 3, 224, 224), torch.randint(10, (batch,))
    found: dict[str, Any] = {"params": [shape.params, inside + rest]}
    places = _places(model)
    found["kept, full"] = [
        blocks * shape.kept_of_block() * batch * tokens,
        kept_numbers(lambda: F.cross_entropy(model(x), y), places),
    ]
    for taps in ("linears", "blocks"):
        config = PCLoRAConfig(rank=rank, init="zeros", taps=taps, targets=r"blocks\.")
        student = get_pclora_model(model, config)
        set_progress(student, 0.2)
        student.train()
        terms = DistillationTerms(student, model)
        both = blocks * (shape.kept_of_block() + shape.tapped(taps)) * batch * tokens
        places = _places(model) | _places(student)
        found[f"kept, taps on {taps}"] = [
            both, kept_numbers(lambda terms=terms: terms(x, y, 0.2)["loss"], places),
        ]  # fmt: skip
        terms.close()
    adapted = [p.numel() for n, p in student.named_parameters() if n.endswith((".A", ".B", ".C"))]
    found["adapters"] = [shape.adapter_params(rank), sum(adapted)]
    return {key: [*pair, pair[0] / pair[1]] for key, pair in found.items()}


def _places(model: nn.Module) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}


def main() -> None:
    """Predict, check, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1, help="examples on every GPU")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--taps", default="blocks", choices=("linears", "blocks"))
    parser.add_argument("--check", action="store_true", help="measure three models here")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    rows = predicted(args.batch, args.rank, args.taps)
    print("| model | method | GPUs | GB per GPU | moved per step, sharded | with copies |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        numbers = row["memory_gb"]["all"], row["moved_gb_sharded"], row["moved_gb_copies"]
        cells = [row["model"], row["method"], str(row["gpus"]), *(f"{n:.2f}" for n in numbers)]
        print(f"| {' | '.join(cells)} |")
    floors = {
        name: least_macs(Shape(1, width, 4 * width, tokens, 0), rank, fading=0.6)
        for name, (width, tokens, rank) in {
            "DeiT-Tiny, 64 px, rank 16": (192, 17, 16),
            "ViT-S, 224 px, rank 32": (384, 197, 32),
        }.items()
    }
    for name, floor in floors.items():
        print(name, {part: round(value, 3) for part, value in floor.items()})
    names = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224")
    checks = {name: checked(name, 4, args.rank) for name in names if args.check}
    for name, found in checks.items():
        print(name, {key: round(pair[2], 3) for key, pair in found.items()})
    if args.result:
        record = {
            "command": "python tests/benchmarks/scaling.py " + " ".join(sys.argv[1:]),
            "hardware": f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}",
            "least multiplications, by full fine-tuning's": floors,
            "predicted": rows,
            "predicted, measured, ratio": checks,
        }
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

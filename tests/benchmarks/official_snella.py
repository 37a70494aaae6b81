"""SNELL and SNELLA as one would write them from their equations, and a step of theirs beside ours.

    python tests/benchmarks/official_snella.py --kernel mixed

Both start from the same factors and take turns in one process; a ratio is taken within a turn, so
that a busy moment of the machine hits both. The straightforward way: a dense product, and a
checkpointed branch with torch.cdist and torch.quantile; scores parameter by parameter.

Full fine-tuning takes its turn too. A step of ours has its three products per layer, so that it is
the floor; the straightforward step has five, and matrices of every layer's size that don't get
larger with the batch. The ratio therefore grows with it, from below 0.3 towards 0.6.
"""

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from launches import launches
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.layers import KernelSparseLinear
from pclora_lab.methods.snella.model import allocator_of, get_snella_model, kernel_sparse_layers

KERNELS = ("piecewise_linear", "mixed")
Step = Callable[[Tensor, Tensor], Tensor]


def sparse_branch(x: Tensor, A: Tensor, B: Tensor, sparsity: float, scalars: list[Tensor]):
    """``x S`` of SNELL, or of SNELLA's mixed kernel where there are α, γ and β."""
    M = 0.1 * torch.cdist(A[0], B[0]) - 0.1 * torch.cdist(A[1], B[1])
    if scalars:
        alpha, gamma, beta = scalars
        M = M + alpha * torch.softmax(M / gamma, 1) + beta
    magnitude = M.detach().abs()
    keep = magnitude > torch.quantile(magnitude, sparsity)
    return x @ (M * magnitude * keep)


class OfficialLinear(nn.Module):
    """``x W₀ᵀ + b + x S``: the same values as a layer of ours, which gives the start."""

    def __init__(self, ours: KernelSparseLinear) -> None:
        super().__init__()
        self.base, self.sparsity = ours.base, ours.sparsity.item()
        self.A, self.B = (nn.Parameter(p.detach().clone()) for p in (ours.A, ours.B))
        of_mixed = [ours.alpha, ours.gamma, ours.beta] if ours.kernel == "mixed" else []
        self.scalars = nn.ParameterList(nn.Parameter(p.detach().clone()) for p in of_mixed)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, in_features)`` → ``(batch, tokens, out_features)``."""
        factors = self.A, self.B, self.sparsity, list(self.scalars)
        return self.base(x) + checkpoint(sparse_branch, x, *factors, use_reentrant=False)


class OfficialScores:
    """The running means of AdaLoRA, one parameter after the other."""

    def __init__(self, layers: Iterable[OfficialLinear], beta: float = 0.85) -> None:
        self.factors, self.beta = [p for layer in layers for p in (layer.A, layer.B)], beta
        self.sens = [torch.zeros_like(p) for p in self.factors]
        self.unc = [torch.zeros_like(p) for p in self.factors]

    @torch.no_grad()
    def update(self) -> None:
        """After a backward pass."""
        beta = self.beta
        for i, p in enumerate(self.factors):
            importance = (p * p.grad).abs()
            self.sens[i] = beta * self.sens[i] + (1 - beta) * importance
            apart = (importance - self.sens[i]).abs()
            self.unc[i] = beta * self.unc[i] + (1 - beta) * apart


def official_twin(student: nn.Module) -> tuple[nn.Module, OfficialScores]:
    """The same student with layers of the straightforward kind, and what scores them."""
    twin = copy.deepcopy(student)
    for name, layer in kernel_sparse_layers(student).items():
        twin.set_submodule(name, OfficialLinear(layer))
    return twin, OfficialScores(m for m in twin.modules() if isinstance(m, OfficialLinear))


def training_step(model: nn.Module, after_backward: Callable[[], None]) -> Step:
    """Forward, loss, backward, scores and optimizer; returns the loss."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, foreach=True)  # as on a GPU

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        after_backward()
        optimizer.step()
        return loss.detach()

    return step


def both_steps(model: nn.Module, config: SNELLAConfig) -> dict[str, Step]:
    """A step of ours and of the straightforward student, from the same start."""
    student = get_snella_model(model, config, generator=torch.Generator().manual_seed(0)).train()
    twin, scores = official_twin(student)
    ours = training_step(student, allocator_of(student).update)
    return {"ours": ours, "official": training_step(twin.train(), scores.update)}


def interleaved(
    steps: Mapping[str, Callable[[], object]], turns: int, clock: Callable[[], float]
) -> list[dict[str, float]]:
    """Milliseconds of each step, turn by turn."""
    numbers = range(turns)
    return [{name: _milliseconds(step, clock) for name, step in steps.items()} for _ in numbers]


def _milliseconds(step: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    step()
    return 1e3 * (clock() - began)


def compare(args: argparse.Namespace) -> dict[str, object]:
    """Times and ratios of the two steps on one model."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(args.model, num_classes=10, img_size=args.image_size)
    config = SNELLAConfig(rank=args.rank, kernel=args.kernel, start_sparsity=args.sparsity)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size)
    labels = torch.randint(0, 10, (args.batch,))
    full = training_step(copy.deepcopy(model).train(), lambda: None)
    trained = {**both_steps(model, config), "full": full}
    steps = {name: lambda step=step: step(images, labels) for name, step in trained.items()}
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    turns = interleaved(steps, args.warmup + args.turns, clock)[args.warmup :]
    least = {name: min(turn[name] for turn in turns) for name in steps}
    return {
        "min_ms": least,
        "ours_over_official": statistics.median(t["ours"] / t["official"] for t in turns),
        "ours_over_official_of_the_fastest": least["ours"] / least["official"],
        "full_over_official_of_the_fastest": least["full"] / least["official"],
        "launches": {name: launches(step) for name, step in steps.items()},
    }


def main() -> None:
    """Print one comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--kernel", default=KERNELS[0], choices=KERNELS)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    machine = f"{os.cpu_count()} CPU cores, {args.threads} threads"
    report = {**vars(args), "hardware": machine, "torch": torch.__version__, **compare(args)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()

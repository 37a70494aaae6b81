"""A training loop of somebody's own, in one process or in two that average their gradients."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import batch, tiny
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from pclora_lab import DistillationLoss, PCLoRAConfig, get_pclora_model, set_progress

STEPS, EXAMPLES = 5, 8
LABELS = (0, 1, 2, 2, 0, 1, 2, 0)
SHARES = (slice(0, 3), slice(3, 8))


def fit(rank: int = 0, processes: int = 1) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The weights and each step's loss, after λ has gone from 1 to 0."""
    teacher = tiny("bert")
    student = get_pclora_model(teacher, PCLoRAConfig(rank=2, init="svd", logit_weight=0.5))
    loss = DistillationLoss(student, teacher)
    model = student if processes == 1 else DistributedDataParallel(student)
    # AdamW would make a step of full length out of the last digit of a gradient near 0.
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1)
    inputs, labels = batch(student, EXAMPLES), torch.tensor(LABELS)
    del inputs["attention_mask"]  # equal lengths
    part = slice(None) if processes == 1 else SHARES[rank]
    inputs, labels = {name: values[part] for name, values in inputs.items()}, labels[part]
    items = labels.ne(-100).sum()
    if processes > 1:
        distributed.all_reduce(items)
    losses = []
    for step in range(STEPS):
        set_progress(student, step / STEPS)
        optimizer.zero_grad()
        value = loss(model(**inputs), labels, num_items_in_batch=items)
        (processes * value).backward()  # DDP takes the mean
        optimizer.step()
        total = value.detach().clone()
        if processes > 1:
            distributed.all_reduce(total)
        losses.append(total.item())
    return {n: p.detach() for n, p in student.named_parameters() if p.requires_grad}, losses


def main(rank: int, folder: Path) -> None:
    """One of two processes; both find each other through a file."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    weights, losses = fit(rank, 2)
    save_file({**weights, "losses": torch.tensor(losses)}, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

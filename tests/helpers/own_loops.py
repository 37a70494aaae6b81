"""Loops of somebody's own with several methods, in one process or in two under DDP."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import batch, tiny
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pclora_lab import Distiller, get_pclora_model, set_progress, total_loss
from pclora_lab.methods import (
    MethodContext,
    PCLoRAConfig,
    PELAConfig,
    SNELLAConfig,
    drop_base,
    make_method,
)

STEPS, EXAMPLES = 8, 8
LABELS = (0, 1, 2, 2, 0, 1, 2, 0)
PCLORA = PCLoRAConfig(rank=4, init="svd", logit_weight=0.5, fade_end=0.5)
CONFIGS = {
    "pclora": PCLORA,
    "pela": PELAConfig(repair=0.75, perturbation_weight=1.0),
    "snella": SNELLAConfig(rank=4, allocations=4),
}


def own_part(rank: int, processes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of one process, in double precision."""
    part = slice(rank * EXAMPLES // processes, (rank + 1) * EXAMPLES // processes)
    return batch(tiny("vit_digits"), EXAMPLES).double()[part], torch.tensor(LABELS)[part]


def wrapped(student: nn.Module, processes: int) -> nn.Module:
    return student if processes == 1 else DistributedDataParallel(student)


def steps_of(student: nn.Module):
    """Optimize what trains; the loop's body hands each step's loss in."""
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=1e-3)
    for step in range(STEPS):
        optimizer.zero_grad()
        yield step
        optimizer.step()


def by_calls(rank: int = 0, processes: int = 1) -> nn.Module:
    """PC-LoRA as the README shows it: the student is wrapped after the distiller was made."""
    teacher, (inputs, labels) = tiny("vit_digits").double(), own_part(rank, processes)
    student = get_pclora_model(teacher, PCLORA, generator=torch.Generator().manual_seed(0))
    teach = Distiller(student, teacher)
    model = wrapped(student, processes)
    for step in steps_of(student):
        if set_progress(model, step / STEPS) == 0:
            drop_base(model, allow_unfaded=True)
        total_loss(teach.terms(inputs, labels, forward=model), PCLORA).backward()
    return student


def by_verbs(name: str, rank: int = 0, processes: int = 1) -> nn.Module:
    """Any method by its verbs, all of which get the wrapper."""
    teacher, (inputs, labels) = tiny("vit_digits").double(), own_part(rank, processes)
    method = make_method(CONFIGS[name])
    context = MethodContext(generator=torch.Generator().manual_seed(0))
    student = method.apply(teacher, context)
    model = wrapped(student, processes)
    losses = method.loss_terms(model, teacher)
    for step in steps_of(student):
        method.set_progress(model, step / STEPS)
        losses(inputs, labels, step / STEPS)["loss"].backward()
        method.after_backward(model)
    losses.close()
    return student


def weights(rank: int = 0, processes: int = 1) -> dict[str, torch.Tensor]:
    """What each of the loops has trained."""
    students = {"calls": by_calls(rank, processes)}
    students |= {name: by_verbs(name, rank, processes) for name in CONFIGS}
    return {
        f"{loop}/{name}": parameter.detach()
        for loop, student in students.items()
        for name, parameter in student.named_parameters()
        if parameter.requires_grad
    }


def main(rank: int, folder: Path) -> None:
    """One of two processes; both find each other through a file."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    save_file(weights(rank, 2), folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

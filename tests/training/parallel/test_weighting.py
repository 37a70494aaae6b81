"""A loss over pixels is the whole batch's, however unequally the parts are labeled."""

import threading

import pytest
import torch
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.segmentation import SEMANTIC_SEGMENTATION
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator
from pclora_lab.training.optimizer import optimization_steps
from pclora_lab.training.parallel import shards, weighting
from pclora_lab.training.parallel.ranks import ALONE, Ranks
from pclora_lab.training.parallel.weighting import part_weight, task_of_parts

CONFIG = RunConfig(batch_size=5, device="cpu", precision="float32", grad_clip=1e3)


class Masked(Batches):
    """Images of four pixels, each with fewer labels than the one before; the last has none."""

    def __init__(self):
        super().__init__(torch.zeros(10, dtype=torch.int64))
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(10, 2, 2, 2, generator=generator)
        self.masks = torch.randint(0, 3, (10, 2, 2), generator=generator)
        for image in range(10):
            self.masks[image].view(-1)[: image % 5] = 255

    def batch(self, indices, device=None):
        return self.images[indices], self.masks[indices]


class Together:
    """``all_reduce`` of two threads, each of which is a process here."""

    def __init__(self):
        self.barrier, self.given, self.sizes = threading.Barrier(2, timeout=30), {}, []

    def all_reduce(self, tensor, group=None):
        rank = int(threading.current_thread().name)
        self.given[rank] = tensor.clone()
        self.barrier.wait()
        total = self.given[0] + self.given[1]
        self.sizes += [tensor.shape] if rank == 0 else []
        self.barrier.wait()
        tensor.copy_(total)


def trained(task, ranks, found):
    layer = nn.Conv2d(2, 3, 1).double()
    for parameter in layer.parameters():  # torch draws from one generator for all threads
        drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        parameter.data.copy_(drawn)
    task = task_of_parts(task, ranks)

    def terms(inputs, labels):
        logits = layer(inputs.double())
        loss = task.loss(logits, labels)
        return {"loss": loss + logits.square().mean(), "task": loss}

    rows = optimization_steps(
        layer, terms, Masked(), CONFIG, make_accelerator(CONFIG, layer), steps=4, peak_lr=0.1,
        logged=range(1, 5), generator=torch.Generator().manual_seed(0), ranks=ranks,
        units=task.units,
    )  # fmt: skip
    means = [row["task"] for row in rows]
    found[ranks.number] = torch.cat([layer.weight.detach().flatten(), torch.tensor(means)])


def test_two_processes_learn_what_one_does(monkeypatch):
    together, found, alone = Together(), {}, {}
    monkeypatch.setattr(shards.distributed, "all_reduce", together.all_reduce)
    monkeypatch.setattr(shards, "send_weights", lambda model, ranks: None)
    threads = [
        threading.Thread(
            target=trained, args=(SEMANTIC_SEGMENTATION, Ranks(number, 2), found), name=f"{number}"
        )
        for number in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trained(SEMANTIC_SEGMENTATION, ALONE, alone)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], alone[0], rtol=0, atol=1e-6)
    # Of each step one number more than the gradients, which are sent in two types.
    assert together.sizes.count(torch.Size([])) == 4


def test_a_mean_over_examples_is_left_as_it_is():
    assert task_of_parts(SEMANTIC_SEGMENTATION, ALONE) is SEMANTIC_SEGMENTATION
    assert IMAGE_CLASSIFICATION.units(torch.zeros(3)) is None
    assert part_weight(None, 0.5, Ranks(0, 2)) is None
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    part = task_of_parts(IMAGE_CLASSIFICATION, Ranks(0, 2))
    assert torch.equal(part.loss(logits, labels), IMAGE_CLASSIFICATION.loss(logits, labels))
    assert part.name == "image-classification" and part.ranking is IMAGE_CLASSIFICATION.ranking


@pytest.mark.parametrize("labeled, total, weight", [(3, 4, 1.5), (0, 4, 0.0), (0, 0, 0.0)])
def test_a_part_counts_as_much_as_it_holds(monkeypatch, labeled, total, weight):
    monkeypatch.setattr(
        weighting.distributed, "all_reduce", lambda tensor, group: tensor.fill_(total)
    )
    found = part_weight(torch.tensor(labeled), 0.5, Ranks(0, 2))
    assert found.item() == weight and found.dtype == torch.float32

"""A small task of somebody else's: get the picture back that noise was added to."""

import torch
import torch.nn.functional as F

from pclora_lab.data.batches import Batches
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import on_device
from pclora_lab.tasks import Task, TaskMetric

PIXELS = 64
NOISE = 0.5


class NoisyBatches(Batches):
    """Noisy pictures as inputs, the clean ones as targets; each has a noise of its own."""

    def __init__(self, clean):
        super().__init__(clean.labels)
        self.clean, self.raw = clean, clean.raw
        generator = torch.Generator().manual_seed(0)
        self.noise = NOISE * torch.randn(len(clean), 1, 8, 8, generator=generator)

    def inputs(self, indices, device=None):
        return self.clean.inputs(indices, device) + on_device(self.noise[indices], device)

    def batch(self, indices, device=None):
        return self.inputs(indices, device), self.clean.inputs(indices, device).flatten(1)


class SquaredErrors:
    def __init__(self):
        self.sum, self.count = 0.0, 0

    def update(self, outputs, targets):
        self.sum += float((outputs.float() - targets).square().sum())
        self.count += targets.numel()

    def compute(self):
        mse = torch.tensor(self.sum / self.count)
        return {"mse": mse, "psnr": 10 * torch.log10(4 / mse)}  # pixels lie in [-1, 1]


class Denoising(Task):
    name = "denoising"
    title = "denoising"
    summary = "Take the noise out of a picture."
    metrics = (
        TaskMetric("mse", "MSE", digits=4, better="lower", low=0),
        TaskMetric("psnr", "PSNR", "dB"),
    )
    things = "images"

    def suits(self, data):
        return data.kind == "image"

    def batches(self, split, preprocessing):
        return NoisyBatches(preprocessing.batches(split))

    def load_model(self, name, data, *, seed=0, **sizes):
        generator = torch.Generator().manual_seed(seed)
        return load_model(name, num_classes=PIXELS, generator=generator, **sizes)

    def loss(self, outputs, targets):
        return F.mse_loss(outputs.float(), targets)

    def imitation_loss(self, student, teacher, temperature):
        return F.mse_loss(student.float(), teacher.float())

    def scorer(self):
        return SquaredErrors()

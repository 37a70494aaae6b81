"""Linear layers that are no linear layers: subclasses that compute something else."""

import torch
from torch import Tensor, nn

__all__ = ["Doubled", "Squared"]


class Doubled(nn.Linear):
    """Says everything twice: a matrix, but not the one that it holds."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x)] * 2, dim=-1)


class Squared(nn.Linear):
    """Of the right shape, but no matrix does that."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2

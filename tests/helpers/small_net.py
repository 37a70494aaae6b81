"""A model of two blocks with all that a method tells apart: class token, norm, blocks and head."""

import torch
from torch import Tensor, nn

WIDTH, HIDDEN, CLASSES = 8, 12, 3
TARGETS = [f"blocks.{block}.{layer}" for block in (0, 1) for layer in ("fc1", "fc2")]


class SmallBlock(nn.Module):
    """Two linear layers of unequal shape."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(self.fc1(x).relu())


class SmallNet(nn.Module):
    """Takes ``(batch, tokens, 8)`` and gives three logits; always the same weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
            self.blocks = nn.ModuleList([SmallBlock(), SmallBlock()])
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0] + x.mean(1))


class NoGradients(SmallNet):
    """Its forward can't teach anything."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def small_batch(examples: int = 4) -> Tensor:
    """Inputs of it; always the same."""
    return torch.randn(examples, 5, WIDTH, generator=torch.Generator().manual_seed(1))

"""A schedule of another package."""

import math


def squared_cosine(t: float) -> float:
    """``λ = cos²(πt/2)``: slow at both ends."""
    return math.cos(math.pi * t / 2) ** 2

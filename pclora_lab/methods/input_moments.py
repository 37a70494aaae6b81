"""Mean and covariance of what really enters a layer, measured on calibration batches."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import (
    Inputs,
    call_model,
    eval_mode,
    forward_hooks,
    real_tokens,
    to_device,
    token_mask,
)
from pclora_lab.nn.layers.wrappers import inner_modules
from pclora_lab.wording import listed

__all__ = ["InputMoments", "double", "measure_inputs"]


class InputMoments:
    """Running mean and covariance of the vectors that enter a layer.

    Example:
        >>> moments = InputMoments(2)
        >>> moments.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        >>> moments.mean.tolist(), moments.covariance.tolist()
        ([2.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
    """

    def __init__(self, features: int, device: torch.device | str | None = None) -> None:
        self.count = 0
        # What the sums are taken around: without it, float32 loses a small variance far from 0.
        self.origin = torch.zeros(features, device=device)
        exact = _float64_device(torch.device(device) if device is not None else None)
        self.total = torch.zeros(features, dtype=torch.float64, device=exact)
        self.products = torch.zeros(features, features, dtype=torch.float64, device=exact)

    def update(self, x: Tensor) -> None:
        """Add inputs of shape ``(..., features)``."""
        x = x.reshape(-1, x.shape[-1]).float()
        if self.count == 0:
            self.origin = x.mean(0)
        x = x - self.origin
        self.count += x.shape[0]
        self.total += double(x.sum(0))
        self.products += double(x.T @ x)

    @property
    def mean(self) -> Tensor:
        """E[x], ``(features,)``, float64."""
        return double(self.origin) + self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """E[xxᵀ] − E[x]E[x]ᵀ, ``(features, features)``, float64."""
        offset = self.total / self.count
        return self.products / self.count - torch.outer(offset, offset)


def _float64_device(device: torch.device | None) -> torch.device | None:
    # Apple's GPUs have no float64.
    return torch.device("cpu") if device is not None and device.type == "mps" else device


def double(values: Tensor) -> Tensor:
    """In float64, on the tensor's device where it can be."""
    return values.detach().to(_float64_device(values.device)).double()


def measure_inputs(
    model: nn.Module, layers: Mapping[str, nn.Linear], batches: Iterable[Inputs]
) -> dict[str, InputMoments]:
    """Mean and covariance of every layer's input over some batches, in eval mode.

    Args:
        model: the dense model; its mode is restored.
        layers: the layers to watch, by name.
        batches: model inputs, on whatever device; runs of this package take 512 examples. Padding
            is not counted.

    Raises:
        ValueError: there was no batch.
    """
    moments = {
        name: InputMoments(layer.in_features, layer.weight.device) for name, layer in layers.items()
    }
    real, device = None, next(iter(layers.values())).weight.device

    def update(name: str, x: Tensor, _: object) -> None:
        moments[name].update(real_tokens(x, real))

    # A view of GPT-2's Conv1D is never called itself.
    modules = inner_modules(model)
    called = {name: modules.get(name, layer) for name, layer in layers.items()}
    with eval_mode(model), forward_hooks(called, update):
        for batch in batches:
            here = to_device(batch, device)
            real = token_mask(here)
            call_model(model, here)
    empty = [name for name, m in moments.items() if m.count == 0]
    if empty:
        raise ValueError(
            f"no input reached {listed(empty)}: the activation_svd start measures real "
            "batches; pass calibration= with at least one"
        )
    broken = [name for name, m in moments.items() if not m.products.isfinite().all()]
    if broken:
        raise ValueError(
            f"the inputs of {listed(broken)} are not finite on the calibration batches: check "
            'them for NaN, or use init="svd", which needs none'
        )
    return moments

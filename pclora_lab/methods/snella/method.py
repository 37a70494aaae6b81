"""SNELLA behind the verbs that every method has."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pclora_lab.methods.base import Method, MethodContext, MetricValues
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.metrics import TASK, Metric, Panel
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.model import (
    allocator_of,
    get_snella_model,
    kernel_sparse_layers,
    last_allocation,
    merge,
)
from pclora_lab.nn.layers.wrappers import innermost

__all__ = ["SNELLA"]

DENSITY = Metric(
    "density",
    "weights that may change",
    Panel.PROGRESS,
    "vermillion",
    panel_title="Weights that may change",
    overlay_dash="solid",
    overlay_hint="SNELLA: weights that may change",
)
STARVED = Metric("starved", "layers that may not change at all", Panel.PROGRESS, "sky", dash="dash")


class SNELLA(Method[SNELLAConfig]):
    """SNELLA behind the four verbs."""

    name = "snella"
    title = "SNELLA"
    summary = "Tune a few weights of every layer, chosen by a kernel; layers compete for them."
    Config = SNELLAConfig
    layer_parts = LayerParts(formula="y = (W + ΔW)x + b", base=True, changes=True)
    compresses = False
    starts_from = "pretrained"
    plot_caption = (
        "The budget of weights that may change falls to its final value; layers that no longer "
        "get any are counted below it."
    )
    metrics = (DENSITY, STARVED, TASK)
    lr_grid = (1.2e-2, 2.4e-2)
    in_default_comparison = True
    color, marker = "purple", "P"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """See :func:`get_snella_model`."""
        return get_snella_model(
            model,
            self.config,
            generator=context.generator,
            example=context.example,
            counts=context.counts,
        )

    def set_progress(self, student: nn.Module, progress: float) -> MetricValues:
        """Let the layers compete when it is time; says who got how much."""
        # The last competition takes the final budget at once: what is cut after the last step
        # could not be trained on.
        last = self.config.allocations - 1
        index = min(int(progress * self.config.allocations), last)
        if index != last_allocation(student):
            vars(innermost(student)).update(snella_allocated=index)
            allocator_of(student).reallocate(1.0 if index == last else progress)
        layers = kernel_sparse_layers(student)
        sizes = {name: layer.in_features * layer.out_features for name, layer in layers.items()}
        num_tunable = {name: layer.num_tunable for name, layer in layers.items()}
        return {
            "density": sum(num_tunable.values()) / sum(sizes.values()),
            "starved": sum(count == 0 for count in num_tunable.values()) / len(num_tunable),
            "layer_density": {name: num_tunable[name] / sizes[name] for name in num_tunable},
        }

    def after_backward(self, student: nn.Module) -> None:
        """Let the allocator see the gradients."""
        allocator_of(student).update()

    def state_dict(self, student: nn.Module) -> dict[str, Tensor]:
        """The allocator's averages, the last competition, and how much each layer won."""
        num_tunable = [layer.num_tunable for layer in kernel_sparse_layers(student).values()]
        last = {
            "allocated": torch.tensor(last_allocation(student), device="cpu"),
            "tuned": torch.tensor(num_tunable, device="cpu"),
        }
        return allocator_of(student).state_dict() | last

    def load_state_dict(self, student: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` returned."""
        vars(innermost(student)).update(snella_allocated=int(state["allocated"]))
        layers = kernel_sparse_layers(student).values()
        for layer, num_tunable in zip(layers, state["tuned"].tolist(), strict=True):
            layer.set_num_tunable(num_tunable)
        allocator_of(student).load_state_dict(state)

    def finalize(self, student: nn.Module) -> nn.Module:
        """See :func:`merge`."""
        return merge(student)

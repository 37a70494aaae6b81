"""LoRA (arXiv:2106.09685) through the ``peft`` library, merged at the end."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from pclora_lab.fields import option
from pclora_lab.methods.base import Method, MethodConfig, MethodContext
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.rank_selection import budget_option, lora_rank
from pclora_lab.methods.trial import try_student, unchanged_on_failure
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.heads import is_head
from pclora_lab.nn.layers.wrappers import innermost, unwrapped
from pclora_lab.nn.surgery import deepcopy_sharing, find_targets, refuse_attention, replace_modules
from pclora_lab.quiet import quiet

__all__ = ["LoRA", "LoRAConfig"]


@dataclass(frozen=True, kw_only=True)
class LoRAConfig(MethodConfig):
    """``y = W x + b + (alpha/r) · B A x``, W and b frozen.

    Attributes:
        rank: r of every adapter.
        budget: share of the adapted layers' parameters that trains; overrides ``rank``.
        alpha: LoRA's scale; alpha/r multiplies the adapter.
        dropout: on the adapter's input.

    Example:
        >>> LoRAConfig(rank=4).dropout
        0.0
    """

    name: ClassVar[str] = "lora"
    default_lr: ClassVar[float] = 3e-3

    rank: int = option(8, "whole", "rank r", "rank of the adapters", low=1, high=4096, sizes=True)
    budget: float | None = budget_option()
    alpha: float = option(16.0, "number", "alpha", "alpha/r scales the adapter", low=1e-3, step=1)
    dropout: float = option(
        0.0, "number", "dropout", "on the adapter's input", low=0, high=0.9, hidden=True
    )


def _rewritten(model: nn.Module, targets: Mapping[str, nn.Linear]) -> dict[str, nn.Module]:
    """Layers of a computed weight, into which nothing could be merged, as ordinary ones."""
    places = {name: model.get_submodule(name) for name in targets}
    return {
        name: targets[name]
        for name, module in places.items()
        if isinstance(module, nn.Linear)
        and type(module) is not nn.Linear
        or "weight" not in module._parameters
    }


class LoRA(Method[LoRAConfig]):
    """Low-rank adapters beside frozen weights; the merged model is as large as before."""

    name = "lora"
    title = "LoRA"
    summary = "Train low-rank adapters beside frozen weights, then merge them in."
    Config = LoRAConfig
    compresses = False
    layer_parts = LayerParts(formula="y = Wx + b + α/r · B(Ax)", base=True, factors=True)
    starts_from = "pretrained"
    in_default_comparison = True
    color, marker = "violet", "X"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """A ``peft`` model; the frozen weights are shared with the given one."""
        import peft

        model = unwrapped(model)
        targets = find_targets(model, self.config.targets)
        refuse_attention(model, self.config.targets)
        counts = context.counts
        if counts is None:
            counts = count_model(model, targets=self.config.targets, example=context.example)
        config = peft.LoraConfig(
            r=lora_rank(self.config, counts.layers),
            lora_alpha=self.config.alpha,  # it divides only
            lora_dropout=self.config.dropout,
            target_modules=list(targets),
            modules_to_save=[name for name, _ in model.named_modules() if is_head(name, model)],
        )
        shared = [p for layer in targets.values() for p in layer.parameters()]
        device = next(model.parameters()).device
        with unchanged_on_failure(model):
            with generators_kept():
                # peft draws A from the global generator.
                torch.manual_seed(context.seed)
                plain = replace_modules(deepcopy_sharing(model, shared), _rewritten(model, targets))
                # peft asks models of language for an attribute that transformers has renamed.
                with quiet(ignore_warnings=True):
                    student = peft.get_peft_model(plain, config).to(device)
            return try_student(student, model, context.example, exact=True)

    def layer_ranks(self, counts: ModelCounts, model: nn.Module) -> dict[str, int]:
        """One rank for all layers: the given one, or what the budget pays for."""
        rank = lora_rank(self.config, counts.layers)
        return {layer.name: rank for layer in counts.layers}

    def finalize(self, student: nn.Module) -> nn.Module:
        """The adapters merged into copies of the weights."""
        from peft import PeftModel

        student = innermost(student)
        if not isinstance(student, PeftModel):
            raise ValueError(f"{type(student).__name__} is no student of LoRA: pass apply's result")
        # peft merges in place, into weights that the given model uses too.
        return copy.deepcopy(student).merge_and_unload().eval()

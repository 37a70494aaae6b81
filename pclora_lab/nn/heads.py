"""The head of a model: which modules it is, new weights for it, and the units of its outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pclora_lab.nn.layers.copying import deepcopy_sharing
from pclora_lab.nn.layers.types import plain_linear
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.metadata import pretrained_cfg_of
from pclora_lab.nn.surgery import as_linear

__all__ = ["UnitHead", "classifier_names", "draw_head", "fold_units", "is_head", "put_units"]
__all__ += ["with_outputs", "with_units_folded"]

# Of models that say nothing about themselves.
_COMMON_NAMES = frozenset({"head", "classifier", "pre_classifier", "score", "fc"})


def classifier_names(model: nn.Module) -> frozenset[str]:
    """Full names of the modules that turn features into classes.

    timm's models record theirs. A classifier of transformers keeps its base model in one child, and
    whatever else has weights beside it is the head (ModernBERT's ``head`` and ``classifier``,
    DeBERTa's ``pooler`` and ``classifier``, both heads of a distilled DeiT, SegFormer's decoder).
    Other models are taken by the common names.

    Example:
        >>> model = nn.Module()
        >>> model.body, model.fc = nn.Linear(4, 4), nn.Linear(4, 2)
        >>> sorted(name for name in classifier_names(model) if hasattr(model, name))
        ['fc']
    """
    recorded = pretrained_cfg_of(model).get("classifier") or ()
    own = frozenset({recorded} if isinstance(recorded, str) else recorded)
    kind = type(model).__name__
    base = getattr(model, "base_model_prefix", "") or "backbone"
    has_head = "Classification" in kind or "SemanticSegmentation" in kind
    if has_head and hasattr(model, base):
        children = (n for n, m in model.named_children() if next(m.parameters(), None) is not None)
        return own | frozenset(children) - {base}
    return own | _COMMON_NAMES


def is_head(name: str, model: nn.Module) -> bool:
    """Whether a module is (a part of) the classifier; see :func:`classifier_names`."""
    return name in classifier_names(model)


def with_outputs(layer: nn.Module, outputs: int) -> nn.Linear | nn.Conv2d:
    """A new last layer like another one, with another number of outputs.

    Args:
        layer: linear, or a convolution that looks at one pixel.
        outputs: of the new one.

    Example:
        >>> with_outputs(nn.Conv2d(4, 2, 1), 3)
        Conv2d(4, 3, kernel_size=(1, 1), stride=(1, 1))
    """
    if isinstance(layer, nn.Conv2d):
        bias, device = layer.bias is not None, layer.weight.device
        return nn.Conv2d(layer.in_channels, outputs, 1, bias=bias, device=device)
    old = as_linear(layer)
    assert isinstance(old, nn.Linear), "a table of words is no head"
    bias, device = old.bias is not None, old.weight.device
    return nn.Linear(old.in_features, outputs, bias=bias, device=device)


@torch.no_grad()
def draw_head(head: nn.Module, generator: torch.Generator | None) -> None:
    """New weights for a classifier: matrices N(0, 0.02²) cut at two deviations, biases zero."""
    for name, parameter in head.named_parameters():
        if parameter.is_meta:
            return
        if parameter.ndim < 2:
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
        else:
            # On the CPU, so that one seed means the same head on every device.
            drawn = torch.empty_like(parameter, device="cpu")
            parameter.copy_(nn.init.trunc_normal_(drawn, std=0.02, generator=generator))


class UnitHead(nn.Module):
    """``y = σ (W x + b) + μ``: outputs in the data's units, weights in standard deviations.

    An optimizer changes every weight by about its learning rate, whatever the units are; so it
    learns W and b for targets of mean 0 and deviation 1. The scale is known from the training
    targets and is no parameter. :func:`fold_units` puts it into the weights once they are learned,
    so that a finished model is made of ordinary layers.

    Args:
        linear: W and b.
        mean: μ of each output, ``(outputs,)``.
        std: σ of each output, ``(outputs,)``.

    Example:
        >>> head = UnitHead(nn.Linear(4, 1), torch.tensor([20.0]), torch.tensor([5.0]))
        >>> _ = nn.init.zeros_(head.linear.weight), nn.init.ones_(head.linear.bias)
        >>> head(torch.zeros(1, 4)).item()
        25.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, linear: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("std", std.float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, features)`` to float32 ``(batch, outputs)``, in the data's units."""
        return self.linear(features).float() * self.std + self.mean


@torch.no_grad()
def put_units(
    model: nn.Module, names: Sequence[str], mean: Tensor, std: Tensor, *, is_learned: bool = False
) -> None:
    """Put a :class:`UnitHead` in place of linear layers, in place.

    Args:
        model: whose layers they are.
        names: of the layers.
        mean: μ of each output.
        std: σ of each output.
        is_learned: whether the outputs are in the data's units already: they stay what they are.

    Raises:
        ValueError: a layer without a bias, or of another kind.
    """
    for name in names:
        linear = model.get_submodule(name)
        if not isinstance(linear, nn.Linear) or linear.bias is None:
            raise ValueError(
                f"{name} of {type(model).__name__} is no linear layer with a bias, as the mean of "
                "the targets needs one: take another model, such as bert or a vision transformer"
            )
        mean, std = mean.to(linear.weight), std.to(linear.weight)
        if is_learned and not linear.weight.is_meta:
            linear.weight.div_(std[:, None])
            linear.bias.sub_(mean).div_(std)
        model.set_submodule(name, UnitHead(linear, mean, std))


@torch.no_grad()
def fold_units(model: nn.Module) -> nn.Module:
    """Put the scale of every :class:`UnitHead` into its weights, in place: ``W ← σW``,
    ``b ← σb + μ``.

    Args:
        model: finished; one without such a head stays as it is.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2))
        >>> put_units(model, ["0"], torch.tensor([7.0, 8.0]), torch.tensor([2.0, 3.0]))
        >>> x = torch.randn(4, 3)
        >>> before = model(x)
        >>> bool(torch.allclose(fold_units(model)(x), before, atol=1e-5)), type(model[0]).__name__
        (True, 'Linear')
    """
    heads = {n: m for n, m in model.named_modules() if isinstance(m, UnitHead)}
    for name, head in heads.items():
        layer = head.linear
        last = layer.up if isinstance(layer, LowRankLinear) else layer
        assert isinstance(last, nn.Linear)
        # New parameters: a student may share the old ones with its teacher.
        scaled = last.weight * head.std[:, None], last.bias * head.std + head.mean
        folded = plain_linear(*(nn.Parameter(values.to(last.weight)) for values in scaled))
        if isinstance(layer, LowRankLinear):
            layer.up = folded
        model.set_submodule(name, layer if isinstance(layer, LowRankLinear) else folded)
    return model


def with_units_folded(model: nn.Module) -> nn.Module:
    """The model itself, or a copy where it has units to fold."""
    if not any(isinstance(module, UnitHead) for module in model.modules()):
        return model
    return fold_units(deepcopy_sharing(model, ()))

"""Full fine-tuning: every weight trains. The yardstick for what a method gives up."""

from typing import ClassVar

from torch import nn

from pclora_lab.methods.base import Method, MethodConfig, MethodContext
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.trial import try_student, unchanged_on_failure
from pclora_lab.nn.layers.unsupported import refuse_unsupported
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.surgery import deepcopy_sharing

__all__ = ["Full", "FullConfig"]


class FullConfig(MethodConfig):
    """Full fine-tuning has nothing to choose.

    Example:
        >>> FullConfig().to_dict()["name"]
        'full'
    """

    name: ClassVar[str] = "full"
    default_lr: ClassVar[float] = 2e-4


class Full(Method[FullConfig]):
    """The whole model, fine-tuned as it is."""

    name = "full"
    title = "full fine-tuning"
    summary = "Train every weight; the result is as large as the model."
    Config = FullConfig
    compresses = False
    layer_parts = LayerParts()
    starts_from = "pretrained"
    lr_grid = (2e-4, 5e-4)
    in_default_comparison = True
    color, marker = "ink", "*"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """A copy in which everything trains."""
        model = unwrapped(model)
        refuse_unsupported(model)
        with unchanged_on_failure(model):
            student = deepcopy_sharing(model, ()).requires_grad_(True)
            return try_student(student, model, context.example, exact=True)

    def finalize(self, student: nn.Module) -> nn.Module:
        """A copy in eval mode."""
        return deepcopy_sharing(unwrapped(student), ()).eval()

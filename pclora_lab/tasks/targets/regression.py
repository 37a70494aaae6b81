"""One number or several for each example, in the units that the data have them in."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.tasks.base import Task
from pclora_lab.tasks.metrics import TaskMetric, Verdict
from pclora_lab.tasks.targets.scores import spearman

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.cache import DataCache
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["REGRESSION", "RMSE", "SPEARMAN"]

RMSE = TaskMetric("rmse", "RMSE", digits=3, better="lower", low=0)
SPEARMAN = TaskMetric("spearman", "Spearman correlation", digits=3, low=-1, high=1)


class _Regression(Task):
    """Mean squared error of targets in standard deviations of the training split.

    ``L = mean(((y − t) / σ)²)``. A model's outputs y are in the data's units from its first step
    on (:class:`pclora_lab.nn.heads.UnitHead`), so that metrics, saved models and exports are too;
    only the losses divide by σ, which they know from :meth:`of_data`.
    """

    name = "regression"
    title = "regression"
    summary = "A number, or several, for each image or text."
    metrics = (RMSE, SPEARMAN)
    things = "examples"
    input = ""  # either
    learns_from = "images or texts with numbers"
    built_in = ("vit_digits", "digit_turns")

    def __init__(self) -> None:
        self._std: Tensor = torch.ones((), device="cpu")

    def of_data(self, data: "LabeledData") -> "_Regression":
        """With the standard deviation of each target, over the training rows."""
        same = copy.copy(self)
        same._std = _scale(data)[1]
        return same

    def data(self, config: object, cache: "DataCache") -> "LabeledData":
        """Images or texts with numbers."""
        from pclora_lab.data.targets.numbers import load_numbers

        return cache.data(config, load_numbers)

    def suits(self, data: "LabeledData") -> bool:
        """Whatever has numbers for targets."""
        return data.targets == "numbers"

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """Inputs, and targets ``(batch, targets)`` in their units."""
        from pclora_lab.data.targets.batches import with_targets

        return with_targets(split, preprocessing)

    def load_model(
        self,
        name: str,
        data: "LabeledData",
        *,
        img_size: int | None = None,
        max_tokens: int | None = None,
        split_qkv: bool = False,
        seed: int = 0,
    ) -> nn.Module:
        """A model with an output for each target, in its units."""
        from pclora_lab.models.adapting import head_is_new, output_layers
        from pclora_lab.nn.heads import put_units
        from pclora_lab.tasks.heads import load_classifier

        model = load_classifier(
            name, data, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv, seed=seed,
            problem="regression",
        )  # fmt: skip
        put_units(model, output_layers(model), *_scale(data), is_learned=not head_is_new(model))
        return model

    def wanted_head(self, data: "LabeledData") -> str:
        """How many numbers."""
        return f"{data.num_classes} numbers"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error in standard deviations.

        Args:
            outputs: ``(batch, targets)``.
            targets: of the same shape.
        """
        std = self._std.to(outputs.device)
        return F.mse_loss(outputs.float() / std, targets / std)

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """The same between student and teacher; numbers have no temperature."""
        return self.loss(student, teacher.float())

    def scorer(self) -> "_Errors":
        """Root mean squared error and rank correlation, each a mean over the targets."""
        return _Errors()

    def output_code(self, names: Sequence[str]) -> tuple[str, str]:
        """The numbers, in the data's unit."""
        return "numbers", "dict(zip(model.pclora_class_names, numbers[0].tolist()))"

    def label(self, target: Any, names: Sequence[str]) -> str:
        """The numbers."""
        return ", ".join(f"{value:.4g}" for value in target.tolist())

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The answered numbers, which are neither right nor wrong."""
        return Verdict(self.label(answer, names))


class _Errors:
    """Keeps all answers: ranks are of the whole split."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs.float())
        self.targets.append(targets)

    def compute(self) -> dict[str, float]:
        outputs, targets = torch.cat(self.outputs).double(), torch.cat(self.targets).double()
        rmse = (outputs - targets).square().mean(0).sqrt().mean()
        pairs = zip(outputs.unbind(1), targets.unbind(1), strict=True)
        ranked = torch.stack([spearman(answered, right) for answered, right in pairs])
        return {RMSE.key: float(rmse), SPEARMAN.key: float(ranked.mean())}


def _scale(data: "LabeledData") -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each target over the training rows."""
    targets = torch.as_tensor(data.train.targets, device="cpu").double()
    return targets.mean(0).float(), targets.std(0, correction=0).float()


REGRESSION = _Regression()

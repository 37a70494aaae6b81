"""Any number of labels for each example."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.tasks.base import Task
from pclora_lab.tasks.metrics import Scorer, TaskMetric, Verdict
from pclora_lab.tasks.targets.scores import average_precision

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.cache import DataCache
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["F1", "MAP", "MULTI_LABEL_CLASSIFICATION", "bernoulli_loss", "multi_label_loss"]

MAP = TaskMetric(
    "mean_average_precision", "mean average precision", "%", scale=100, low=0, high=1,
    axis="mean average precision (%)",
)  # fmt: skip
F1 = TaskMetric("f1_micro", "F1 (micro)", "%", scale=100, low=0, high=1)


def multi_label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, mean over examples and labels, in float32.

    Args:
        logits: ``(batch, labels)``.
        targets: 0 or 1, ``(batch, labels)``.

    Example:
        >>> round(multi_label_loss(torch.zeros(2, 3), torch.ones(2, 3)).item(), 4)
        0.6931
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float())


def bernoulli_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """``T² · KL(σ(teacher/T) ‖ σ(student/T))`` of each label by itself, mean over all of them.

    Args:
        student: logits ``(batch, labels)``.
        teacher: logits of the same shape.
        temperature: T.

    Source: Hinton et al., arXiv:1503.02531, with a Bernoulli distribution in place of the softmax.

    Example:
        >>> bernoulli_loss(torch.ones(2, 3), torch.ones(2, 3)).item()
        0.0
    """
    s, t = student.float() / temperature, teacher.float() / temperature
    p = t.sigmoid()
    there = p * (F.logsigmoid(t) - F.logsigmoid(s))
    absent = (1 - p) * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return temperature**2 * (there + absent).mean()


class _MultiLabelClassification(Task):
    name = "multi-label-classification"
    title = "multi-label classification"
    summary = "Any number of labels for each image or text."
    metrics = (MAP, F1)
    things = "examples"
    input = ""  # either
    learns_from = "images or texts with any number of labels"

    def data(self, config: object, cache: "DataCache") -> "LabeledData":
        """Images or texts with sets of labels."""
        from pclora_lab.data.targets.label_sets import load_label_sets

        return cache.data(config, load_label_sets)

    def suits(self, data: "LabeledData") -> bool:
        """Whatever has sets of labels."""
        return data.targets == "labels"

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """Inputs, and a 0 or 1 for each label, ``(batch, labels)``."""
        from pclora_lab.data.targets.batches import with_targets

        return with_targets(split, preprocessing)

    def class_names(self, data: "LabeledData") -> tuple[str, ...]:
        """The labels."""
        return data.class_names

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
        """A model with an output for each label; one that chose a class gets a new head."""
        from pclora_lab.tasks.heads import load_classifier

        return load_classifier(
            name, data, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv, seed=seed,
            problem="multi_label_classification",
        )  # fmt: skip

    def wanted_head(self, data: "LabeledData") -> str:
        """How many labels there are."""
        return f"{data.num_classes} labels"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :func:`multi_label_loss`."""
        return multi_label_loss(outputs, targets)

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See :func:`bernoulli_loss`."""
        return bernoulli_loss(student, teacher, temperature)

    def scorer(self) -> "_Ranked":
        """Average precision of each label, and F1 over all of them at a probability of 0.5."""
        return _Ranked()

    def by_class(self, scorer: Scorer) -> dict[str, list[float | None]]:
        """Average precision, which is not known of a label that no example has."""
        assert isinstance(scorer, _Ranked)
        return {"AP": [value if value == value else None for value in scorer.by_label().tolist()]}

    def answers(self, outputs: Tensor) -> Tensor:
        """The probability of each label, ``(batch, labels)``."""
        return outputs.float().sigmoid()

    def output_code(self, names: Sequence[str]) -> tuple[str, str]:
        """The names of the labels above a probability of 0.5."""
        found = "zip(model.pclora_class_names, logits[0])"
        return "logits", f"[name for name, logit in {found} if logit > 0]"

    def label(self, target: Any, names: Sequence[str]) -> str:
        """The labels that an example has."""
        return _joined(target > 0.5, names)

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The labels above 0.5, whether they are the right ones, how sure the model is of them all.

        That is the product of what it thinks of each label, as if they were independent.
        """
        is_said = answer > 0.5
        sure = torch.where(is_said, answer, 1 - answer).prod()
        return Verdict(
            _joined(is_said, names), bool((is_said == (target > 0.5)).all()), float(sure)
        )


def _joined(is_there: Tensor, names: Sequence[str]) -> str:
    found = is_there.nonzero().flatten().tolist()
    return " | ".join(names[i] if i < len(names) else str(i) for i in found) or "none"


class _Ranked:
    """Keeps all answers: precision is along the ranking of the whole split."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs.float())
        self.targets.append(targets)

    def by_label(self) -> Tensor:
        """Average precision of each label, float64; NaN for one that no example has."""
        scores, targets = torch.cat(self.outputs), torch.cat(self.targets)
        pairs = zip(scores.unbind(1), targets.unbind(1), strict=True)
        return torch.stack([average_precision(score, target) for score, target in pairs])

    def compute(self) -> dict[str, float]:
        scores, targets = torch.cat(self.outputs), torch.cat(self.targets) > 0.5
        is_said = scores > 0
        both = 2 * (is_said & targets).sum().double()
        found = both / (is_said.sum() + targets.sum()).clamp(min=1)
        return {MAP.key: float(self.by_label().nanmean()), F1.key: float(found)}


MULTI_LABEL_CLASSIFICATION = _MultiLabelClassification()

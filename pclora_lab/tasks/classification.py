"""One class for each example: of images, and of texts or pairs of texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pclora_lab.tasks.base import Task
from pclora_lab.tasks.losses import classification_loss, logit_loss
from pclora_lab.tasks.metrics import TaskMetric, Verdict

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.splits import LabeledData

__all__ = ["ACCURACY", "IMAGE_CLASSIFICATION", "TEXT_CLASSIFICATION", "Classification"]
__all__ += ["first_of_each_class"]

ACCURACY = TaskMetric(
    "accuracy", "accuracy", "%", scale=100, low=0, high=1, axis="top-1 accuracy (%)",
    counts_right=True,
)  # fmt: skip


class Classification(Task):
    """Cross-entropy and top-1 accuracy."""

    metrics = (ACCURACY,)
    shows_each_class = True

    def suits(self, data: "LabeledData") -> bool:
        """Data of what it reads, with classes."""
        has_others = data.has_masks or bool(data.targets)
        return data.kind == self.input and data.num_classes > 0 and not has_others

    def class_names(self, data: "LabeledData") -> tuple[str, ...]:
        """The data's."""
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
        """A classifier; its head is new where it is not for these classes."""
        from pclora_lab.tasks.heads import load_classifier

        return load_classifier(
            name,
            data,
            img_size=img_size,
            max_tokens=max_tokens,
            split_qkv=split_qkv,
            seed=seed,
        )

    def wanted_head(self, data: "LabeledData") -> str:
        """How many classes there are."""
        return f"{data.num_classes} classes"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :func:`classification_loss`."""
        return classification_loss(outputs, targets)

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See :func:`logit_loss`."""
        return logit_loss(student, teacher, temperature)

    def scorer(self) -> "_Top1":
        """Counts the examples whose largest logit is the class's."""
        return _Top1()

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities ``(batch, classes)``."""
        return outputs.float().softmax(-1)

    def shown_examples(self, batches: "Batches", count: int) -> list[int]:
        """See :func:`first_of_each_class`."""
        return first_of_each_class(batches.labels, count)

    def label(self, target: Any, names: Sequence[str]) -> str:
        """The name of the class."""
        return names[int(target)] if int(target) < len(names) else str(int(target))

    def output_code(self, names: Sequence[str]) -> tuple[str, str]:
        """The name of the most likely class."""
        code = ("logits", "model.pclora_class_names[logits.argmax()]")
        return code if names else super().output_code(names)

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The most likely class, whether it is right, and how sure the model is."""
        best = int(answer.argmax())
        name = names[best] if best < len(names) else str(best)
        return Verdict(name, best == int(target), float(answer[best]))

    def key_facts(self) -> dict[str, Any]:
        """Nothing: teachers were kept before there were tasks, and all of them classify."""
        return {}


def first_of_each_class(labels: Tensor, count: int) -> list[int]:
    """Where every class comes first, class by class; then whatever else comes first.

    Example:
        >>> first_of_each_class(torch.tensor([1, 1, 0, 2, 1]), 4)
        [2, 0, 3, 1]
    """
    found = labels.tolist()
    firsts = [found.index(label) for label in sorted(set(found))][:count]
    others = [index for index in range(len(found)) if index not in firsts]
    return firsts + others[: count - len(firsts)]


class _Top1:
    def __init__(self) -> None:
        self.seen, self.correct = 0, torch.zeros((), dtype=torch.long, device="cpu")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        # Added up on the device, so that a GPU is not waited for.
        self.correct = self.correct.to(outputs.device) + (outputs.argmax(-1) == targets).sum()
        self.seen += len(targets)

    def compute(self) -> dict[str, float]:
        return {ACCURACY.key: int(self.correct) / self.seen}


class _ImageClassification(Classification):
    name = pipeline_tag = "image-classification"
    title = "classification of images"
    summary = "One class for each image."
    things = "images"
    input = "image"
    learns_from = "images with a class each"
    built_in = ("vit_digits", "digits")


class _TextClassification(Classification):
    name = pipeline_tag = "text-classification"
    title = "classification of texts"
    summary = "One class for each text, or pair of texts."
    things = "texts"
    input = "text"
    learns_from = "texts with a class each"
    built_in = ("bert_glosses", "glosses")


IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION = _ImageClassification(), _TextClassification()

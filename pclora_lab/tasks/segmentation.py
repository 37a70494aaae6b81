"""One class for each pixel of an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.nn.forward import call_model, eval_mode
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.losses import logit_loss
from pclora_lab.tasks.metrics import Scorer, TaskMetric, Verdict

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.cache import DataCache
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["MIOU", "PIXEL_ACCURACY", "SEMANTIC_SEGMENTATION", "Confusion", "iou_by_class"]
__all__ += ["segmentation_loss", "upsampled"]

MIOU = TaskMetric("miou", "mIoU", "%", scale=100, low=0, high=1)
PIXEL_ACCURACY = TaskMetric("pixel_accuracy", "pixel accuracy", "%", scale=100, low=0, high=1)

UNLABELED = 255
"""Of a pixel that is neither learned nor measured."""

_LOOKED_THROUGH = 64


def upsampled(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits in the size of the masks: bilinearly, where a model answers more coarsely.

    Args:
        logits: ``(batch, classes, height, width)``.
        size: height and width of the masks.

    Raises:
        ValueError: the logits are of more pixels than the masks.

    Example:
        >>> upsampled(torch.zeros(1, 4, 8, 8), (32, 32)).shape
        torch.Size([1, 4, 32, 32])
    """
    if (found := tuple(logits.shape[-2:])) == tuple(size):
        return logits
    if any(one > other for one, other in zip(found, size, strict=True)):
        sizes = ["×".join(map(str, one)) for one in (found, size)]
        raise ValueError(
            f"the logits are of {sizes[0]} pixels, the masks of {sizes[1]}: resize the masks by "
            "nearest neighbor, or the logits"
        )
    return F.interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=False)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy, mean over the labeled pixels of the batch, in float32; 0 where none is.

    An image with few labels thus counts less than one that is labeled throughout. Several processes
    of one run weight the means of their parts by their labeled pixels, which makes it the same
    mean.

    Args:
        logits: ``(batch, classes, height, width)``; smaller ones are :func:`upsampled`.
        masks: class numbers ``(batch, height, width)``; 255 does not count.

    Raises:
        ValueError: masks that are smaller than the logits, or a class outside the head (the latter
            is seen on the CPU only: a GPU would have to wait).

    Example:
        >>> masks = torch.tensor([[[0, 3], [255, 255]]])
        >>> round(segmentation_loss(torch.zeros(1, 4, 2, 2), masks).item(), 4)
        1.3863
    """
    classes = logits.shape[1]
    logits = upsampled(logits, masks.shape[-2:])
    is_labeled = masks.ne(UNLABELED)
    if masks.device.type == "cpu" and (largest := int(masks.mul(is_labeled).max())) >= classes:
        raise ValueError(
            f"class {largest} of a mask is outside the model's head, which has {classes} classes "
            f"(0 to {classes - 1}): build the model with {largest + 1} or more"
        )
    # The mean over nothing is NaN, and so would be every weight after the step. Asking whether a
    # pixel counts would wait for the GPU.
    counts = is_labeled.any()
    known = torch.where(counts, masks, 0)
    return F.cross_entropy(logits.float(), known, ignore_index=UNLABELED) * counts


class Confusion:
    """Adds up which class was answered for the pixels of which class.

    Attributes:
        counts: pixels, ``(classes, classes)``: truth in rows, answers in columns; None before the
            first batch.

    Example:
        >>> seen = Confusion()
        >>> logits = torch.tensor([[[[9.0, 9.0]], [[0.0, 0.0]]]])
        >>> seen.update(logits, torch.tensor([[[0, 1]]]))
        >>> seen.by_class().tolist(), seen.compute()
        ([0.5, 0.0], {'miou': 0.25, 'pixel_accuracy': 0.5})
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch.

        Args:
            outputs: logits ``(batch, classes, height, width)``; smaller ones are
                :func:`upsampled`.
            targets: class numbers ``(batch, height, width)``; 255 does not count.
        """
        outputs, classes = upsampled(outputs, targets.shape[-2:]), outputs.shape[1]
        is_labeled = targets.ne(UNLABELED)
        # What is not labeled goes into a bin of its own, so that a GPU is not waited for.
        pairs = torch.where(is_labeled, targets * classes + outputs.argmax(1), classes**2)
        found = torch.bincount(pairs.flatten(), minlength=classes**2 + 1)[:-1]
        found = found.view(classes, classes)
        self.counts = found if self.counts is None else self.counts + found

    def by_class(self) -> Tensor:
        """Intersection over union of each class, float64 ``(classes,)``.

        NaN for a class that stands in no mask and in no answer.
        """
        assert self.counts is not None, "nothing was measured yet"
        counts = self.counts.double()
        both = counts.diagonal()
        return both / (counts.sum(0) + counts.sum(1) - both)

    def compute(self) -> dict[str, float]:
        """The mean of :meth:`by_class` over the classes that occur, and the share of right pixels.

        NaN where no pixel was labeled.
        """
        values = self.by_class()
        assert self.counts is not None
        right = self.counts.diagonal().sum() / self.counts.sum()
        return {MIOU.key: float(values.nanmean()), PIXEL_ACCURACY.key: float(right)}


def iou_by_class(
    model: nn.Module, batches: "Batches", names: Sequence[str], *, batch_size: int = 64
) -> dict[str, float]:
    """Intersection over union of each class that occurs, in [0, 1]; small classes go first.

    Args:
        model: with a head for pixels.
        batches: the split to read.
        names: of the classes.
        batch_size: examples at once.
    """
    device = next(model.parameters()).device
    seen = Confusion()
    with eval_mode(model):
        for indices in batches.for_scoring(batch_size):
            inputs, masks = batches.batch(indices, device)
            seen.update(call_model(model, inputs), masks)
    found = zip(names, seen.by_class().tolist(), strict=True)
    return {name: value for name, value in found if value == value}


class _SemanticSegmentation(Task):
    """Cross-entropy and mean intersection over union, both over the labeled pixels."""

    name = "semantic-segmentation"
    opens = "semantic-segmentation"
    pipeline_tag = "image-segmentation"
    title = "semantic segmentation"
    summary = "One class for each pixel of an image."
    metrics = (MIOU, PIXEL_ACCURACY)
    things = "images"
    input = "image"
    built_in = ("vit_scenes", "digit_scenes")
    learns_from = "images with masks"

    def data(self, config: object, cache: "DataCache") -> "LabeledData":
        """Images with masks."""
        from pclora_lab.data.segmentation.loading import load_masked_data

        return cache.data(config, load_masked_data)

    def suits(self, data: "LabeledData") -> bool:
        """Images with masks."""
        return data.kind == self.input and data.has_masks and not data.targets

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """Images and the classes of their pixels, in the model's size."""
        from pclora_lab.data.images import Preprocessing
        from pclora_lab.data.segmentation.batches import MaskBatches

        if not isinstance(preprocessing, Preprocessing):
            raise ValueError("the model reads texts, and masks are of images")
        return MaskBatches(split, preprocessing)

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
        """A vision transformer with a linear layer per patch, SegFormer or UPerNet."""
        from pclora_lab.tasks.segmenters import load_segmenter

        return load_segmenter(
            name, data, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv, seed=seed
        )

    def wanted_head(self, data: "LabeledData") -> str:
        """How many classes a pixel may have."""
        return f"{data.num_classes} classes of pixels"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :func:`segmentation_loss`."""
        return segmentation_loss(outputs, targets)

    def units(self, targets: Tensor) -> Tensor:
        """Labeled pixels."""
        return targets.ne(UNLABELED).sum()

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """:func:`logit_loss` of each pixel, mean over all of them, labeled or not."""
        return logit_loss(_pixels(student), _pixels(teacher), temperature)

    def scorer(self) -> Confusion:
        """See :class:`Confusion`."""
        return Confusion()

    def by_class(self, scorer: Scorer) -> dict[str, list[float | None]]:
        """Intersection over union: a mean hides that the small classes are gone first."""
        assert isinstance(scorer, Confusion)
        return {"IoU": [value if value == value else None for value in scorer.by_class().tolist()]}

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities of the classes of each pixel, ``(batch, classes, height, width)``.

        As fine as the model answers, which may be more coarsely than the masks.
        """
        return outputs.float().softmax(1)

    def shown_examples(self, batches: "Batches", count: int) -> list[int]:
        """Those of the first 64 that together show most classes, then the first others."""
        masks = [batches.batch(part)[1] for part in batches.in_order(16, _LOOKED_THROUGH)]
        where = torch.cat([*batches.in_order(16, _LOOKED_THROUGH)]).tolist()
        shown = [set(mask.unique().tolist()) - {UNLABELED} for mask in torch.cat(masks)]
        chosen: list[int] = []
        missing = set().union(*shown)
        while missing and len(chosen) < count:
            best = max(range(len(shown)), key=lambda index: len(shown[index] & missing))
            chosen.append(where[best])
            missing -= shown[best]
        others = (index for index in range(len(batches)) if index not in chosen)
        return [*chosen, *others][:count]

    def pixel_classes(self, answer: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        """The most likely class of each pixel, and the right one."""
        return upsampled(answer[None], target.shape[-2:])[0].argmax(0), target

    def output_code(self, names: Sequence[str]) -> tuple[str, str]:
        """The names of the classes that are somewhere in the picture."""
        found = "logits.argmax(1).unique()"
        return "logits", f"[model.pclora_class_names[number] for number in {found}]"

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The image's own mIoU."""
        if not bool(target.ne(UNLABELED).any()):
            return Verdict("nothing is labeled")
        seen = self.scorer()
        seen.update(answer[None], target[None])
        return Verdict(f"mIoU {MIOU.roughly(seen.compute()[MIOU.key])}")


def _pixels(logits: Tensor) -> Tensor:
    """Every pixel as an example, ``(batch · height · width, classes)``."""
    return logits.movedim(1, -1).flatten(0, -2)


SEMANTIC_SEGMENTATION = _SemanticSegmentation()

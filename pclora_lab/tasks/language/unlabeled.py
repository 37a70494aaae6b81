"""What tasks have in common that learn from texts alone and guess tokens of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pclora_lab.tasks.base import Task
from pclora_lab.tasks.losses import logit_loss

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.cache import DataCache
    from pclora_lab.data.splits import LabeledData, Split

__all__ = ["TaskOfTexts"]


class TaskOfTexts(Task):
    """Texts without labels, and answers that are a vocabulary at each place of them."""

    things = "texts"
    input = "text"
    learns_from = "texts without labels"

    def data(self, config: object, cache: "DataCache") -> "LabeledData":
        """Texts, whatever labels stand beside them."""
        from pclora_lab.data.language.loading import load_texts

        return cache.data(config, load_texts)

    def suits(self, data: "LabeledData") -> bool:
        """Texts without labels, which no task of another kind could learn from."""
        return data.kind == self.input and not data.num_classes and not data.is_paired

    def raw_examples(self, batches: "Batches", split: "Split") -> Sequence[Any]:
        """What stands in each row, as a long text is several of them."""
        return getattr(batches, "texts", split.examples)

    def wanted_head(self, data: "LabeledData") -> str:
        """The tokenizer's vocabulary, whatever the data are."""
        return "vocabulary"

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """:func:`logit_loss` of each place, of what :meth:`imitated` gives."""
        return logit_loss(student.flatten(0, -2), teacher.flatten(0, -2), temperature)

    def answers(self, outputs: Tensor) -> Tensor:
        """Log-probabilities of tokens, ``(batch, tokens, vocabulary)``."""
        return outputs.float().log_softmax(-1)

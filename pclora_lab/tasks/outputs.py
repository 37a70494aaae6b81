"""What of a task's outputs is compared and shown, where most tasks have nothing to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pclora_lab.tasks.metrics import Scorer

if TYPE_CHECKING:  # reading data takes libraries that many commands do without
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.splits import Split

__all__ = ["Continuation", "TaskOutputs"]


@dataclass(frozen=True)
class Continuation:
    """A text that a model has gone on with.

    Attributes:
        prompt: what it was given.
        tokens: what it added, as text, a token each; joined behind the prompt they are the whole.
        probabilities: that it gave to each of them, in [0, 1].
        is_ended: whether it ended the text by itself.

    Example:
        >>> Continuation("a small", (" bird", "s"), (0.4, 0.7)).text
        ' birds'
    """

    prompt: str
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_ended: bool = False

    @property
    def text(self) -> str:
        """What was added."""
        return "".join(self.tokens)


class TaskOutputs:
    """The part of :class:`pclora_lab.tasks.Task` that most tasks leave as it is."""

    def imitated(self, outputs: Tensor, targets: Any) -> Tensor:
        """The outputs that distillation compares, before it asks for their distance.

        All of them; a task of texts leaves out what is padded.

        Args:
            outputs: of either model, ``(batch, …)``.
            targets: of the batch.
        """
        return outputs

    def by_class(self, scorer: Scorer) -> dict[str, list[float | None]] | None:
        """What a result keeps of every class beside the metrics, by the name of the number.

        One value each in the order of :meth:`pclora_lab.tasks.Task.class_names`, None for a class
        that did not occur; None where classes have no numbers of their own.

        Args:
            scorer: from :meth:`pclora_lab.tasks.Task.scorer`, which has seen a split.
        """
        return None

    def answers(self, outputs: Tensor) -> Tensor:
        """Outputs as they are looked at, in float32, such as probabilities of classes."""
        return outputs.float()

    def label(self, target: Any, names: Sequence[str]) -> str:
        """What is right for one example in a few words; empty where that would take more.

        Args:
            target: of the example.
            names: from :meth:`pclora_lab.tasks.Task.class_names`.
        """
        return ""

    def raw_examples(self, batches: "Batches", split: "Split") -> Sequence[Any]:
        """What a person sees of each of the batches' examples: as the split has them.

        Args:
            batches: from :meth:`pclora_lab.tasks.Task.batches`.
            split: that they were made of.
        """
        return split.examples

    def continuations(
        self, model: nn.Module, batches: "Batches", indices: Sequence[int]
    ) -> list[Continuation] | None:
        """How a model goes on from the beginning of some examples; None where it can't.

        Args:
            model: on any device.
            batches: of a split.
            indices: which of its examples.
        """
        return None

    def pixel_classes(self, answer: Tensor, target: Any) -> tuple[Tensor, Tensor] | None:
        """Classes of one picture's pixels, answered and right, each ``(height, width)``.

        They are drawn; None where answers are nothing of the kind. 255 is no class.

        Args:
            answer: of one example, from :meth:`answers`.
            target: of the example.
        """
        return None

    def output_code(self, names: Sequence[str]) -> tuple[str, str]:
        """Python of a report: a name for the outputs, and what is printed of them.

        Args:
            names: of the classes, which ``model.pclora_class_names`` holds too.

        Example:
            >>> TaskOutputs().output_code(())
            ('outputs', 'outputs.shape')
        """
        return "outputs", "outputs.shape"

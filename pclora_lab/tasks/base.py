"""What every task answers to; training, comparison, command line and exports know nothing else.

A new task is one file with a class, and one line in :data:`pclora_lab.tasks.TASKS`; another
package's is an entry point of the group ``pclora_lab.tasks``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from pclora_lab.tasks.metrics import Scorer, TaskMetric, Verdict
from pclora_lab.tasks.outputs import TaskOutputs

if TYPE_CHECKING:  # reading data and models takes libraries that many commands do without
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.cache import DataCache
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["Task"]


class Task(TaskOutputs):
    """What a run is for. An object of it holds no state.

    Attributes:
        name: how configs, records and the command line call it.
        title: how plots and the lab call it.
        summary: one sentence for a person who chooses.
        metrics: what it measures; the first one ranks runs.
        pipeline_tag: the hub's name for it, as a model card gives it; empty leaves it out.
        things: what a person calls its examples.
        input: what it reads, ``image`` or ``text``, as data and models say it of themselves.
        opens: as what :func:`pclora_lab.load_model` opens a model for it; None takes the usual one.
        learns_from: what data for it hold, in a few words; empty takes ``things``.
        built_in: names of a model and of data for it that come with the package, which are what a
            person begins with; None where there are none.
        shows_each_class: whether :meth:`shown_examples` are one of each class, then others.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    metrics: ClassVar[tuple[TaskMetric, ...]]
    pipeline_tag: ClassVar[str] = ""
    things: ClassVar[str] = "examples"
    input: ClassVar[str] = "image"
    opens: ClassVar[str | None] = None
    learns_from: ClassVar[str] = ""
    built_in: ClassVar[tuple[str, str] | None] = None
    shows_each_class: ClassVar[bool] = False

    @property
    def ranking(self) -> TaskMetric:
        """The metric that runs are compared by."""
        return self.metrics[0]

    def of_teacher(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """The dense model's scores under the names of their columns; None without a teacher."""
        return {metric.of_teacher: scores.get(metric.key) for metric in self.metrics}

    # What a batch is.

    def data(self, config: object, cache: "DataCache") -> "LabeledData":
        """Read the data that a configuration names, or take them from the cache."""
        return cache.data(config)

    def suits(self, data: "LabeledData") -> bool:
        """Whether these data are what the task learns from.

        Without a name in the configuration, the first built-in task that they suit is taken.
        """
        raise NotImplementedError

    def of_data(self, data: "LabeledData") -> "Task":
        """The task with what its losses and metrics have to know of the data it is learned from.

        Itself where that is nothing. It is asked once for data that were read.
        """
        return self

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """A split as batches of inputs and targets, as the model takes them and the loss does."""
        return preprocessing.batches(split)

    def class_names(self, data: "LabeledData") -> tuple[str, ...]:
        """What the head's outputs stand for, one each; empty where they are no classes."""
        return ()

    # What is trained.

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
        """The dense model with a head that fits the data.

        A head that does not come from the checkpoint is marked by ``pclora_head_is_new``
        (:func:`pclora_lab.nn.metadata.set_metadata`): such a model is fine-tuned into a teacher.

        Args:
            name: as :func:`pclora_lab.load_model` takes it.
            data: that it is to be trained on.
            img_size: side of the input in pixels; None keeps the model's own.
            max_tokens: longest text in tokens; None: 128, or what the model has room for.
            split_qkv: take fused query-key-value layers apart.
            seed: draws a new head.

        Raises:
            ValueError: the model does not read what the data hold, or can't have such a head.
        """
        raise NotImplementedError

    def wanted_head(self, data: "LabeledData") -> str:
        """What the data want of a head, for the message of an error."""
        return "targets"

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        """What is minimized, one number, in float32; its gradient reaches the outputs.

        A mean over the examples, or over what :meth:`units` counts: several processes of one run
        weight their parts of a batch so.

        Args:
            outputs: of the model, ``(batch, …)``.
            targets: as the task's batches give them.
        """
        raise NotImplementedError

    def units(self, targets: Any) -> Tensor | None:
        """What :meth:`loss` is the mean over, counted, such as labeled pixels or guessed tokens.

        Args:
            targets: as the task's batches give them, of a batch or a part of it.

        Returns:
            A whole number, 0-dim, where the targets are; None where every example counts as one.
        """
        return None

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """What distillation compares beside features: how far the outputs are from the teacher's.

        Args:
            student: outputs ``(batch, …)``.
            teacher: outputs of the same shape, without a gradient.
            temperature: that softens both, where they are logits.
        """
        raise NotImplementedError

    # What is measured and shown.

    def scorer(self) -> Scorer:
        """A new one, which has seen nothing."""
        raise NotImplementedError

    def shown_examples(self, batches: "Batches", count: int) -> list[int]:
        """Which examples of a split a report shows: the first ones."""
        return list(range(min(count, len(batches))))

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """What an answer says about one example, in a few words.

        Args:
            answer: of one example, from :meth:`answers`.
            target: of the example.
            names: from :meth:`class_names`.
        """
        scorer = self.scorer()
        scorer.update(answer[None], target[None])
        return Verdict(self.ranking.format(float(scorer.compute()[self.ranking.key])))

    # What it is known by.

    def key_facts(self) -> dict[str, Any]:
        """What of the task is in the key of a kept teacher."""
        return {"task": self.name}

    def __repr__(self) -> str:
        return f"<task {self.name}>"

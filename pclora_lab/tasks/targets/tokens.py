"""One tag for each word of a text: names, parts of speech, slips of the pen."""

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pclora_lab.tasks.base import Task
from pclora_lab.tasks.losses import classification_loss, logit_loss
from pclora_lab.tasks.metrics import TaskMetric, Verdict
from pclora_lab.wording import brief

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.cache import DataCache
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["ENTITY_F1", "TOKEN_ACCURACY", "TOKEN_CLASSIFICATION", "entities"]

ENTITY_F1 = TaskMetric("entity_f1", "entity F1", "%", scale=100, low=0, high=1)
TOKEN_ACCURACY = TaskMetric("token_accuracy", "token accuracy", "%", scale=100, low=0, high=1)

# As in the data; torch's and transformers' own mark.
_UNTAGGED = -100

_PREFIXED = re.compile(r"O|[BILUES]-.+")
_LONGEST = 200


def entities(tags: Sequence[str], names: Sequence[str] = ()) -> set[tuple[str, int, int]]:
    """What is tagged in one text: kind, first word, and the word behind the last.

    Tags in BIO form (also IOB2, BIOES, BILOU) mark words from ``B-`` on, as long as ``I-`` of the
    same kind follows; an ``I-`` that follows nothing of its kind begins an entity too, as
    conlleval has it. Of plain tags with an ``O`` among their names, neighbors of one tag are an
    entity; without an ``O``, such as of parts of speech, every word is one.

    Args:
        tags: of the words.
        names: all tags that there are; none takes those of this text.

    Example:
        >>> sorted(entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]))
        [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]
        >>> sorted(entities(["PER", "PER", "O"])), sorted(entities(["DET", "NOUN"]))
        ([('PER', 0, 2)], [('DET', 0, 1), ('NOUN', 1, 2)])
    """
    every = names or tags
    if not all(_PREFIXED.fullmatch(tag) for tag in every):
        mark = "I-" if "O" in every else "S-"
        tags = [tag if tag == "O" else f"{mark}{tag}" for tag in tags]
    found: set[tuple[str, int, int]] = set()
    kind, begin = "", -1
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        goes_on = begin >= 0 and mark in "ILE" and name == kind
        if begin >= 0 and not goes_on:
            found.add((kind, begin, place))
            begin = -1
        if mark != "O" and not goes_on:
            kind, begin = name, place
        if mark in "LESU":
            found.add((kind, begin, place + 1))
            begin = -1
    return found


class _TokenClassification(Task):
    """Cross-entropy over the words that have a tag, which stands at the first piece of each."""

    name = pipeline_tag = "token-classification"
    opens = "token-classification"
    title = "classification of words"
    summary = "One tag for each word of a text."
    metrics = (ENTITY_F1, TOKEN_ACCURACY)
    things = "texts"
    input = "text"
    learns_from = "texts with a tag for each word"
    built_in = ("bert_glosses", "gloss_typos")

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()

    def of_data(self, data: "LabeledData") -> "_TokenClassification":
        """With the names of the tags, which say what an entity is."""
        same = copy.copy(self)
        same._names = data.class_names
        return same

    def data(self, config: object, cache: "DataCache") -> "LabeledData":
        """Texts whose words have tags."""
        from pclora_lab.data.targets.tags import load_tags

        return cache.data(config, load_tags)

    def suits(self, data: "LabeledData") -> bool:
        """Whatever has tags."""
        return data.targets == "tags"

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """Token numbers, and tags ``(batch, tokens)``, −100 where a token begins no word."""
        from pclora_lab.data.targets.tag_batches import TagBatches
        from pclora_lab.data.texts import TextPreprocessing

        if not isinstance(preprocessing, TextPreprocessing):
            raise ValueError("the model reads images, and tags are of words")
        return TagBatches(split, preprocessing)

    def class_names(self, data: "LabeledData") -> tuple[str, ...]:
        """The tags."""
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
        """A model of transformers with an output for each tag at every token."""
        from pclora_lab.tasks.heads import load_classifier

        return load_classifier(
            name, data, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv, seed=seed,
            task="token-classification",
        )  # fmt: skip

    def wanted_head(self, data: "LabeledData") -> str:
        """How many tags there are."""
        return f"{data.num_classes} tags"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over the tagged words of the batch; see :func:`classification_loss`.

        Args:
            outputs: logits ``(batch, tokens, tags)``.
            targets: tag numbers ``(batch, tokens)``; −100 does not count.
        """
        return classification_loss(outputs.flatten(0, 1), targets.flatten())

    def units(self, targets: Tensor) -> Tensor:
        """The tagged words."""
        return targets.ne(_UNTAGGED).sum()

    def imitated(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Those at the tagged words, ``(words, tags)``."""
        return outputs[targets.ne(_UNTAGGED)]

    def imitation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """:func:`logit_loss` of each token."""
        tags = student.shape[-1]
        return logit_loss(student.reshape(-1, tags), teacher.reshape(-1, tags), temperature)

    def scorer(self) -> "_Entities":
        """F1 of whole entities, and the share of words whose tag is right."""
        return _Entities(self._names)

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities of the tags of each token, ``(batch, tokens, tags)``."""
        return outputs.float().softmax(-1)

    def output_code(self, names: Sequence[str]) -> tuple[str, str]:
        """The tag of every piece."""
        return "logits", "[model.pclora_class_names[tag] for tag in logits[0].argmax(-1)]"

    def label(self, target: Any, names: Sequence[str]) -> str:
        """The tags in the order of the words."""
        return _written(target[target != _UNTAGGED], names)

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The most likely tags, whether all are right, and how sure the model is on average."""
        is_word = target != _UNTAGGED
        best = answer[is_word].max(-1)
        if not len(best.indices):
            return Verdict("no word is tagged")
        is_right = bool((best.indices == target[is_word]).all())
        return Verdict(_written(best.indices, names), is_right, float(best.values.mean()))


def _written(tags: Tensor, names: Sequence[str]) -> str:
    words = (names[tag] if tag < len(names) else str(tag) for tag in tags.tolist())
    return brief(" ".join(words), _LONGEST)


class _Entities:
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.both = self.said = self.right = 0
        self.words = self.right_words = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        for answer, target in zip(outputs.argmax(-1).cpu(), targets.cpu(), strict=True):
            is_word = target.ne(_UNTAGGED)
            said, right = answer[is_word], target[is_word]
            self.words += len(right)
            self.right_words += int((said == right).sum())
            found, wanted = (entities(self._named(tags), self.names) for tags in (said, right))
            self.both += len(found & wanted)
            self.said += len(found)
            self.right += len(wanted)

    def _named(self, tags: Tensor) -> list[str]:
        return [self.names[tag] if tag < len(self.names) else str(tag) for tag in tags.tolist()]

    def compute(self) -> dict[str, float]:
        f1 = 2 * self.both / max(1, self.said + self.right)
        return {ENTITY_F1.key: f1, TOKEN_ACCURACY.key: self.right_words / max(1, self.words)}


TOKEN_CLASSIFICATION = _TokenClassification()

"""The hidden tokens of a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pclora_lab.tasks.language.scores import NEXT_TOKEN, PERPLEXITY, GuessedTokens
from pclora_lab.tasks.language.unlabeled import TaskOfTexts
from pclora_lab.tasks.losses import classification_loss
from pclora_lab.tasks.metrics import TaskMetric, Verdict

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["MASKED_LANGUAGE_MODELING", "MaskedTokens"]

_UNCOUNTED = -100

# Not perplexity: a masked model gives no probability to a whole text.
PSEUDO_PERPLEXITY = TaskMetric(
    "pseudo_perplexity", "pseudo-perplexity of hidden tokens", better="lower", low=1,
    axis="pseudo-perplexity",
)  # fmt: skip
HIDDEN_TOKEN = TaskMetric(
    "masked_token_accuracy", "hidden token right", "%", scale=100, low=0, high=1
)


class MaskedTokens:
    """How well hidden tokens are guessed, added up over batches.

    ``pseudo-perplexity = exp(−mean log p(token))`` over the tokens that were chosen: 15% of a text,
    80% of them hidden, 10% swapped for others, 10% left as they are.

    Example:
        >>> import torch
        >>> seen = MaskedTokens()
        >>> seen.update(torch.zeros(1, 3, 4), torch.tensor([[-100, 0, 2]]))
        >>> {name: round(value, 6) for name, value in seen.compute().items()}
        {'pseudo_perplexity': 4.0, 'masked_token_accuracy': 0.5}
    """

    def __init__(self) -> None:
        self._guessed = GuessedTokens()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch.

        Args:
            outputs: logits ``(batch, tokens, vocabulary)``.
            targets: ``(batch, tokens)``; −100 where nothing is to be guessed.
        """
        tokens = targets.flatten()
        self._guessed.add(outputs.flatten(0, 1), tokens, tokens.new_full(tokens.shape, -1))

    def compute(self) -> dict[str, float]:
        """Both metrics; NaN where no token was hidden."""
        found = self._guessed.compute()
        return {
            PSEUDO_PERPLEXITY.key: found[PERPLEXITY.key],
            HIDDEN_TOKEN.key: found[NEXT_TOKEN.key],
        }


class _MaskedLanguageModeling(TaskOfTexts):
    """Cross-entropy of hidden tokens, and their pseudo-perplexity."""

    name = "masked-language-modeling"
    opens = "masked-language-model"
    pipeline_tag = "fill-mask"
    title = "masked language modeling"
    summary = "The hidden tokens of a text."
    metrics = (PSEUDO_PERPLEXITY, HIDDEN_TOKEN)

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """Windows of texts in which some tokens are hidden."""
        from pclora_lab.data.language.masked import MaskedBatches
        from pclora_lab.data.texts import TextPreprocessing

        if not isinstance(preprocessing, TextPreprocessing):
            raise ValueError("the model reads images, and masked language modeling is of texts")
        return MaskedBatches(split, preprocessing)

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
        """A BERT-like model with its own head for hidden tokens."""
        from pclora_lab.tasks.language.models import load_masked_model

        return load_masked_model(
            name, data, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv, seed=seed
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of the hidden tokens, mean over them; 0 where none is hidden."""
        return classification_loss(outputs.flatten(0, 1), targets.flatten())

    def units(self, targets: Tensor) -> Tensor:
        """Tokens that are guessed."""
        return targets.ne(_UNCOUNTED).sum()

    def imitated(self, outputs: Tensor, targets: Any) -> Tensor:
        """Each place, ``(batch · places, vocabulary)``; alike where nothing is hidden."""
        counts = targets.ne(_UNCOUNTED).unsqueeze(-1)
        return outputs.where(counts, 0).flatten(0, 1)

    def scorer(self) -> MaskedTokens:
        """See :class:`MaskedTokens`."""
        return MaskedTokens()

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The pseudo-perplexity of what is hidden in a text; nothing where nothing is."""
        if not bool(target.ne(_UNCOUNTED).any()):
            return Verdict("nothing hidden")
        seen = self.scorer()
        seen.update(answer[None], target[None])
        return Verdict(f"ppl {seen.compute()[PSEUDO_PERPLEXITY.key]:,.1f}")


MASKED_LANGUAGE_MODELING = _MaskedLanguageModeling()

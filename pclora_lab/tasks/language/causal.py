"""The next token of a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pclora_lab.tasks.language.continuation import continue_tokens
from pclora_lab.tasks.language.scores import BITS_PER_BYTE, NEXT_TOKEN, PERPLEXITY, GuessedTokens
from pclora_lab.tasks.language.unlabeled import TaskOfTexts
from pclora_lab.tasks.losses import language_model_loss
from pclora_lab.tasks.metrics import Verdict
from pclora_lab.tasks.outputs import Continuation

if TYPE_CHECKING:  # see the base class
    from pclora_lab.data.batches import Batches
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.splits import LabeledData, Split
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["LANGUAGE_MODELING", "NextTokens"]

_UNCOUNTED = -100
# Of a text that is shown, what the models are given to go on with.
_PROMPT_SHARE, _LONGEST_PROMPT = 1 / 3, 16


class NextTokens(GuessedTokens):
    """The scores of answers that stand one place before the token that they guess."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch.

        Args:
            outputs: logits ``(batch, tokens, vocabulary)``.
            targets: see :class:`pclora_lab.data.language.batches.LanguageBatches`.
        """
        tokens, sizes = (targets[:, part, 1:].flatten() for part in (0, 1))
        self.add(outputs[:, :-1].flatten(0, 1), tokens, sizes)


class _LanguageModeling(TaskOfTexts):
    """Cross-entropy of the next token, and perplexity."""

    name = "language-modeling"
    opens = "language-model"
    pipeline_tag = "text-generation"
    title = "language modeling"
    summary = "The next token of a text."
    metrics = (PERPLEXITY, BITS_PER_BYTE, NEXT_TOKEN)
    built_in = ("llama_glosses", "gloss_texts")

    def batches(
        self, split: "Split", preprocessing: "Preprocessing | TextPreprocessing"
    ) -> "Batches":
        """Pieces of documents, and the tokens to guess."""
        from pclora_lab.data.language.batches import LanguageBatches
        from pclora_lab.data.texts import TextPreprocessing

        if not isinstance(preprocessing, TextPreprocessing):
            raise ValueError("the model reads images, and language modeling is of texts")
        return LanguageBatches(split, preprocessing)

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
        """A causal language model with its own head."""
        from pclora_lab.tasks.language.models import load_causal_model

        return load_causal_model(
            name, data, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv, seed=seed
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :func:`language_model_loss`."""
        return language_model_loss(outputs, targets[:, 0])

    def units(self, targets: Tensor) -> Tensor:
        """Tokens that are guessed."""
        return targets[:, 0, 1:].ne(_UNCOUNTED).sum()

    def imitated(self, outputs: Tensor, targets: Any) -> Tensor:
        """Each place that a token is guessed at, ``(batch · places, vocabulary)``.

        Where there is none, both models are made to say the same. So a batch's mean is over all its
        places, padded or not, and parts of it add up however their padding is spread.
        """
        counts = targets[:, 0, 1:].ne(_UNCOUNTED).unsqueeze(-1)
        return outputs[:, :-1].where(counts, 0).flatten(0, 1)

    def scorer(self) -> NextTokens:
        """See :class:`GuessedTokens`."""
        return NextTokens()

    def verdict(self, answer: Tensor, target: Any, names: Sequence[str]) -> Verdict:
        """The text's own perplexity."""
        seen = self.scorer()
        seen.update(answer[None], target[None])
        return Verdict(f"ppl {seen.compute()[PERPLEXITY.key]:,.1f}")

    def continuations(
        self, model: nn.Module, batches: "Batches", indices: Sequence[int]
    ) -> list[Continuation]:
        """How it goes on from the first third of a text, at most 16 tokens."""
        from pclora_lab.data.language.batches import LanguageBatches

        assert isinstance(batches, LanguageBatches)  # they are this task's own
        rows = [batches.ids[index].tolist() for index in indices]
        return continue_tokens(model, [row[: _prompt_length(len(row))] for row in rows])


def _prompt_length(tokens: int) -> int:
    return max(1, min(round(_PROMPT_SHARE * tokens), _LONGEST_PROMPT))


LANGUAGE_MODELING = _LanguageModeling()

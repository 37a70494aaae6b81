"""Losses and scores: classes, the next word, pictures that belong to texts, a teacher's logits."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.nn.forward import call_model, eval_mode

__all__ = [
    "TaskLossFunction",
    "classification_loss",
    "contrastive_loss",
    "language_model_loss",
    "logit_loss",
    "perplexity",
    "zero_shot_accuracy",
]

TaskLossFunction = Callable[[Tensor, Tensor], Tensor]

# torch's and transformers' mark of a label that is not to be learned.
_UNCOUNTED = -100


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over the labels that count, in float32; 0 where none does.

    Args:
        logits: ``(batch, classes)``.
        labels: class numbers ``(batch,)``; −100 does not count.

    Raises:
        ValueError: a label outside the head (seen on the CPU only: a GPU would have to wait).

    Example:
        >>> round(classification_loss(torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)
        1.3863
    """
    classes = logits.shape[-1]
    if labels.device.type == "cpu" and labels.numel() and int(labels.max()) >= classes:
        largest = int(labels.max())
        raise ValueError(
            f"label {largest} is outside the model's head, which has {classes} classes (0 to "
            f"{classes - 1}): build the model with num_classes={largest + 1} or more"
        )
    return _mean_over_counted(logits.float(), labels)


def _mean_over_counted(logits: Tensor, labels: Tensor) -> Tensor:
    # The mean over nothing is NaN, and so would be every weight after the step.
    if not labels.numel():
        return logits.sum()
    # Asking whether there is a label that counts would wait for the GPU.
    counts = labels.ne(_UNCOUNTED).any()
    return F.cross_entropy(logits, torch.where(counts, labels, 0)) * counts


def language_model_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every next token, mean over the tokens that have one; 0 where none has.

    Args:
        logits: ``(batch, tokens, vocabulary)``.
        labels: the input's own token numbers ``(batch, tokens)``; −100 where none is to be guessed.

    Example:
        >>> language_model_loss(torch.zeros(1, 3, 5), torch.tensor([[1, 2, 3]])).exp().item()
        5.0
    """
    guessed = logits[:, :-1].flatten(0, 1).float()
    return _mean_over_counted(guessed, labels[:, 1:].flatten())


def contrastive_loss(logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """CLIP's loss: every image finds its text, every text its image.

    ``L = (CE(Z, i) + CE(Zᵀ, i)) / 2`` with ``i = 0 … n−1``. Source: arXiv:2103.00020, figure 3.

    Args:
        logits: Z, images by texts ``(n, n)``; pairs stand on the diagonal.
        labels: not used; there so that every task's loss is called alike.

    Example:
        >>> round(contrastive_loss(100 * torch.eye(3)).item(), 4)
        0.0
    """
    pairs = torch.arange(logits.shape[0], device=logits.device)
    logits = logits.float()
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def logit_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """``T² · KL(softmax(teacher/T) ‖ softmax(student/T))``, mean over the batch.

    Args:
        student: logits ``(batch, classes)``.
        teacher: logits ``(batch, classes)``.
        temperature: T.

    Source: Hinton et al., arXiv:1503.02531.

    Example:
        >>> logit_loss(torch.ones(2, 3), torch.ones(2, 3)).item()
        0.0
    """
    log_p = F.log_softmax(student.float() / temperature, dim=-1)
    log_q = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def perplexity(model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> float:
    """``exp`` of the mean loss per guessed token, in eval mode.

    Args:
        model: a language model.
        batches: ``input_ids`` ``(batch, tokens)``, with ``attention_mask`` where there is padding.

    Raises:
        ValueError: no token to guess.
    """
    total, count = 0.0, 0
    with eval_mode(model):
        for batch in batches:
            labels = batch["input_ids"]
            if "attention_mask" in batch:
                labels = labels.masked_fill(batch["attention_mask"] == 0, _UNCOUNTED)
            guessed = int((labels[:, 1:] != _UNCOUNTED).sum())
            if guessed:
                total += guessed * language_model_loss(call_model(model, batch), labels).item()
            count += guessed
    if not count:
        raise ValueError("perplexity needs texts of two tokens or more")
    return math.exp(total / count)


def zero_shot_accuracy(
    model: nn.Module, images: Tensor, labels: Tensor, prompts: Mapping[str, Tensor]
) -> float:
    """Top-1 accuracy of CLIP when the classes are given as texts only, in [0, 1].

    Args:
        model: CLIP from transformers.
        images: ``(batch, channels, height, width)``.
        labels: class numbers ``(batch,)``.
        prompts: ``input_ids`` and ``attention_mask`` of one text per class, in class order.
    """
    with eval_mode(model):
        predictions = call_model(model, {**prompts, "pixel_values": images}).argmax(-1)
    return float((predictions == labels).float().mean())

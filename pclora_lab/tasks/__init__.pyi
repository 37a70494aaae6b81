from .losses import (
    classification_loss,
    contrastive_loss,
    language_model_loss,
    perplexity,
    zero_shot_accuracy,
)

__all__ = [
    "classification_loss",
    "contrastive_loss",
    "language_model_loss",
    "perplexity",
    "zero_shot_accuracy",
]

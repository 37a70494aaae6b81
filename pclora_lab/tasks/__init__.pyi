from .base import Task
from .classification import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, Classification
from .guessing import task_and_data
from .language.causal import LANGUAGE_MODELING
from .language.continuation import continue_texts
from .language.masked import MASKED_LANGUAGE_MODELING
from .losses import (
    classification_loss,
    contrastive_loss,
    language_model_loss,
    logit_loss,
    perplexity,
    zero_shot_accuracy,
)
from .metrics import Scorer, TaskMetric
from .outputs import Continuation
from .registry import TASKS, metrics_of, named_task
from .segmentation import SEMANTIC_SEGMENTATION, Confusion, iou_by_class, segmentation_loss
from .targets.multi_label import MULTI_LABEL_CLASSIFICATION
from .targets.regression import REGRESSION
from .targets.tokens import TOKEN_CLASSIFICATION, entities

__all__ = [
    "IMAGE_CLASSIFICATION",
    "LANGUAGE_MODELING",
    "MASKED_LANGUAGE_MODELING",
    "MULTI_LABEL_CLASSIFICATION",
    "REGRESSION",
    "SEMANTIC_SEGMENTATION",
    "TASKS",
    "TEXT_CLASSIFICATION",
    "TOKEN_CLASSIFICATION",
    "Classification",
    "Confusion",
    "Continuation",
    "Scorer",
    "Task",
    "TaskMetric",
    "classification_loss",
    "continue_texts",
    "contrastive_loss",
    "entities",
    "iou_by_class",
    "language_model_loss",
    "logit_loss",
    "metrics_of",
    "named_task",
    "perplexity",
    "segmentation_loss",
    "task_and_data",
    "zero_shot_accuracy",
]

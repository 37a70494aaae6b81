"""What targets are like: how many of each label or tag, how far numbers reach."""

import numpy as np

from pclora_lab.data.splits import LabeledData, Split

__all__ = ["number_ranges", "target_counts"]


def target_counts(split: Split, kind: str, count: int) -> np.ndarray:
    """How many examples have each label, or words each tag, ``(count,)``.

    Args:
        split: with such targets.
        kind: ``labels`` or ``tags``.
        count: of the labels or tags.

    Example:
        >>> tagged = Split(["a b"], np.zeros(1), targets=[np.array([1, -100, 1])])
        >>> target_counts(tagged, "tags", 2).tolist()
        [0, 2]
    """
    targets = [] if split.targets is None else split.targets
    if kind == "labels":
        return np.asarray(targets).sum(0).astype(np.int64)
    every = np.concatenate([np.zeros(0, dtype=np.int64), *targets])
    return np.bincount(every[every >= 0], minlength=count)


def number_ranges(data: LabeledData) -> dict[str, dict[str, list[float]]]:
    """Lowest, mean and highest of each target, by split and name."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        name: {
            target: [float(f"{value:.4g}") for value in (v.min(), v.mean(), v.max())]
            for target, v in zip(data.class_names, np.asarray(split.targets).T, strict=True)
        }
        for name, split in splits.items()
    }

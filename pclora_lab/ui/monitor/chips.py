"""The settings of a run in one line."""

import html
from collections.abc import Mapping
from typing import Any

from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig

__all__ = ["chips_html"]


def chips_html(config: RunConfig) -> str:
    """Model, data, method, size, schedule, steps and seed, each in a chip; text is escaped.

    Example:
        >>> "vit_digits" in chips_html(RunConfig()) and "300 steps" in chips_html(RunConfig())
        True
    """
    return "".join(
        f'<span class="pclora-chip" title="{html.escape(text)}">{html.escape(text)}</span>'
        for text in _texts(config)
    )


def _texts(config: RunConfig) -> list[str]:
    method = config.method
    texts = [config.model, config.data, METHODS[method.name].title]
    size = _size(method)
    if size:
        texts.append(size)
    schedule = getattr(method, "schedule", None)
    if schedule is not None:
        is_drawn = not isinstance(schedule, str)
        end = getattr(method, "fade_end", 1.0)
        texts.append("drawn schedule" if is_drawn else f"{schedule}, q = {end:g}")
    return [*texts, f"{config.steps:,} steps", f"seed {config.seed}"]


def _size(method: Any) -> str:
    if isinstance(getattr(method, "rank", None), (tuple, Mapping)):
        return "a rank for each layer"
    if getattr(method, "budget", None) is not None:
        return f"budget {method.budget:.0%}"
    for name in ("rank", "ratio", "sparsity"):
        if getattr(method, name, None) is not None:
            return f"{name} {getattr(method, name)}"
    return ""

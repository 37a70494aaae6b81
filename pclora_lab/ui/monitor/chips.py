"""The settings of a run in one line."""

import html
from collections.abc import Mapping

from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.size_choice import size_options

__all__ = ["chips_html"]


def chips_html(config: RunConfig) -> str:
    """Model, data, method, size, schedule, steps and seed, each in a chip; text is escaped.

    Example:
        >>> "vit_digits" in chips_html(RunConfig()) and "300 steps" in chips_html(RunConfig())
        True
    """
    texts = [html.escape(text) for text in _texts(config)]
    chips = "".join(f'<span class="pclora-chip"><bdi>{text}</bdi></span>' for text in texts)
    # A narrow line shows the first of them only, and the beginning of a long name.
    return f'<span title="{" · ".join(texts)}">{chips}</span>'


def _texts(config: RunConfig) -> list[str]:
    method = config.method
    texts = [config.model, config.data, METHODS[method.name].title]
    texts += _sizes(method)
    schedule = getattr(method, "schedule", None)
    if schedule is not None:
        is_drawn = not isinstance(schedule, str)
        end = getattr(method, "fade_end", 1.0)
        texts.append("drawn schedule" if is_drawn else f"{schedule}, q = {end:g}")
    return [*texts, f"{config.steps:,} steps", f"seed {config.seed}"]


def _sizes(method: MethodConfig) -> list[str]:
    """What decides alone, such as a budget, or else all that decides together."""
    together, alone = size_options(method)
    values = {name: getattr(method, name) for name in (*alone, *together)}
    chosen = [name for name in alone if values[name] is not None] or together
    return [_sized(name, values[name]) for name in chosen]


def _sized(name: str, value: object) -> str:
    if isinstance(value, (tuple, Mapping)):
        return "a rank for each layer"
    return f"{name} {value:.0%}" if name == "budget" else f"{name} {value}"

"""The parts of a run in one bar: how long each is, and how far the run is."""

import html
from collections.abc import Iterable

import ipywidgets as widgets

from pclora_lab.runs.session_state import PartDone

__all__ = ["PhaseBar"]

_NAMES = {"teacher": "teacher", "fade": "fade", "after": "no base", "test": "test"}


class PhaseBar(widgets.HTML):
    """Shows the parts of a run side by side, as wide as they are long.

    Example:
        >>> bar = PhaseBar()
        >>> bar.show([PartDone("fade", 0.6, 1.0), PartDone("after", 0.4, 0.25)], fades=True)
        >>> "fade ✓" in bar.value, "no base" in bar.value, "width:25%" in bar.value
        (True, True, True)
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_class("pclora-phases")

    def show(self, parts: Iterable[PartDone], *, fades: bool) -> None:
        """Draw the parts.

        Args:
            parts: in order; none empties the bar.
            fades: whether the run has a base that fades; otherwise its steps are a training.
        """
        parts = tuple(parts)
        drawn = "".join(_part(part, fades) for part in parts)
        done = round(100 * sum(part.share * part.done for part in parts))
        self.value = parts and (
            f'<div class="pclora-parts" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{done}" aria-label="progress of the run">{drawn}</div>'
        ) or ""  # fmt: skip


def _part(part: PartDone, fades: bool) -> str:
    name = _NAMES.get(part.name, part.name) if fades or part.name != "fade" else "training"
    text = f"{name} ✓" if part.done == 1 else name
    return (
        f'<div class="pclora-part" style="flex-grow:{max(part.share, 0.02):.3f}">'
        f'<i style="width:{100 * part.done:.0f}%"></i><span>{html.escape(text)}</span></div>'
    )

"""What a method logs, and how its curves look: each metric describes itself once.

Figures, the live plot and the overlay of runs read these descriptions; none of them knows a method.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["LR_SHARE", "TASK", "Metric", "Panel"]

_COLOR = re.compile(r"[a-z]+|#[0-9a-fA-F]{6}")
_DASHES = ("solid", "dash", "dot")


class Panel(IntEnum):
    """The four panels of a run's plot, in reading order."""

    PROGRESS = 0
    ACCURACY = 1
    LOSS = 2
    COST = 3


@dataclass(frozen=True)
class Metric:
    """A column of the history that a method fills.

    Attributes:
        key: the column's name, as :meth:`Method.set_progress`, :meth:`Method.measure` or the loss
            terms give it.
        label: what a legend calls it.
        panel: where it is drawn.
        color: a color of :data:`pclora_lab.plots.palette.HUES`, or ``#rrggbb``.
        dash: ``solid``, ``dash`` or ``dot``, for readers who see no colors.
        panel_title: title of the first panel where this metric is reported.
        markers: a mark at every point, for what is measured now and then.
        overlay_dash: its line where several runs are drawn over each other; empty leaves it out.
        overlay_hint: what the panel's title says about that line.
        teacher_label: what the same column is called while the teacher is fine-tuned; empty
            leaves that curve out.

    Raises:
        ValueError: a key that is no word, a panel, color or dash that there is not.

    Example:
        >>> Metric("rows_kept", "rows kept", Panel.PROGRESS, "green").dash
        'solid'
    """

    key: str
    label: str
    panel: Panel
    color: str
    dash: str = "solid"
    panel_title: str = ""
    markers: bool = False
    overlay_dash: str = ""
    overlay_hint: str = ""
    teacher_label: str = ""

    def __post_init__(self) -> None:
        """Validate, so that a wrong description is seen where it stands and not in a figure."""
        if not self.key.isidentifier():
            raise ValueError(f"metric key {self.key!r} is no name of a column: use letters and _")
        if self.panel not in tuple(Panel):
            names = ", ".join(panel.name for panel in Panel)
            raise ValueError(f"panel of {self.key} is {self.panel!r}: use Panel with {names}")
        if not _COLOR.fullmatch(self.color):
            raise ValueError(
                f"color of {self.key} is {self.color!r}: use a name such as blue, or #rrggbb"
            )
        for name, dash in (("dash", self.dash), ("overlay_dash", self.overlay_dash or "solid")):
            if dash not in _DASHES:
                raise ValueError(
                    f"{name} of {self.key} is {dash!r}: use one of {', '.join(_DASHES)}"
                )


TASK = Metric(
    "task",
    "task",
    Panel.LOSS,
    "orange",
    overlay_dash="solid",
    overlay_hint="task",
    teacher_label="task (teacher)",
)

LR_SHARE = Metric(
    "lr_share",
    "learning rate, share of its peak",
    Panel.PROGRESS,
    "blue",
    panel_title="Learning rate",
    overlay_dash="dot",
)

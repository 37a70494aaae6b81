"""A rank for each layer in place of one for all, and the note that tells of it."""

from collections.abc import Callable, Mapping

import ipywidgets as widgets

from pclora_lab.methods.base import MethodConfig
from pclora_lab.ui.closing import refill
from pclora_lab.ui.html import button

__all__ = ["RanksByLayer"]


class RanksByLayer:
    """Ranks that were chosen layer by layer; None while the slider's rank is for all.

    Args:
        config: a method's options, which may have such ranks.
        on_change: called when a person takes one rank for all again.

    Attributes:
        note: what is shown below the rank's slider.
    """

    def __init__(self, config: MethodConfig, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.note = widgets.HBox()
        self.show(config)

    def show(self, config: MethodConfig) -> None:
        """Take the ranks of a method's options, if it has such."""
        rank = getattr(config, "rank", None)
        self.use(dict(rank) if isinstance(rank, tuple) else None)

    def use(self, ranks: Mapping[str, int] | None) -> None:
        """Take a rank for each layer; None takes the slider's again."""
        self._ranks = None if ranks is None else dict(ranks)
        if self._ranks is None:
            return refill(self.note, ())
        back = button(
            "One for all", "", "take the slider's rank for every layer", self._release,
            width="100px",
        )  # fmt: skip
        text = f"ranks by layer: {min(self._ranks.values())} to {max(self._ranks.values())}"
        refill(self.note, (widgets.HTML(value=text), back))

    def _release(self) -> None:
        self.use(None)
        self._on_change()

    def values(self) -> dict[str, dict[str, int]]:
        """The ``rank`` of a method's options, if it is given by layer."""
        return {} if self._ranks is None else {"rank": self._ranks}

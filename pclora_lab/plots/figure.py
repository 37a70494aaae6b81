"""A matplotlib figure that a notebook shows by itself."""

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pclora_lab.plots.theme import current_theme, matplotlib_theme

__all__ = ["NotebookFigure"]


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot's global state.

    It keeps the theme that was chosen when it was made; see
    :func:`pclora_lab.plots.theme.use_theme`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.dark = current_theme() == "dark"
        with matplotlib_theme(self.dark):
            super().__init__(*args, **kwargs)

    def add_subplot(self, *args: Any, **kwargs: Any) -> Axes:
        """As matplotlib's, in the figure's theme."""
        with matplotlib_theme(self.dark):
            return super().add_subplot(*args, **kwargs)

    def draw(self, renderer: Any) -> None:
        """As matplotlib's, in the figure's theme, also where tick labels are only made now."""
        with matplotlib_theme(self.dark):
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        drawn, image = io.BytesIO(), io.BytesIO()
        with matplotlib_theme(self.dark):
            self.savefig(drawn, format="png", dpi=80)
        # 256 colors are enough for curves, and a notebook becomes half as large.
        Image.open(drawn).convert("RGB").quantize(256).save(image, format="png", optimize=True)
        return image.getvalue()

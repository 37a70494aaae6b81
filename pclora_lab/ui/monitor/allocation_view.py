"""A live heatmap of SNELLA's layers that compete for weights."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale

from pclora_lab.plots.course.methods import allocation_grid
from pclora_lab.plots.theme import plotly_template
from pclora_lab.runs.session import OVER, Session
from pclora_lab.ui.widgets.page import FIGURE_OPTIONS

__all__ = ["AllocationWidget", "allocation_widget"]

_SECONDS_BETWEEN_FRAMES = 1 / 3


_SHARE_FOR_DRAWING = 0.05


class AllocationWidget(go.FigureWidget):
    """A figure widget that is made once and then only fed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._config = {**self._config, **FIGURE_OPTIONS}
        self._drawn, self._drawing, self._followed = 0, threading.Lock(), None

    def update_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Draw the history so far; does nothing if it brings nothing new."""
        layers, edges, shares = allocation_grid(rows)
        if not layers or (len(layers), edges[-1]) == self._drawn:
            return
        self._drawn = len(layers), edges[-1]
        with self.batch_update():
            self.data[0].update(x=edges, y=layers, z=shares.astype(np.float32))
            self.layout.height = 130 + 22 * len(layers)

    def follow(self, session: Session) -> "AllocationWidget":
        """Redraw at most three times a second, in the background, until the session is over.

        Args:
            session: a run of SNELLA that was started; another one that was followed is let go.
        """
        with self._drawing:
            self._followed, self._drawn = session, 0
        threading.Thread(target=self._paint, args=(session,), daemon=True).start()
        return self

    def _paint(self, session: Session) -> None:
        while True:
            began = time.perf_counter()
            snapshot = session.snapshot()
            with self._drawing:
                if session is not self._followed:
                    return
                self._show(snapshot.rows)
            if snapshot.state in OVER:
                return
            took = time.perf_counter() - began
            time.sleep(max(_SECONDS_BETWEEN_FRAMES, min(took / _SHARE_FOR_DRAWING, 3)))

    def _show(self, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            self.update_rows(rows)
        except Exception as error:  # noqa: BLE001 - a thread's exception would vanish
            self.layout.title.text = f"not drawn: {error}"


def allocation_widget() -> AllocationWidget:
    """An empty heatmap, layer over training; ``.follow(session)`` fills it.

    Example:
        >>> heatmap = allocation_widget()
        >>> heatmap.update_rows([{"progress": 0.0, "layer_density": {"blocks.0.fc": 0.25}}])
        >>> heatmap.data[0].z.tolist()
        [[25.0]]
    """
    cells = go.Heatmap(
        zmin=0,
        zmax=100,
        # By the root, as in competition_figure.
        colorscale=[[place**2, color] for place, color in get_colorscale("Cividis")],
        colorbar={"title": {"text": "may change (%)"}, "tickvals": [0, 5, 20, 50, 100]},
        hovertemplate="%{y}<br>at %{x:.0f} % of the training<br>%{z:.1f} %<extra></extra>",
    )
    widget = AllocationWidget(go.Figure(cells))
    widget.update_layout(
        template=plotly_template(),
        height=480,
        margin={"l": 130, "r": 20, "t": 20, "b": 50},
    )
    widget.update_xaxes(title_text="training done (%)", range=[0, 100])
    widget.update_yaxes(autorange="reversed")
    return widget

"""A live heatmap of SNELLA's layers that compete for weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale

from pclora_lab.course.figures.methods import allocation_grid
from pclora_lab.plots.overlay import plain_text
from pclora_lab.plots.theme import plotly_template
from pclora_lab.runs.session import Session
from pclora_lab.runs.session_state import SessionState
from pclora_lab.ui.background import Refresher
from pclora_lab.ui.widgets.chart import Chart

__all__ = ["AllocationWidget", "allocation_widget"]


class AllocationWidget(Chart):
    """A chart that is made once and then only fed."""

    def __init__(self, figure: go.Figure) -> None:
        super().__init__(figure, label="weights that each layer may change, over the training")
        self._drawn: tuple[int, float] | None = None
        self._refresher: Refresher | None = None

    def update_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Draw the history so far; does nothing if it brings nothing new."""
        layers, edges, shares = allocation_grid(rows)
        if not layers or (len(layers), edges[-1]) == self._drawn:
            return
        self._drawn = len(layers), edges[-1]
        with self.changing() as figure:
            figure.data[0].update(x=edges, y=layers, z=shares.astype(np.float32))
            figure.layout.height = 130 + 22 * len(layers)

    def follow(self, session: Session) -> "AllocationWidget":
        """Redraw now and then, in the background, until the session is over.

        Args:
            session: a run of SNELLA that was started; another one that was followed is let go.
        """
        if self._refresher is not None:
            self._refresher.stop()
        self._drawn = None
        self._refresher = Refresher(session, self._draw, self._show_error)
        self._refresher.start()
        return self

    def _draw(self, session: Session, snapshot: SessionState) -> None:
        self.update_rows(snapshot.rows)

    def _show_error(self, error: Exception) -> None:
        with self.changing() as figure:
            figure.layout.title.text = plain_text(f"not drawn: {error}")


def allocation_widget() -> AllocationWidget:
    """An empty heatmap, layer over training; ``.follow(session)`` fills it.

    Example:
        >>> heatmap = allocation_widget()
        >>> heatmap.update_rows([{"progress": 0.0, "layer_density": {"blocks.0.fc": 0.25}}])
        >>> heatmap.figure.data[0].z.tolist()
        [[25.0]]
    """
    cells = go.Heatmap(
        zmin=0,
        zmax=100,
        # By the root, as in competition_figure.
        colorscale=[[share**2, color] for share, color in get_colorscale("Cividis")],
        colorbar={"title": {"text": "may change (%)"}, "tickvals": [0, 5, 20, 50, 100]},
        hovertemplate="%{y}<br>at %{x:.0f}% of the training<br>%{z:.1f}%<extra></extra>",
    )
    figure = go.Figure(cells)
    figure.update_layout(
        template=plotly_template(),
        height=480,
        margin={"l": 130, "r": 20, "t": 20, "b": 50},
    )
    figure.update_xaxes(title_text="training done (%)", range=[0, 100])
    figure.update_yaxes(autorange="reversed")
    return AllocationWidget(figure)

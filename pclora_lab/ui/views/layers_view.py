"""The layers of a run, live: a heatmap over the steps, and the singular values of one layer."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pclora_lab.plots.layers import LAYER_METRICS, cell_edges, color_range, layer_grid
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.panels import in_one_column
from pclora_lab.plots.theme import apply_theme, plotly_template
from pclora_lab.runs.replay import Replay
from pclora_lab.ui.widgets.chart import Chart, Click

__all__ = ["LayersView"]

_SPECTRA = (
    ("base (faded)", "base", "solid"),
    ("adapter", "adapter", "dash"),
    ("their sum", "ink", "dot"),
)


# What is below is rounding, and would press the rest of a logarithmic axis flat.
_ROUNDING = 1e-5

_NARROW = {
    "layout": {
        **in_one_column(2, height=860, gap=0.2),
        "legend": {"x": 0, "y": 0.4},
    },
    "data": [{"colorbar": {"x": 1.02, "y": 0.8, "len": 0.4}}],
}


def layers_figure() -> go.Figure:
    """An empty heatmap and an empty panel of singular values."""
    titles = ("layer over step", "singular values of one layer")
    figure = make_subplots(
        rows=1, cols=2, column_widths=[0.58, 0.42], horizontal_spacing=0.2, subplot_titles=titles
    )
    bar = {"x": 0.475, "thickness": 10, "title": {"side": "right"}, "len": 1.0}
    figure.add_trace(
        go.Heatmap(
            colorscale="Cividis",
            colorbar=bar,
            hovertemplate="%{y}<br>step %{x}<br>%{z:.3f}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    for name, thing, dash in _SPECTRA:
        line = {"color": COLORS[thing], "dash": dash, "width": 2}
        figure.add_trace(go.Scatter(name=name, mode="lines", line=line), row=1, col=2)
    figure.update_layout(
        template=plotly_template(),
        height=440,
        margin={"l": 150, "r": 15, "t": 60, "b": 50},
        legend={"x": 0.68, "y": 1, "yanchor": "bottom", "orientation": "h"},
    )
    figure.layout.annotations[1].yshift = 22  # over the legend
    figure.update_xaxes(title_text="step", row=1, col=1)
    figure.update_yaxes(autorange="reversed", row=1, col=1)
    figure.update_xaxes(title_text="number of the singular value", row=1, col=2)
    figure.update_yaxes(
        title_text="singular value", type="log", exponentformat="power", dtick=1, row=1, col=2
    )
    return figure


class LayersView:
    """Made once, then fed with rows and with a replay.

    Args:
        on_change: called when the person chose another fact or layer, so it has to be drawn.

    Attributes:
        chart: heatmap and singular values; hidden until there is something to show.
        fact: which fact the heatmap shows.
        layer: whose singular values are shown; a click into the heatmap chooses too.
        widget: to display.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.chart = Chart(apply_theme(layers_figure()), "layers of the run", _NARROW)
        self.chart.layout.display = "none"
        self.chart.on_click(self._clicked)
        style, wide = {"description_width": "60px"}, widgets.Layout(width="330px")
        self.fact = widgets.Dropdown(
            options=[(fact.title, name) for name, fact in LAYER_METRICS.items()],
            description="show",
            tooltip="what the colors of the heatmap mean",
            style=style,
            layout=wide,
        )
        self.layer = widgets.Dropdown(
            options=[], description="layer", tooltip="whose singular values", style=style,
            layout=wide,
        )  # fmt: skip
        self.reading = widgets.HTML()
        self.note = widgets.HTML()
        self.note.add_class("pclora-layers-note")
        self._drawn: Any = None
        self._of: Any = None
        self._steps = 1
        self.fact.observe(lambda _: self._explain(on_change), "value")
        self.layer.observe(lambda _: on_change(), "value")
        self._explain(lambda: None)
        self.widget = widgets.VBox(
            [
                widgets.HBox([self.fact, self.layer], layout=widgets.Layout(flex_flow="row wrap")),
                self.reading,
                self.chart,
                self.note,
            ]
        )

    def _explain(self, on_change: Callable[[], None]) -> None:
        self.reading.value = f"<i>What to see.</i> {LAYER_METRICS[self.fact.value].reading}"
        on_change()

    def _clicked(self, click: Click) -> None:
        if click["curve"] == 0 and click["y"] in self.layer.options:
            self.layer.value = click["y"]

    def clear(self, steps: int) -> None:
        """Empty both panels for another run of so many steps."""
        self._drawn = self._of = None
        self._steps = steps
        with self.chart.changing() as figure:
            for trace in figure.data:
                trace.x, trace.y = [], []
            figure.data[0].z = []
        self.chart.layout.display = "none"
        self.layer.options = []
        self.note.value = ""

    def update(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Draw the heatmap of the rows; does nothing if they bring nothing new."""
        rows = list(rows)
        fact = LAYER_METRICS[self.fact.value]
        layers, steps, values = layer_grid(rows, fact.column)
        if not layers:
            return self._without(rows)
        state = (fact.column, len(layers), tuple(steps))
        if state == self._drawn:
            return
        self._drawn = state
        if tuple(layers) != self.layer.options and layers:
            before = self.layer.value
            self.layer.options = layers
            self.layer.value = before if before in layers else layers[0]
        low, high = color_range(fact, values)
        self.chart.layout.display = ""
        with self.chart.changing() as figure:
            edges = cell_edges(steps)
            if len(steps) == 1:  # wide enough to be seen, and inside the axis
                edges[1] = max(steps[0], self._steps / 60)
                edges[0] = edges[1] - self._steps / 60
            z = values.astype(np.float32)
            figure.data[0].update(x=edges, y=layers, z=z, zmin=low, zmax=high)
            figure.layout.xaxis.range = [0, self._steps]
            figure.data[0].colorbar.title.text = fact.unit
            figure.layout.annotations[0].text = fact.title
            figure.layout.height = max(440, 120 + 19 * len(layers))
        self.note.value = _cost(rows, steps)

    def _without(self, rows: list[Mapping[str, Any]]) -> None:
        """The chosen fact is not there: show one that is, or say that there is none."""
        there = next((n for n in LAYER_METRICS if any(row.get(n) for row in rows)), None)
        if there is not None:
            self.fact.value = there  # whoever listens draws
        else:
            self.note.value = "this history holds no facts by layer" if rows else ""

    def show_spectra(self, replay: Replay, step: int) -> None:
        """Draw the singular values of the chosen layer at a kept step."""
        if self.layer.value is None or (id(replay), self.layer.value, step) == self._of:
            return
        found = replay.spectra(step, self.layer.value)
        parts = (found.base, found.adapter, found.together)
        self.chart.layout.display = ""
        with self.chart.changing() as figure:
            for trace, values in zip(figure.data[1:], parts, strict=True):
                values = values[values > _ROUNDING * max(float(found.together[0]), 1e-12)]
                trace.x, trace.y = np.arange(1, len(values) + 1), values.numpy()
            figure.layout.annotations[1].text = f"singular values at step {step}"
        self._of = id(replay), self.layer.value, step


def _cost(rows: list[Mapping[str, Any]], steps: list[int]) -> str:
    costs = [row["probe_percent"] for row in rows if row.get("probe_percent") is not None]
    if not costs:
        return ""
    if len(costs) < 3:
        return "measured on a fixed probe batch; what that costs is said after a few times"
    return (
        f"{len(steps)} measurements on a fixed probe batch; looking at the layers has taken "
        f"{costs[-1]:.1f}% of the training time so far. Where it would take more than 5%, it is "
        "left out, distances first."
    )

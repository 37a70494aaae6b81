"""All views of one run behind one timeline: curves, layers, examples."""

import html
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.layers import LAYER_METRICS, layer_heatmap
from pclora_lab.plots.theme import apply_theme, use_theme
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.snapshots import list_snapshots
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.html import MessageBox, picture_html
from pclora_lab.ui.kernel_rest import seconds_at_rest
from pclora_lab.ui.views.examples_view import ExamplesView
from pclora_lab.ui.views.layers_view import LayersView
from pclora_lab.ui.views.live_plot import LiveView
from pclora_lab.ui.views.living_layer import LivingLayer, counted
from pclora_lab.ui.views.timeline import Timeline
from pclora_lab.ui.widgets.page import Page
from pclora_lab.wording import explained

__all__ = ["RunViews"]

CURVES, LAYERS, EXAMPLES = range(3)

Hand = tuple[float | None, bool]


# A browser that draws our widgets answers at once; one that has not answered by then does not.
_SECONDS_TO_ANSWER = 8.0


_PICTURE_ONLY = (
    "This front end draws no interactive figures, so they are shown as pictures and redrawn now "
    "and then. In JupyterLab, Voilà or a notebook with widgets they are live."
)


def _metric_of(config: RunConfig | None) -> TaskMetric:
    """What the task of a run measures."""
    return named_task(None if config is None else config.task).ranking


class RunViews:
    """Shows one run at a time; only the tab that is open is drawn.

    Args:
        page: tells dark from light, and whether the browser draws our widgets.
        cache: data of earlier runs in this process.
        on_lambda: called with λ where a person dragged W of the layer that is shown.
        on_rank: called with a rank where a person dragged A's edge.

    Attributes:
        live: the curves.
        living: one layer while its base fades.
        layers: heatmap and singular values.
        examples: predictions and attention.
        timeline: which step is shown.
        title: name of the run that is shown.
        tabs: one for each view; whoever uses it may add others behind them.
        parts: the widgets, from top to bottom, without the title.
    """

    def __init__(
        self,
        page: Page,
        cache: DataCache,
        on_lambda: Callable[[float], object] = lambda _: None,
        on_rank: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.page, self._cache = page, cache
        self.living = LivingLayer(self._choose_layer, on_lambda, on_rank)
        self._hand: Hand = (None, False)
        self.timeline = Timeline(self._redraw)
        self.live = LiveView(self.living.widget, self.timeline.slider)
        self.layers, self.examples = LayersView(self._redraw), ExamplesView(self._redraw)
        self._lock = threading.RLock()
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._folder: Path | None = None
        self._config: RunConfig | None = None
        self._replay: Replay | None = None
        self._failed: tuple[int, str] | None = None
        self.shown_at: float | None = None
        self.title, self.problem = widgets.HTML(), MessageBox()
        self.title.add_class("pclora-shown")
        self.problem.add_class("pclora-problem")
        self._make_picture()
        parts = (self.live.widget, self.layers.widget, self.examples.widget)
        self.tabs = widgets.Tab(children=parts, titles=("Curves", "Layers", "Examples"))
        self.tabs.add_class("pclora-views")
        self.tabs.observe(lambda _: self._change_tab(), "selected_index")
        page.observe(lambda _: self._change_theme(), "dark")
        page.observe(lambda _: self._redraw(), "alive")
        self.parts = [self.timeline.widget, self.tabs, self.problem, self._still]

    def _change_tab(self) -> None:
        """The timeline goes with the views of a run only."""
        is_view = self.tabs.selected_index in (CURVES, LAYERS, EXAMPLES)
        self.timeline.widget.layout.display = "" if is_view else "none"
        self._redraw()

    def _make_picture(self) -> None:
        self._picture = widgets.HTML()
        note = widgets.HTML(f'<div role="note" style="line-height:1.4">{_PICTURE_ONLY}</div>')
        self._still = widgets.VBox([note, self._picture])
        self._still.add_class("pclora-still")
        self._still.layout.display = "none"

    def begin(self, folder: Path | None, config: RunConfig, title: str) -> None:
        """Show another run: everything is emptied first."""
        method = METHODS[config.method.name]
        with self._lock:
            self._folder, self._config, self._rows = folder, config, ()
            self._replay = self._failed = None
            self.title.value = f"<b>{html.escape(title)}</b>"
            self.problem.value = ""
            self.timeline.begin(config.steps)
            self.live.clear(config.steps, method.metrics, _metric_of(config))
            self._hand = (None, False)
            self._show_layer(config)
            self.layers.clear(config.steps)
            self.examples.clear()

    def _show_layer(self, config: RunConfig) -> None:
        try:
            self.living.show(config, *counted(config))
        except (ValueError, OSError) as error:
            self.living.clear(explained(error))

    def _choose_layer(self, name: str) -> None:
        """The layer that was clicked is also the one whose singular values are shown."""
        if name in self.layers.layer.options:
            self.layers.layer.value = name

    def update(self, rows: Sequence[Mapping[str, Any]], hand: Hand = (None, False)) -> None:
        """The history so far; what is open is drawn up to the timeline's step.

        Args:
            rows: the history.
            hand: λ in a person's hand or None, and whether it can be taken.
        """
        with self._lock:
            self._hand = hand
            self._rows = [row for row in rows if _is_row(row)]
            self._redraw()

    def _redraw(self, *, again: bool = False) -> None:
        """Draw what is open; what goes wrong is shown, whichever thread it happens in."""
        with self._lock:
            self._show_picture(self._needs_picture())
            config = self._config
            if config is None:
                return
            if self._rows and self._rows[-1]["phase"] == "fade":
                self.timeline.newest(self._rows[-1]["step"])
            try:
                self._draw(config.steps, again)
                self.problem.value = ""
            except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
                self.problem.show_text(str(error))

    def forget(self) -> None:
        """Let go of models and history; the views stay as they are."""
        with self._lock:
            self.timeline.play.value = False
            self._replay, self._rows, self._config = None, (), None
            self._cache = DataCache()

    def _draw(self, steps: int, again: bool) -> None:
        rows = self._rows_until()
        tab = self.tabs.selected_index
        if self._needs_picture():
            return self._draw_picture(rows, tab)
        if tab == CURVES:
            # All of them: the timeline is a cursor there, which the page moves by itself.
            self.live.update(self._rows, steps)
            lam, can_be_set = self._hand if self.timeline.until is None else (None, False)
            self.living.update(rows, lam=lam, lambda_can_be_set=can_be_set)
        elif tab == LAYERS:
            self.layers.update(rows)
            self._look_back(lambda replay, step: self.layers.show_spectra(replay, step))
        elif tab == EXAMPLES:
            self._look_back(lambda replay, step: self.examples.show(replay, step, again=again))

    def _rows_until(self) -> list[Mapping[str, Any]]:
        until = self.timeline.until
        if until is None:
            return list(self._rows)
        return [row for row in self._rows if row["phase"] != "fade" or row["step"] <= until]

    def _look_back(self, show: Callable[[Replay, int], None]) -> None:
        """What needs snapshots; the reason is shown where there are none."""
        replay = self._find_replay()
        if replay is None:
            return
        until, steps = self.timeline.until, replay.steps
        show(replay, steps[-1] if until is None and steps else replay.nearest(until or 0))

    def _find_replay(self) -> Replay | None:
        """Made once; a failure is remembered until there is another snapshot."""
        if self._replay is not None or self._folder is None or not self._rows:
            return self._replay
        kept = len(list_snapshots(self._folder))
        if self._failed is not None and self._failed[0] == kept:
            raise ValueError(self._failed[1])
        try:
            self._replay = Replay(self._folder, cache=self._cache)
        except (ValueError, OSError, RuntimeError) as error:
            self._failed = kept, str(error)
            raise
        return self._replay

    def _needs_picture(self) -> bool:
        """A page that draws our widgets answers as soon as the kernel listens."""
        if self.page.alive or self.shown_at is None:
            return False
        return min(time.monotonic() - self.shown_at, seconds_at_rest()) > _SECONDS_TO_ANSWER

    def _draw_picture(self, rows: list[Mapping[str, Any]], tab: int | None) -> None:
        if tab == EXAMPLES:  # a picture anyway
            self._still.children[1].layout.display = "none"
            return self._look_back(lambda replay, step: self.examples.show(replay, step))
        if not rows:
            return
        self._picture.layout.display = ""
        has_layers = any(row.get(self.layers.fact.value) for row in rows)
        figure = history_figure(rows, metric=_metric_of(self._config))
        if tab == LAYERS and has_layers:
            figure = layer_heatmap(rows, self.layers.fact.value)
        what = LAYER_METRICS[self.layers.fact.value].title if tab == LAYERS else "curves"
        words = f"{what}, {self._folder.name if self._folder else 'the run'} so far"
        self._picture.value = picture_html(figure.png(scale=1.0), words)

    def _show_picture(self, shown: bool) -> None:
        self._still.layout.display = "" if shown else "none"

    def _change_theme(self) -> None:
        use_theme("dark" if self.page.dark else "light")
        with self._lock:
            self.live.fit_theme(self.page.dark)
            with self.layers.chart.changing() as figure:
                apply_theme(figure, self.page.dark)
            self._redraw(again=True)


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row can be drawn; a history that was edited by hand may hold anything."""
    teacher = row.get("phase") == "teacher" and isinstance(row.get("steps"), int)
    return isinstance(row.get("step"), int) and (teacher or row.get("phase") == "fade")

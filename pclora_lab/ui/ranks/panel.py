"""What would this rank give? Sizes, latency and expected accuracy, and ranks layer by layer."""

from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
from torch import nn

from pclora_lab.files import given_path
from pclora_lab.methods.registry import make_method
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.sizes import Plan
from pclora_lab.runs.estimates.accuracy import AccuracyEstimate, expected_accuracy, rank_points
from pclora_lab.runs.estimates.latency import latency_estimate
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.background import BackgroundTask
from pclora_lab.ui.html import button, live_text
from pclora_lab.ui.ranks.editor import RankChoice, RankEditor
from pclora_lab.ui.ranks.plot import rank_svg

__all__ = ["RankPanel"]


class RankPanel:
    """Tell it what is chosen (:meth:`show`); it shows what that would give.

    Args:
        root: folder of runs, which the expected accuracy is read from.
        on_ranks: called with a rank by layer when a person wants to use them, and with None when
            one rank for all is wanted again.
        busy: whether a run is going; nothing is measured or loaded then, as that would slow the
            run and draw from the random numbers it uses.

    Attributes:
        widget: to display.
        editor: the ranks, layer by layer.
        task: what measures and loads in the background.

    Example:
        >>> from pclora_lab.nn.counting import count_model
        >>> from pclora_lab.models.loading import describe_model
        >>> model = describe_model("vit_digits", num_classes=10)
        >>> panel = RankPanel("no_runs_yet")
        >>> panel.show(count_model(model), model, RunConfig())
        >>> panel.editor.table.ranks["blocks.0.attn.qkv"]
        8
    """

    def __init__(
        self,
        root: Path | str = "runs",
        *,
        on_ranks: Callable[[dict[str, int] | None], None] | None = None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.root = given_path(root, "root")
        self._chosen: RankChoice | None = None
        self.task = BackgroundTask(busy, self._lock_buttons)
        self.editor = RankEditor(self.task, on_ranks)
        self.sizes, self.latency, self.accuracy = live_text(), live_text(), live_text()
        self.picture = widgets.HTML()
        self.measure_button = button(
            "Measure latency", "clock-o", "time the dense and the compressed model on this machine",
            lambda: self.task.show_errors(self.measure), width="154px",
        )  # fmt: skip
        self.batch_size = widgets.BoundedIntText(
            value=1, min=1, max=1024, description="batch", tooltip="examples in one pass",
            style={"description_width": "44px"}, layout=widgets.Layout(width="120px"),
        )  # fmt: skip
        self.widget = self._arrange()
        self.clear()

    def _arrange(self) -> widgets.Widget:
        flow = widgets.Layout(flex_flow="row wrap", grid_gap="2px 6px", align_items="center")
        measure = widgets.HBox([self.measure_button, self.batch_size, self.latency], layout=flow)
        what = widgets.VBox([self.sizes, measure, self.accuracy, self.picture])
        what.layout.max_width = "610px"
        wrapping = widgets.Layout(flex_flow="row wrap", grid_gap="6px 24px")
        sides = widgets.HBox([what, self.editor.widget], layout=wrapping)
        panel = widgets.VBox([sides, self.task.message])
        for widget, name in (
            (panel, "panel"), (self.sizes, "sizes"), (self.latency, "latency"),
            (self.accuracy, "accuracy"), (self.picture, "picture"),
            (self.task.message, "message"),
        ):  # fmt: skip
            widget.add_class(f"pclora-rank-{name}")
        return panel

    def show(self, counts: ModelCounts, model: nn.Module, config: RunConfig) -> None:
        """Say what a config would give; quick enough to follow a slider.

        Args:
            counts: trace of the dense model.
            model: described or loaded by name; it is only read.
            config: as the form has it; a rank that does not fit is shown as an error.
        """
        self.task.message.value = ""
        try:
            planned = make_method(config.method).plan(counts, model)
        except ValueError as error:
            self.clear(error)
            return
        before, self._chosen = self._chosen, RankChoice(counts, model, config, planned)
        self.sizes.value = _sizes_html(planned)
        if not self._chosen.gives_the_same(before):
            self.latency.value = ""
        self.editor.show(self._chosen)
        self._show_accuracy(self._chosen)
        self._lock_buttons()

    def clear(self, why: BaseException | None = None) -> None:
        """Show nothing, or why there is nothing to show."""
        self._chosen = None
        for part in (self.sizes, self.latency, self.accuracy, self.picture):
            part.value = ""
        if why is not None:
            self.sizes.show_error(why)
        self.editor.show(None)
        self._lock_buttons()

    def _lock_buttons(self) -> None:
        nothing = self._chosen is None or not self._chosen.plan.ranks
        self.measure_button.disabled = nothing or self.task.working
        self.editor.from_budget.disabled = self.task.working

    def _show_accuracy(self, chosen: RankChoice) -> None:
        params = chosen.plan.whole_model.params_after
        found = expected_accuracy(self.root, chosen.config, params)
        self.accuracy.show_text(_accuracy_text(found))
        self.picture.value = ""
        if chosen.plan.ranks:
            points = rank_points(self.root, chosen.config, with_shipped=True)
            metric = named_task(chosen.config.task).ranking
            self.picture.value = rank_svg(chosen.counts, params, points, found, metric)

    def measure(self) -> None:
        """Measure in the background; the result appears beside the button.

        Raises:
            RuntimeError: a run is going, or something is measured already.
            ValueError: nothing is chosen.
        """
        if self._chosen is None:
            raise ValueError("choose a model and a rank that fits first")
        self.task.require_rest("measured")
        chosen, batch_size = self._chosen, self.batch_size.value
        self.latency.show_text("measuring…")
        self.task.start(lambda: self._measure(chosen, batch_size))

    def _measure(self, chosen: RankChoice, batch_size: int) -> None:
        text = ""
        try:
            text = str(latency_estimate(chosen.model, chosen.plan.ranks, batch_size=batch_size))
        finally:
            # What is chosen now may be of another size.
            if chosen.gives_the_same(self._chosen):
                self.latency.show_text(text)


def _sizes_html(sizes: Plan) -> str:
    number = 'style="text-align:right;padding-left:10px"'
    lines = "".join(
        f'<tr><td style="white-space:nowrap">{name}</td>'
        f"<td {number}>{_change(size.params_before, size.params_after, 1, 0)}</td>"
        f"<td {number}>{_change(size.macs_before, size.macs_after, 1e6, 2)}</td>"
        f"<td {number}>{_change(size.bytes_before, size.bytes_after, 1e6, 2)}</td>"
        f'<td style="text-align:right;padding-left:10px;white-space:nowrap">'
        f"<b>−{size.params_removed:.1%}</b></td></tr>"
        for name, size in (("replaced layers", sizes.replaced), ("whole model", sizes.whole_model))
    )
    heads = "".join(
        f"<th {number}>{name}</th>" for name in ("parameters", "million MACs", "MB", "removed")
    )
    return (
        '<table aria-live="polite" style="font-size:12px;line-height:1.5">'
        f"<tr><td></td>{heads}</tr>{lines}</table>"
    )


def _change(before: float, after: float, unit: float, digits: int) -> str:
    """Two numbers that stay whole; a narrow cell has them below each other."""
    first, second = (f"{value / unit:,.{digits}f}" for value in (before, after))
    return f'<span style="white-space:nowrap">{first} →</span> {second}'


def _accuracy_text(found: AccuracyEstimate | None) -> str:
    if found is None:
        return "no finished run differs from this in size and seed only, so nothing is expected"
    metric = found.metric
    if found.mean is None:
        return f"expected {metric.label}: {found.note}"
    spread = f" ± {metric.roughly(found.std)}" if found.std is not None else ""
    return f"expected {metric.label}: {metric.roughly(found.mean)}{spread}, {found.note}"

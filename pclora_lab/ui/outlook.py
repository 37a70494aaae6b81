"""What the form's settings would give, wherever the page tells it."""

from pclora_lab.methods.registry import make_method
from pclora_lab.nn.sizes import Plan
from pclora_lab.runs.estimates.accuracy import expected_accuracy
from pclora_lab.runs.estimates.speedup import expected_speedup
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.arrangement import RANKS, Arrangement
from pclora_lab.ui.monitor.shown_run import ShownRun
from pclora_lab.ui.ranks.panel import RankPanel
from pclora_lab.ui.settings.form import Controls
from pclora_lab.ui.views.living_layer import counted

__all__ = ["Outlook"]


class Outlook:
    """Follows the form: settings in a line, sizes, ranks, and a layer at the chosen rank.

    While a run is shown, line and sizes are its own.

    Args:
        controls: the form.
        shown: the run that is shown.
        ranks: sizes, latency and expected accuracy, and ranks layer by layer.
        arrangement: the page.
    """

    def __init__(
        self, controls: Controls, shown: ShownRun, ranks: RankPanel, arrangement: Arrangement
    ) -> None:
        self.controls, self.shown = controls, shown
        self.ranks, self.arrangement = ranks, arrangement
        self._planned: tuple[RunConfig, Plan | None] | None = None

    def refresh(self) -> None:
        """Show what is chosen now; what can't be trained is said by the form itself."""
        shown = self.shown.config
        chosen = self._chosen()
        if shown is not None:
            self._show(shown, self._planned_of(shown))
        elif chosen is not None:
            self._show(chosen, self.controls.fields.plan)
            self._show_forecast(chosen, self.controls.fields.plan)
            self._show_layer(chosen)
        if self.arrangement.tabs.selected_index == RANKS:
            self._show_ranks(chosen)

    def _chosen(self) -> RunConfig | None:
        """Without a look at the data, which would take longer than a slider's move."""
        fields = self.controls.fields
        try:
            return fields.of_task(fields.read())
        except ValueError:
            return None

    def _show(self, config: RunConfig, planned: Plan | None) -> None:
        self.arrangement.show_settings(config)
        self.shown.tiles.show_plan(planned)

    def _show_forecast(self, config: RunConfig, planned: Plan | None) -> None:
        """Accuracy and speed, as far as finished runs tell."""
        if planned is None:
            return self.shown.tiles.show_forecast(None, None)
        params = planned.whole_model.params_after
        self.shown.tiles.show_forecast(
            expected_accuracy(self.ranks.root, config, params),
            expected_speedup(self.ranks.root, config, params),
        )

    def _planned_of(self, config: RunConfig) -> Plan | None:
        """The sizes of the run that is shown, counted once."""
        if self._planned is None or self._planned[0] != config:
            try:
                plan = make_method(config.method).plan(*counted(config))
            except (ValueError, OSError):
                plan = None  # the views say why there is nothing to count
            self._planned = config, plan
        return self._planned[1]

    def _show_layer(self, config: RunConfig) -> None:
        counts, model = self.controls.counts, self.controls.described
        if counts is not None and model is not None:
            self.shown.views.living.show(config, counts, model, rank_can_be_set=True)

    def _show_ranks(self, config: RunConfig | None) -> None:
        counts, model = self.controls.counts, self.controls.described
        if counts is None or model is None or config is None:
            return self.ranks.clear()
        self.ranks.show(counts, model, config)

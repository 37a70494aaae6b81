"""What the form's settings would give, wherever the page tells it."""

from pclora_lab.ui.arrangement import RANKS, Arrangement
from pclora_lab.ui.monitor.shown_run import ShownRun
from pclora_lab.ui.ranks.panel import RankPanel
from pclora_lab.ui.settings.form import Controls

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

    def refresh(self) -> None:
        """Show what is chosen now; what can't be trained is said by the form itself."""
        try:
            config = self.shown.config or self.controls.config()
        except ValueError:
            config = None
        if config is not None:
            self.arrangement.show_settings(config)
            self.shown.tiles.show_plan(self.controls.planned(config))
            if self.shown.config is None:
                self._show_layer()
        if self.arrangement.tabs.selected_index == RANKS:
            self._show_ranks()

    def _show_layer(self) -> None:
        counts, model = self.controls.counts, self.controls.described
        if counts is not None and model is not None:
            config = self.controls.config()
            self.shown.views.living.show(config, counts, model, rank_can_be_set=True)

    def _show_ranks(self) -> None:
        counts, model = self.controls.counts, self.controls.described
        if counts is None or model is None:
            return self.ranks.clear()
        try:
            self.ranks.show(counts, model, self.controls.config())
        except ValueError as error:
            self.ranks.clear(error)

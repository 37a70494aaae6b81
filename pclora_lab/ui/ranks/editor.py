"""Ranks layer by layer: fill the list from a rank or a budget, edit it, use it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
from torch import Tensor, nn

from pclora_lab.methods.factorization import weight_spectra
from pclora_lab.methods.rank_budget import ranks_for_budget
from pclora_lab.methods.rank_selection import LowRankConfig
from pclora_lab.models.loading import load_model
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.nn.sizes import Plan, plan
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.background import BackgroundTask
from pclora_lab.ui.html import button, live_text
from pclora_lab.ui.widgets.rank_table import RankTable

__all__ = ["RankChoice", "RankEditor"]

_STYLE = {"description_width": "56px"}
_NARROW, _WIDE = "132px", "154px"


@dataclass(frozen=True, eq=False)
class RankChoice:
    """A config, the model it is for, and the sizes that it gives."""

    counts: ModelCounts
    model: nn.Module
    config: RunConfig
    plan: Plan

    def gives_the_same(self, other: "RankChoice | None") -> bool:
        """Whether another choice is of the same model and the same sizes."""
        return other is not None and other.model is self.model and other.plan == self.plan


class RankEditor:
    """The list and its buttons.

    Args:
        task: reads weights in the background, and shows errors.
        on_ranks: called with a rank by layer, or with None for one rank for all.

    Attributes:
        widget: to display.
        table: the ranks, layer by layer.
        edited: whether the list differs from what the form gives.
    """

    def __init__(
        self, task: BackgroundTask, on_ranks: Callable[[dict[str, int] | None], None] | None
    ) -> None:
        self.task, self.on_ranks = task, on_ranks
        self.table, self.note = RankTable(), live_text()
        self.edited = False
        self._filling = False
        self._chosen: RankChoice | None = None
        self._spectra: tuple[Any, Mapping[str, Tensor]] | None = None
        self._make_controls()
        self.table.observe(self._note_edit, "ranks")
        flow = widgets.Layout(flex_flow="row wrap", grid_gap="2px 6px", align_items="center")
        fill = [self.from_rank, self.budget, self.rank_allocation, self.from_budget]
        self.widget = widgets.VBox(
            [
                widgets.HBox(fill, layout=flow),
                self.table,
                self.note,
                widgets.HBox([self.use_button, self.one_rank], layout=flow),
            ],
            layout=widgets.Layout(max_width="720px"),
        )
        self.note.add_class("pclora-rank-note")

    def _make_controls(self) -> None:
        show_errors = self.task.show_errors
        self.from_rank = button(
            "From rank", "refresh", "fill in the ranks that the form gives",
            lambda: show_errors(self.fill_from_rank), width=_NARROW,
        )  # fmt: skip
        self.budget = widgets.BoundedFloatText(
            value=0.1, min=0.001, max=1, step=0.01, description="budget", style=_STYLE,
            tooltip="share of the replaced layers' parameters to keep",
            layout=widgets.Layout(width="130px"),
        )  # fmt: skip
        self.rank_allocation = widgets.Dropdown(
            options=("uniform", "energy"), description="spend it", style=_STYLE,
            layout=widgets.Layout(width="150px"),
            tooltip="how the budget is spent: one rank for all, or by singular values",
        )  # fmt: skip
        self.from_budget = button(
            "From a budget", "calculator", "fill in the ranks that the budget buys",
            lambda: show_errors(self.fill_from_budget), width=_NARROW,
        )  # fmt: skip
        self.use_button = button(
            "Use these ranks", "check", "train with the ranks in the list",
            lambda: show_errors(self.use), width=_WIDE,
        )  # fmt: skip
        self.one_rank = button(
            "One rank for all", "undo", "forget ranks by layer",
            lambda: show_errors(self.use_one), width=_WIDE,
        )  # fmt: skip

    def show(self, chosen: RankChoice | None) -> None:
        """Follow the form, until a person edits the list."""
        before, self._chosen = self._chosen, chosen
        if chosen is None or not isinstance(chosen.config.method, LowRankConfig):
            self.widget.layout.display = "none"
            return
        self.widget.layout.display = ""
        same_layers = before is not None and before.counts.layers == chosen.counts.layers
        if not (self.edited and same_layers):
            self._fill(chosen.plan.ranks)

    def _require_chosen(self) -> RankChoice:
        if self._chosen is None:
            raise ValueError("choose a model and a rank that fits first")
        return self._chosen

    def _fill(self, ranks: Mapping[str, int]) -> None:
        chosen = self._require_chosen()
        self._filling = True
        try:
            self.table.set_layers(chosen.counts.layers, ranks)
        finally:
            self._filling = False
        self.edited = dict(ranks) != chosen.plan.ranks
        self._note_sizes()

    def _note_edit(self, _: object) -> None:
        if not self._filling:
            self.edited = True
            self.task.show_errors(self._note_sizes)

    def _note_sizes(self) -> None:
        sizes = plan(self._require_chosen().counts, self.table.ranks)
        kept, whole = 1 - sizes.replaced.params_removed, sizes.whole_model.params_after
        self.note.show_text(
            f"these ranks keep {kept:.1%} of the replaced layers; {whole:,} parameters in all"
            f"{'' if self.edited else ' (as in the form)'}"
        )

    def fill_from_rank(self) -> None:
        """Put the form's ranks into the list.

        Raises:
            ValueError: nothing is chosen.
        """
        self._fill(self._require_chosen().plan.ranks)

    def fill_from_budget(self) -> None:
        """Put what a budget buys into the list; ``energy`` reads the weights in the background.

        Raises:
            RuntimeError: the weights are needed and a run is going.
            ValueError: nothing is chosen, the budget buys nothing, or a table of words would
                have to share it by energy.
        """
        chosen, budget = self._require_chosen(), self.budget.value
        if self.rank_allocation.value == "uniform":
            self._fill(ranks_for_budget(chosen.counts, budget))
            return
        tables = [layer.name for layer in chosen.counts.layers if layer.embedding]
        if tables:
            raise ValueError(
                f"{tables[0]} is a table of words, whose singular values can't be set against a "
                "layer's: spend the budget uniformly"
            )
        self.task.require_rest("loaded")
        self.note.show_text("reading the weights…")
        self.task.start(lambda: self._fill_by_energy(chosen, budget))

    def _fill_by_energy(self, chosen: RankChoice, budget: float) -> None:
        try:
            spectra = self._spectra_of(chosen.config)
            ranks = ranks_for_budget(
                chosen.counts, budget, rank_allocation="energy", spectra=spectra
            )
        except Exception:
            self._note_sizes()
            raise
        now = self._chosen
        # Another model may have been chosen meanwhile.
        if now is not None and now.counts.layers == chosen.counts.layers:
            self._fill(ranks)

    def _spectra_of(self, config: RunConfig) -> Mapping[str, Tensor]:
        """Singular values of the real weights; kept for the model that was asked for last."""
        sizes = {name: getattr(config, name) for name in ("img_size", "max_tokens", "split_qkv")}
        key = (config.model, config.method.targets, *sizes.values())
        if self._spectra is None or self._spectra[0] != key:
            model = load_model(config.model, **sizes)
            self._spectra = key, weight_spectra(model, config.method.targets)
        return self._spectra[1]

    def use(self) -> None:
        """Hand the ranks of the list to whoever asked for them.

        Raises:
            ValueError: nothing is chosen, or a rank does not fit.
        """
        ranks = resolve_ranks(self._require_chosen().counts.layers, self.table.ranks)
        self._hand_over(ranks)

    def use_one(self) -> None:
        """Ask for one rank for all layers again."""
        self._hand_over(None)

    def _hand_over(self, ranks: dict[str, int] | None) -> None:
        # The form will follow, and then the list and the form agree.
        self.edited = False
        if self.on_ranks is not None:
            self.on_ranks(ranks)

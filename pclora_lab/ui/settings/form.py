"""The form: widgets ↔ one frozen :class:`RunConfig`, and what a rank would give beside it."""

import dataclasses
from collections.abc import Callable, Mapping

import ipywidgets as widgets
from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.base import MethodConfig
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.closing import for_all, refill
from pclora_lab.ui.html import button
from pclora_lab.ui.settings.data_preview import DataPreview
from pclora_lab.ui.settings.method_fields import MethodFields
from pclora_lab.ui.settings.option_fields import OptionForm
from pclora_lab.ui.settings.size_preview import SizePreview
from pclora_lab.ui.settings.source_fields import SourceFields

__all__ = ["Controls"]

_TITLES = ("Model and data", "Size", "Method")
_QUARTER = for_all(widgets.Layout(width="190px"))


class Controls:
    """Every choice of a run, in three columns.

    Args:
        config: what the form shows at first. What it has no control for stays as given; a rank
            in percent becomes the whole rank of the thinnest layer.
        on_change: called when what the form asks for may have changed.
        cache: data of earlier runs; without one the form says nothing about the chosen data.

    Attributes:
        source: model, data, teacher and device.
        methods: the method and its options.
        preview: the sizes that they give.
        data_preview: what is in the chosen data.
        training: steps, learning rate, batch size and seed.
        overrides: a note on λ set by hand.
    """

    def __init__(
        self,
        config: RunConfig | None = None,
        on_change: Callable[[], None] = lambda: None,
        cache: DataCache | None = None,
    ) -> None:
        config = config if config is not None else RunConfig()
        self._base, self._on_change = config, on_change
        self.data_preview = DataPreview(cache)
        self.source = SourceFields(config, self.data_preview.widget)
        self.methods = MethodFields(config.method, self.refresh_method)
        self.preview = SizePreview()
        self.training = OptionForm(config, group="training", filled=("lr",), layout=_QUARTER)
        self.overrides = widgets.HBox()
        self._titles = [widgets.HTML(f"<b>{title}</b>") for title in _TITLES]
        self._columns = [widgets.VBox() for _ in _TITLES]
        self._name_widgets()
        self._show_method()
        self._watch()
        self.refresh_model()
        self._fit_percentage(config.method)
        self.widget = self._arrange()
        self._show_data()

    def _name_widgets(self) -> None:
        """The widgets that a script may want to set."""
        self.model, self.data = self.source.model, self.source.data
        self.input_size, self.method = self.source.input_size, self.methods.choice
        self.steps, self.lr = self.training.fields["steps"], self.training.fields["lr"]
        self.sizes = self.preview.sizes

    def _watch(self) -> None:
        self.model.observe(lambda _: self._change_model(), "value")
        self.data.observe(lambda _: self._show_data(), "value")
        self.input_size.observe(lambda _: self.refresh_model(), "value")
        self.method.observe(lambda _: self._change_method(), "value")

    def _show_data(self) -> None:
        self.data_preview.show(self.source.data_config(self._base))

    def _change_model(self) -> None:
        self.methods.ranks.use(None)  # another model has other layers
        self.source.forget_size()
        self.refresh_model()

    def _change_method(self) -> None:
        self.methods.ranks.use(None)
        self.lr.value = self.methods.default_lr
        self.methods.choose()
        self._show_method()
        self.refresh_model()

    def _show_method(self) -> None:
        self._columns[1].children = [
            self._titles[1],
            *self.methods.size_column(),
            self.preview.sizes,
            self.preview.curve,
        ]
        self._columns[2].children = [self._titles[2], *self.methods.column()]

    def _arrange(self) -> widgets.Widget:
        self._columns[0].children = [self._titles[0], *self.source.column()]
        above, below = (
            widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", grid_gap="0 10px"))
            for children in (self._columns, list(self.training.fields.values()))
        )
        self._show_overrides()
        return widgets.VBox([above, widgets.HTML(value="<b>Training</b>"), below, self.overrides])

    @property
    def form(self) -> OptionForm:
        """The options of the chosen method."""
        return self.methods.form

    @property
    def rank(self) -> widgets.Widget:
        """The chosen method's rank widget."""
        return self.form.fields["rank"]

    @property
    def base(self) -> RunConfig:
        """What was shown last; has what the form has no control for."""
        return self._base

    @property
    def counts(self) -> ModelCounts | None:
        """Trace of the chosen model; None if there is no such model."""
        return self.preview.counts

    @property
    def described(self) -> nn.Module | None:
        """The chosen model without weights."""
        return self.preview.model

    def show(self, config: RunConfig) -> None:
        """Put a configuration into the form, as it was put into a new one."""
        self._base = config
        self.source.show(config)
        self.methods.show(config.method)
        self.training.show(config)  # last: a change of the method has set its learning rate
        self._show_method()
        self.refresh_model()
        self._fit_percentage(config.method)
        self._show_overrides()
        self._show_data()

    def _show_overrides(self) -> None:
        """A note on λ set by hand, which the settings bring along; it can be left out."""
        count = len(self._base.overrides)
        if not count:
            return refill(self.overrides, ())
        times = "once" if count == 1 else f"{count} times"
        leave_out = button(
            "Leave them out", "", "let the schedule alone move λ", self._forget_overrides,
            width="148px",
        )  # fmt: skip
        text = f"λ is moved by hand {times}, as in the run that these settings are from"
        refill(self.overrides, (widgets.HTML(value=text), leave_out))

    def _forget_overrides(self) -> None:
        self._base = dataclasses.replace(self._base, overrides=())
        self._show_overrides()

    def use_ranks(self, ranks: Mapping[str, int] | None) -> None:
        """Take a rank for each layer instead of the slider's; None takes the slider's again."""
        self.methods.ranks.use(ranks)
        self.refresh_method()

    def config(self) -> RunConfig:
        """The form as a configuration.

        Raises:
            ValueError: a value out of its range, or a rank that would not shrink a layer.
        """
        method = self.methods.config()
        if self.counts is not None:
            self.preview.plan(method)
        return dataclasses.replace(
            self._base,
            **self.source.values(self._base),
            **self.training.values(),
            method=method,
            overrides=self._base.overrides if self.methods.fades else (),
        )

    def refresh_model(self) -> None:
        """Trace the chosen model (no weights) and fit the rank slider to it."""
        kind = self.preview.describe(self.model.value)
        if kind is None:
            return
        self.source.set_kind(kind)
        if self.preview.trace(self.model.value, self.source.sizes, self.methods.base_config):
            self.preview.fit_slider(self.form.of_kind("rank"))
            self.refresh_method()

    def _fit_percentage(self, method: MethodConfig) -> None:
        rank = getattr(method, "rank", None)
        if self.counts is not None and isinstance(rank, str):
            self.rank.value = min(resolve_ranks(self.counts.layers, rank).values())

    def refresh_method(self) -> None:
        """Show what the chosen options give: sizes, and how they depend on the rank."""
        if self.counts is None:
            return
        self.preview.show_curve(self.form.of_kind("rank"))
        try:
            self.preview.show_plan(self.methods.config())
        except ValueError as error:
            self.preview.show_error(error)
        self._on_change()

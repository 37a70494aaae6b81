"""The form: widgets ↔ one frozen :class:`RunConfig`, and what a rank would give beside it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as widgets
from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.column import Column
from pclora_lab.ui.settings.extras import FormExtras
from pclora_lab.ui.settings.option_fields import OptionForm
from pclora_lab.ui.settings.overrides_note import OverridesNote
from pclora_lab.ui.settings.run_fields import RunFields

__all__ = ["Controls"]


class Controls:
    """Every choice of a run, in one column, with errors at their fields.

    Args:
        config: what the form shows at first. What it has no control for stays as given; a rank
            in percent becomes the whole rank of the thinnest layer.
        on_change: called when what the form asks for may have changed.
        cache: data of earlier runs; without one the form says nothing about the chosen data.
        root: folder of runs, which may tell how long one takes.

    Attributes:
        fields: all of them, and what they give.
        overrides: a note on λ set by hand.
        extras: presets, expected time and script.
        column: how all of them are arranged.
        widget: to display.
    """

    def __init__(
        self,
        config: RunConfig | None = None,
        on_change: Callable[[], None] = lambda: None,
        cache: DataCache | None = None,
        root: Path | None = None,
    ) -> None:
        config = config if config is not None else RunConfig()
        self._on_change, self._is_changing = on_change, False
        self.fields = RunFields(config, self.refresh_method, cache)
        self.overrides = OverridesNote(self._leave_out)
        named = self.fields.of_task
        self.extras = FormExtras(self.show, self.config, named, self._ask_for_data, root)
        self.column = Column()
        self.column.above.children = (self.extras.presets.buttons,)
        self.column.below.children = (self.extras.expected.widget, self.extras.script)
        self.widget = self.column.widget
        self._name_widgets()
        self._arrange()
        self._watch()
        self.refresh_model()
        self.fields.fit_percentage(config.method)
        self.fields.show_data()

    def _name_widgets(self) -> None:
        """What a script may want to set or to look at."""
        fields = self.fields
        self.source, self.methods, self.training = fields.source, fields.methods, fields.training
        self.preview, self.data_preview = fields.preview, fields.data_preview
        self.task, self.model, self.data = self.source.task, self.source.model, self.source.data
        self.input_size, self.method = self.source.input_size, self.methods.choice
        self.steps, self.lr = self.training.fields["steps"], self.training.fields["lr"]
        self.sizes = self.preview.sizes

    def _watch(self) -> None:
        self.task.observe(lambda _: self._change_task(), "value")
        self.model.observe(lambda _: self._change_model(), "value")
        self.data.observe(lambda _: self.fields.show_data(), "value")
        self.input_size.observe(lambda _: self.refresh_model(), "value")
        self.method.observe(lambda _: self._change_method(), "value")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Fields that change together are looked at once, when all of them have."""
        before, self._is_changing = self._is_changing, True
        try:
            yield
        finally:
            self._is_changing = before
        self.refresh_model()

    def _change_task(self) -> None:
        if not self._is_changing:  # or a whole configuration is put in
            with self._changing():
                self.source.take_built_in()
            self.fields.show_data()

    def _change_model(self) -> None:
        with self._changing():
            self.methods.forget_ranks()  # another model has other layers
            self.source.forget_size()

    def _change_method(self) -> None:
        with self._changing():
            self.methods.forget_ranks()
            self.methods.choose()
            self.lr.value = self.methods.default_lr
            self._arrange()

    def _arrange(self) -> None:
        """The rows of the chosen method among those that every run has."""
        methods, training = self.methods, dict(self.training.rows)
        steps = training.pop("steps")
        sizes = [methods.sizes.widget, self.preview.sizes, self.preview.curve]
        self.column.fill(
            model=[self.source.rows[name] for name in ("task", "model", "data")],
            method=[methods.row, *sizes, *methods.schedule_column()],
            training=[steps, self.overrides.widget],
            advanced=[
                self.extras.starts, *methods.rest(), *training.values(), *self.source.rest(),
            ],
        )  # fmt: skip
        self.overrides.show(self.base)

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
        return self.fields.base

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
        with self._changing():
            self.fields.show(config)
            self._arrange()
        self.fields.fit_percentage(config.method)
        self.fields.show_data()

    def _leave_out(self) -> None:
        self.fields.base = dataclasses.replace(self.base, overrides=())
        self.overrides.show(self.base)
        self.refresh_method()

    def _ask_for_data(self) -> None:
        self.data.value = ""
        self.data.focus()

    def use_ranks(self, ranks: Mapping[str, int] | None) -> None:
        """Take a rank for each layer instead of the slider's; None takes the slider's again."""
        self.methods.sizes.take_ranks(ranks)
        self.refresh_method()

    def config(self) -> RunConfig:
        """The form as a configuration; what is wrong with it is shown at its field.

        Raises:
            ValueError: a value out of its range, a rank that would not shrink a layer, a model or
                data that are not there.
        """
        if self.preview.problem is not None:
            self.refresh_model()  # the network may be back, or the folder
        try:
            config = self.fields.read()
        except ValueError as error:
            self.column.show_problem(error, self.fields.rows())
            raise
        self.fields.require_data()
        return config

    def refresh_model(self) -> None:
        """Look at the chosen model, and at what the options make of it."""
        if not self._is_changing:
            self.fields.trace()
            self.refresh_method()

    def refresh_method(self) -> None:
        """Show what the chosen options give, and what is wrong with them."""
        if self._is_changing:
            return
        config, problem = None, None
        try:
            config = self.fields.read()
        except ValueError as error:
            problem = error
        self.column.show_problem(problem, self.fields.rows())
        self.fields.refresh(config)
        self.column.hide_empty()
        self.extras.follow(config, self.data.value)
        self._on_change()

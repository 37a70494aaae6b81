"""All fields of a run, and the configuration that they hold."""

import dataclasses
from collections.abc import Callable

from pclora_lab.data.cache import DataCache
from pclora_lab.fields import FieldError
from pclora_lab.methods.base import MethodConfig
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.nn.sizes import Plan
from pclora_lab.tasks.registry import TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.data_preview import DataPreview
from pclora_lab.ui.settings.method_fields import MethodFields
from pclora_lab.ui.settings.option_fields import OptionForm
from pclora_lab.ui.settings.size_preview import SizePreview
from pclora_lab.ui.settings.source_fields import SourceFields
from pclora_lab.ui.widgets.field_row import FieldRow

__all__ = ["RunFields"]


class RunFields:
    """The fields, the model that they name, and what they give.

    Args:
        config: what the fields show at first. What there is no field for stays as given; a rank
            in percent becomes the whole rank of the thinnest layer.
        on_change: called when a field has changed.
        cache: data of earlier runs; without one nothing is said about the chosen data.

    Attributes:
        base: what was shown last; has what there is no field for.
        source: model, data, teacher and device.
        methods: the method and its options.
        training: steps, learning rate, batch size and seed.
        preview: the model without weights, and the sizes that the options give.
        data_preview: what is in the chosen data.
        plan: sizes before and after, of what was read last.
    """

    def __init__(
        self, config: RunConfig, on_change: Callable[[], None], cache: DataCache | None
    ) -> None:
        self.base, self.plan = config, None
        self._on_change = on_change
        self.data_preview = DataPreview(cache, self._show_data_problem, self._take_task)
        self.source = SourceFields(config, self.data_preview.widget, on_change)
        self.preview = SizePreview()
        self.methods = MethodFields(config.method, self._first_ranks, on_change)
        self.training = OptionForm(config, on_change, group="training", filled=("lr",))

    base: RunConfig
    plan: Plan | None

    def show(self, config: RunConfig) -> None:
        """Put a configuration into the fields, as it was put into new ones."""
        self.base = config
        self.source.show(config)
        self.methods.show(config.method)
        self.training.show(config)  # last: a change of the method has set its learning rate

    def show_data(self) -> None:
        """Say what is in the chosen data."""
        self.data_preview.show(self.source.data_config(self.base))

    def _show_data_problem(self, problem: Exception | None) -> None:
        row = self.source.rows["data"]
        row.clear_problem() if problem is None else row.show_problem(problem)

    def _first_ranks(self) -> dict[str, int] | None:
        return self.preview.ranks_like(self.methods.form.of_kind("rank"))

    def trace(self) -> None:
        """Trace the chosen model (no weights) and fit the rank slider to it."""
        kind = self.preview.describe(self.source.model.value, self._opened_for())
        if kind is None:
            return
        self.source.set_kind(kind)
        if self.preview.trace(self.source.sizes, self.methods.base_config):
            self.preview.fit_slider(self.methods.form.of_kind("rank"))

    def _opened_for(self) -> str | None:
        name = self.source.task.value or self.data_preview.task
        return TASKS[name].opens if name else None

    def _take_task(self) -> None:
        """The data have told their task, which may want another head than was counted."""
        if self._opened_for() != self.preview.task:
            self.trace()
        self._on_change()

    def fit_percentage(self, method: MethodConfig) -> None:
        """The whole rank that a share of break-even is in the thinnest layer."""
        rank, counts = getattr(method, "rank", None), self.preview.counts
        if counts is not None and isinstance(rank, str):
            whole = min(resolve_ranks(counts.layers, rank).values())
            self.methods.form.fields["rank"].value = whole

    def read(self) -> RunConfig:
        """The fields as a configuration, without a look at the data.

        Raises:
            FieldError: names the field that is to blame.
            ValueError: no single field is.
        """
        if self.preview.problem is not None:
            raise self.preview.problem
        method = self.methods.config()
        try:
            self.plan = self.preview.plan(method)
        except ValueError as error:
            raise FieldError(self.methods.sizes.way, str(error)) from error
        return dataclasses.replace(
            self.base,
            **self.source.values(self.base),
            **self.training.values(),
            method=method,
            overrides=self.base.overrides if self.methods.fades else (),
        )

    def of_task(self, config: RunConfig) -> RunConfig:
        """A configuration that names the task which the data were found to be for, if any."""
        found = self.data_preview.task
        return config if config.task or not found else dataclasses.replace(config, task=found)

    def require_data(self) -> None:
        """Look again at data that were wrong.

        Raises:
            FieldError: they still are.
        """
        self.data_preview.require(self.source.data_config(self.base))

    def rows(self) -> dict[str, FieldRow]:
        """Where errors stand, by field; what is wrong with the data has been shown already."""
        rows = {**self.source.rows, **self.training.rows, **self.methods.rows()}
        return {name: row for name, row in rows.items() if name != "data"}

    def refresh(self, config: RunConfig | None) -> None:
        """Show what the options give, and only those that change anything.

        Args:
            config: that was read; None where there is something wrong.
        """
        self.preview.show_plan(None if config is None else self.plan)
        self.preview.show_curve(self.methods.rank_slider)
        if config is not None:
            self.methods.form.hide_what_does_not_matter(config.method)
            self.training.hide_what_does_not_matter(config)
            self.source.hide_what_does_not_matter(config)

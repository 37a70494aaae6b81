"""Which method, and its options: a form for each method, kept while another one is chosen."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ipywidgets as widgets

from pclora_lab.fields import options_of
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.closing import close_widgets
from pclora_lab.ui.html import SMALL, MessageBox
from pclora_lab.ui.settings.option_fields import WIDE, OptionForm, common_traits
from pclora_lab.ui.settings.ranks_by_layer import RanksByLayer
from pclora_lab.ui.settings.schedule_editor import ScheduleEditor
from pclora_lab.ui.settings.size_choice import LAYERS, SizeChoice, size_options
from pclora_lab.ui.widgets.field_row import FieldRow

__all__ = ["MethodFields"]


@dataclass(frozen=True)
class _Parts:
    """The form of one method."""

    form: OptionForm
    sizes: SizeChoice
    schedule: ScheduleEditor | None


class MethodFields:
    """A dropdown of methods and the options of the chosen one.

    Args:
        config: the method's options as they are shown at first.
        first_ranks: ranks to begin with where somebody wants one for each layer.
        on_change: called when an option has changed.

    Attributes:
        choice: the method's name.
        form: the options of the chosen method.
        sizes: the ways to give its size.
        schedule: a curve to draw, for methods that fade.
        ranks: a rank for each layer, instead of the slider's.
        row: the dropdown with its summary.
    """

    def __init__(
        self,
        config: MethodConfig,
        first_ranks: Callable[[], Mapping[str, int] | None],
        on_change: Callable[[], None],
    ) -> None:
        self._base, self._on_change, self._first_ranks = config, on_change, first_ranks
        titles = [(method.title, name) for name, method in METHODS.items()]
        described = options_of(RunConfig)["method"]
        self.choice = widgets.Dropdown(
            value=config.name, options=titles, layout=WIDE, **common_traits(described)
        )
        self.choice.add_class("pclora-method")
        self.ranks = RanksByLayer(config)
        self.summary = MessageBox(SMALL)
        self.row = FieldRow(self.choice, self.summary)
        self._made: dict[str, _Parts] = {}
        self.choose()

    def choose(self) -> None:
        """Take the options of the chosen method; what was set before is kept."""
        method = METHODS[self.choice.value]
        if method.name not in self._made:
            self._made[method.name] = self._make(method.Config)
        parts = self._made[method.name]
        self.form, self.sizes, self.schedule = parts.form, parts.sizes, parts.schedule
        self.summary.show_text(method.summary)

    def _make(self, config: type[MethodConfig]) -> _Parts:
        start = self._base if type(self._base) is config else config()
        form = OptionForm(start, self._on_change, filled=size_options(start)[1])
        sizes = SizeChoice(form, start, self.ranks, self._first_ranks, self._on_change)
        return _Parts(form, sizes, self._editor(form))

    def _editor(self, form: OptionForm) -> ScheduleEditor | None:
        fields = form.fields
        if form.of_kind("schedule") is None:
            return None
        return ScheduleEditor(
            fields["schedule"], fields["fade_end"], fields["may_rise"], self._on_change
        )

    def show(self, config: MethodConfig) -> None:
        """Put a method's options into its form; the other forms start anew."""
        self._base = config
        self.choice.value = config.name
        before = list(self._made.values())
        self._made.clear()
        self.ranks.show(config)
        self.choose()
        close_widgets(before)

    def forget_ranks(self) -> None:
        """Another model or method has other layers."""
        self.sizes.take_ranks(None)
        self.ranks.use(None)

    def config(self) -> MethodConfig:
        """The options of the chosen method.

        Raises:
            ValueError: a value out of its range, or typed points that are no schedule.
        """
        if self.schedule is not None:
            self.schedule.require_points()
        values = {**self.form.values(), **self.sizes.values()}
        return dataclasses.replace(self.base_config, **values)

    @property
    def base_config(self) -> MethodConfig:
        """What the chosen method's form was made from; has what no widget is for."""
        config = METHODS[self.choice.value].Config
        return self._base if type(self._base) is config else config()

    @property
    def default_lr(self) -> float:
        """The chosen method's own learning rate."""
        return METHODS[self.choice.value].Config.default_lr

    @property
    def fades(self) -> bool:
        """Whether the chosen method has a λ."""
        return METHODS[self.choice.value].fades

    def schedule_column(self) -> list[widgets.Widget]:
        """The schedule and its curve, for methods that fade."""
        if self.schedule is None:
            return []
        kinds = {name: described.kind for name, described in self.form.options.items()}
        rows = [row for name, row in self.form.rows.items() if kinds[name] == "schedule"]
        return [*rows, self.schedule.widget]

    def rows(self) -> dict[str, FieldRow]:
        """Where errors stand: at the options, ranks by layer, or points of a schedule."""
        drawn = {} if self.schedule is None else {"points": self.schedule.row}
        return {**self.form.rows, LAYERS: self.sizes.layers_row, **drawn}

    @property
    def rank_slider(self) -> widgets.Widget | None:
        """The slider of one rank for all layers, while that is the way the size is given."""
        return self.form.of_kind("rank") if self.sizes.way == "rank" else None

    def rest(self) -> list[widgets.Widget]:
        """The rows of what is neither a size nor the schedule."""
        shown = {row for row in self.sizes.widget.children} | set(self.schedule_column())
        return [row for row in self.form.rows.values() if row not in shown]

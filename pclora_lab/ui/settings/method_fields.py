"""Which method, and its options: a form for each method, kept while another one is chosen."""

import dataclasses
import html
from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.fields import options_of
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.closing import close_widgets
from pclora_lab.ui.settings.option_fields import WIDE, OptionForm, common_traits
from pclora_lab.ui.settings.ranks_by_layer import RanksByLayer
from pclora_lab.ui.settings.schedule_editor import ScheduleEditor

__all__ = ["MethodFields"]


class MethodFields:
    """A dropdown of methods and the options of the chosen one.

    Args:
        config: the method's options as they are shown at first.
        on_change: called when an option has changed.

    Attributes:
        choice: the method's name.
        form: the options of the chosen method.
        schedule: a curve to draw, for methods that fade.
        ranks: a rank for each layer, instead of the slider's.
    """

    def __init__(self, config: MethodConfig, on_change: Callable[[], None]) -> None:
        self._base, self._on_change = config, on_change
        titles = [(method.title, name) for name, method in METHODS.items()]
        described = options_of(RunConfig)["method"]
        self.choice = widgets.Dropdown(
            value=config.name, options=titles, layout=WIDE, **common_traits(described)
        )
        self.choice.add_class("pclora-method")
        self.ranks = RanksByLayer(config, on_change)
        self.summary = widgets.HTML()
        self._forms: dict[str, OptionForm] = {}
        self._editors: dict[OptionForm, ScheduleEditor] = {}
        self.choose()

    def choose(self) -> None:
        """Take the options of the chosen method; what was set before is kept."""
        method = METHODS[self.choice.value]
        if method.name not in self._forms:
            is_base = type(self._base) is method.Config
            start = self._base if is_base else method.Config()
            self._forms[method.name] = OptionForm(start, self._on_change)
        self.form = self._forms[method.name]
        self.schedule = self._editor()
        text = html.escape(method.summary)
        self.summary.value = f'<div style="line-height:1.35;width:254px">{text}</div>'

    def _editor(self) -> ScheduleEditor | None:
        fields = self.form.fields
        if self.form.of_kind("schedule") is None:
            return None
        if self.form not in self._editors:
            editor = ScheduleEditor(fields["schedule"], fields["fade_end"], fields["may_rise"])
            self._editors[self.form] = editor
        return self._editors[self.form]

    def show(self, config: MethodConfig) -> None:
        """Put a method's options into its form; the other forms start anew."""
        self._base = config
        before = list(self._forms.values()), list(self._editors.values())
        self._forms.clear()
        self._editors.clear()
        self.choice.value = config.name
        self.ranks.show(config)
        self.choose()
        close_widgets(before)

    def config(self) -> MethodConfig:
        """The options of the chosen method.

        Raises:
            ValueError: a value out of its range.
        """
        values = {**self.form.values(), **self.ranks.values()}
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

    def size_column(self) -> list[widgets.Widget]:
        """What changes the size of the result."""
        return [*self.form.column(sizes=True), self.ranks.note]

    def column(self) -> list[widgets.Widget]:
        """The method and what does not change the size of the result."""
        drawn = [] if self.schedule is None else [self.schedule.widget]
        return [self.choice, self.summary, *self.form.column(sizes=False), *drawn]

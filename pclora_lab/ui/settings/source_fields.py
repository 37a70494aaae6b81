"""Which model, on which data, with which teacher, on which device."""

import dataclasses
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from pclora_lab.fields import Option, Part, options_of, values_of
from pclora_lab.tasks.registry import TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import available_devices
from pclora_lab.ui.settings.option_fields import STYLE, WIDE, OptionForm, common_traits
from pclora_lab.ui.widgets.field_row import FieldRow

__all__ = ["SourceFields"]

_AS_DATA_SAY = "as the data say"

# A model reads either images or texts, so one field is enough for the size of both.
_SIZES = ("img_size", "max_tokens")


class SourceFields:
    """Task, model, data, teacher and device.

    Args:
        config: what the fields show at first.
        about_data: stands below the field of the data.
        on_change: called when a setting has changed.

    Attributes:
        fields: widgets by the setting's name.
        rows: the same with the place of their errors; the input's size stands under both names.
        task: what is learned; empty leaves it to the data.
        model: name of a model, or a folder.
        data: name of a data set, a file or a folder.
        input_size: side of images, or length of texts; 0 takes the model's own.
    """

    def __init__(
        self,
        config: RunConfig,
        about_data: widgets.Widget | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        form = OptionForm(
            config, on_change, group="source", without=_SIZES,
            makers={"device": _device, "task": _task},
        )  # fmt: skip
        self._form, self.fields = form, form.fields
        self.task = form.fields["task"]
        self.model, self.data = form.fields["model"], form.fields["data"]
        self.input_size = widgets.BoundedIntText(
            value=config.img_size or config.max_tokens or 0,
            min=0,
            max=65536,
            tooltip="0 takes the model's own size",
            style=STYLE,
            layout=WIDE,
        )
        self.rows = {**form.rows, **dict.fromkeys(_SIZES, FieldRow(self.input_size))}
        if about_data is not None:
            self.rows["data"] = FieldRow(self.data, about_data)
        self._order = list(options_of(config))
        self.set_kind("image")

    def set_kind(self, kind: str) -> None:
        """What the chosen model reads, ``image`` or ``text``."""
        self._size = "max_tokens" if kind == "text" else "img_size"
        self.input_size.description = options_of(RunConfig)[self._size].label

    def forget_size(self) -> None:
        """Another model: the last one's size says nothing about it, and its data may be wrong."""
        self.input_size.value = 0
        built_in = {task.built_in: task.name for task in TASKS.values() if task.built_in}
        fitting = [pair for pair in built_in if pair[0] == self.model.value]
        # Several tasks may begin with one model; the one that is chosen goes first.
        fitting.sort(key=lambda pair: built_in[pair] != self.task.value)
        own = next(iter(fitting), None)
        if own is not None and self.data.value in {data for _, data in built_in}:
            self.data.value = own[1]
            # A task that was chosen before is that of another model.
            self.task.value = built_in[own] if self.task.value else ""

    def take_built_in(self) -> None:
        """Another task: the model and the data that come with the package for it."""
        task = TASKS[self.task.value] if self.task.value else None
        if task is not None and task.built_in is not None:
            self.model.value, self.data.value = task.built_in

    @property
    def sizes(self) -> dict[str, int | None]:
        """Side of images or length of texts, whichever the model reads."""
        return {**dict.fromkeys(_SIZES), self._size: self.input_size.value or None}

    def values(self, base: RunConfig) -> dict[str, Any]:
        """Settings by name; of other data than the base's nobody has named the columns."""
        about_data = [n for n in values_of(base, Part.DATA) if n not in self.fields]
        is_same = self.data.value == base.data
        unset = {} if is_same else {name: getattr(type(base), name) for name in about_data}
        return {**unset, **self._form.values(), **self.sizes}

    def data_config(self, base: RunConfig) -> RunConfig:
        """A configuration with the chosen data, and the settings that determine how they are read.

        Raises:
            ValueError: a setting out of its range.
        """
        # Task and model may contradict the data.
        read = {**values_of(base, Part.DATA), "task": base.task, "model": base.model}
        chosen = {name: value for name, value in self.values(base).items() if name in read}
        return type(base)(**{**read, **chosen})

    def show(self, config: RunConfig) -> None:
        """Put a configuration's settings into the fields."""
        known = config.device in self.fields["device"].options
        self.task.options = _choices(config.task)
        self._form.show(dataclasses.replace(config, device=config.device if known else "auto"))
        self.input_size.value = config.img_size or config.max_tokens or 0

    def rest(self) -> list[widgets.Widget]:
        """All rows but those of task, model and data, in the order of the settings."""
        named = {n: self.rows[n] for n in self._order if n in self.rows}
        return [row for n, row in named.items() if n not in ("task", "model", "data", _SIZES[1])]

    def hide_what_does_not_matter(self, config: object) -> None:
        """Show only what changes anything in a configuration."""
        self._form.hide_what_does_not_matter(config)


def _task(described: Option, value: str | None) -> widgets.Widget:
    choices = _choices(value)
    return widgets.Dropdown(value=value or "", options=choices, **common_traits(described))


def _choices(given: str | None) -> list[tuple[str, str]]:
    """Tasks that something is built in for, and the one that a configuration names."""
    shown = [task for task in TASKS.values() if task.built_in or task.name == given]
    return [(_AS_DATA_SAY, ""), *((task.name, task.name) for task in shown)]


def _device(described: Option, value: str) -> widgets.Widget:
    # A name such as "cuda" is no device of its own, but may be asked for.
    devices = tuple(dict.fromkeys(("auto", *available_devices(), value)))
    return widgets.Dropdown(value=value, options=devices, **common_traits(described))

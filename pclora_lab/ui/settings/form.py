"""The form: widgets ↔ one frozen :class:`RunConfig`, and what a rank would give beside it."""

import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
from torch import nn

from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.models.adapting import input_kind
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.nn.sizes import Plan
from pclora_lab.training.config import TEACHERS, RunConfig
from pclora_lab.training.device import available_devices
from pclora_lab.ui.html import error_html
from pclora_lab.ui.settings.option_fields import STYLE, WIDE, OptionForm
from pclora_lab.ui.settings.previews import size_svg
from pclora_lab.ui.settings.schedule_editor import ScheduleEditor

__all__ = ["Controls"]

_MODELS = (
    "vit_digits", "bert_glosses", "deit_tiny_patch16_224", "vit_small_patch16_224",
    "vit_base_patch16_224", "google-bert/bert-base-uncased",
)  # fmt: skip


_DATA = ("digits", "glosses", "uoft-cs/cifar10", "stanfordnlp/sst2", "stanfordnlp/imdb")


# What an embedded model was trained on; the other one would be refused.
_COMPANION = {"vit_digits": "digits", "bert_glosses": "glosses"}


_QUARTER = widgets.Layout(width="190px")


_CLASSES = 10


class Controls:
    """Every choice of a run, in three columns.

    Args:
        config: what the form shows at first. What it has no control for stays as given; a rank
            in percent becomes the whole rank of the thinnest layer.
        on_change: called when what the form asks for may have changed.

    Attributes:
        method: the method's name; its options are built from their own descriptions.
        form: the options of the chosen method.
    """

    def __init__(
        self, config: RunConfig | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        config = config if config is not None else RunConfig()
        self._base = config
        self._make_source(config)
        self._make_training(config)
        self._counts: ModelCounts | None = None
        self._model: nn.Module | None = None
        self._on_change = on_change
        self._ranks = _by_layer(config.method)
        self.ranks_note = widgets.HBox()
        self._forms: dict[str, OptionForm] = {}
        self._editors: dict[OptionForm, ScheduleEditor] = {}
        self.sizes = widgets.HTML()
        self.size_curve = widgets.HTML()
        self.schedule: ScheduleEditor | None = None
        self.overrides = widgets.HBox()
        self.summary = widgets.HTML()
        self.sizes.add_class("pclora-sizes")
        self._columns = [widgets.VBox(), widgets.VBox(), widgets.VBox()]
        self._choose_method()
        self._watch()
        self.refresh_model()
        self._fit_percentage(config.method)
        self.widget = self._arrange()

    def _make_source(self, config: RunConfig) -> None:
        self.model = _combobox("model", config.model, _MODELS, "name of a model, or a folder")
        self.data = _combobox("data", config.data, _DATA, "hub name, file or folder")
        self._is_text = False
        size = config.img_size or config.max_tokens or 0
        self.input_size = _number("side (px)", size, 0, 65536)
        self.input_size.tooltip = "0 takes the model's own size"
        self.teacher = _dropdown("teacher", config.teacher, TEACHERS)
        self.teacher_steps = _number("teacher steps", config.teacher_steps, 1, 1_000_000)
        # A name such as "cuda" is no device of its own, but may be asked for.
        devices = dict.fromkeys(("auto", *available_devices(), config.device))
        self.device = _dropdown("device", config.device, tuple(devices))
        titles = [(method.title, name) for name, method in METHODS.items()]
        self.method = _dropdown("method", config.method.name, titles)
        self.method.add_class("pclora-method")

    def _make_training(self, config: RunConfig) -> None:
        self.steps = _number("steps", config.steps, 1, 1_000_000, _QUARTER)
        self.lr = widgets.FloatText(
            value=config.lr, description="learning rate", style=STYLE, layout=_QUARTER, step=1e-4
        )
        self.batch_size = _number("batch size", config.batch_size, 1, 65536, _QUARTER)
        self.seed = _number("seed", config.seed, 0, 2**31 - 1, _QUARTER)

    def _watch(self) -> None:
        self.model.observe(lambda _: self._change_model(), "value")
        self.input_size.observe(lambda _: self.refresh_model(), "value")
        self.method.observe(lambda _: self._change_method(), "value")

    def _change_model(self) -> None:
        self._ranks = None  # another model has other layers
        self.input_size.value = 0  # the last model's size says nothing about this one
        if self.model.value in _COMPANION and self.data.value in _COMPANION.values():
            self.data.value = _COMPANION[self.model.value]
        self.refresh_model()

    def _change_method(self) -> None:
        self._ranks = None
        self.lr.value = METHODS[self.method.value].Config.default_lr
        self._choose_method()
        self.refresh_model()

    def _choose_method(self) -> None:
        """Show the options of the chosen method; what was set before is kept."""
        name = self.method.value
        if name not in self._forms:
            config = METHODS[name].Config
            start = self._base.method if type(self._base.method) is config else config()
            self._forms[name] = OptionForm(start, self.refresh_method)
        self.form = self._forms[name]
        self.summary.value = (
            f'<div style="line-height:1.35;width:254px">{html.escape(METHODS[name].summary)}</div>'
        )
        self._columns[1].children = [
            widgets.HTML(value="<b>Size</b>"),
            *self.form.column(sizes=True),
            self.ranks_note,
            self.sizes,
            self.size_curve,
        ]
        self.schedule = self._editor()
        drawn = [] if self.schedule is None else [self.schedule.widget]
        self._columns[2].children = [
            widgets.HTML(value="<b>Method</b>"),
            self.method,
            self.summary,
            *self.form.column(sizes=False),
            *drawn,
        ]

    def _editor(self) -> ScheduleEditor | None:
        """A curve to draw, for methods that fade."""
        fields = self.form.fields
        if self.form.of_kind("schedule") is None:
            return None
        if self.form not in self._editors:
            editor = ScheduleEditor(fields["schedule"], fields["fade_end"], fields["may_rise"])
            self._editors[self.form] = editor
        return self._editors[self.form]

    @property
    def rank(self) -> widgets.Widget:
        """The chosen method's rank widget."""
        return self.form.fields["rank"]

    def _arrange(self) -> widgets.Widget:
        self._columns[0].children = [
            widgets.HTML(value="<b>Model and data</b>"),
            self.model,
            self.data,
            self.input_size,
            self.teacher,
            self.teacher_steps,
            self.device,
        ]
        training = [self.steps, self.lr, self.batch_size, self.seed]
        rows = [
            widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", grid_gap="0 10px"))
            for children in (self._columns, training)
        ]
        self._show_moves()
        training = widgets.HTML(value="<b>Training</b>")
        return widgets.VBox([rows[0], training, rows[1], self.overrides])

    @property
    def base(self) -> RunConfig:
        """What was shown last; holds what the form has no control for."""
        return self._base

    def show(self, config: RunConfig) -> None:
        """Put a configuration into the form, as it was put into a new one."""
        self._base = config
        self._forms.clear()
        self._editors.clear()
        ranks = _by_layer(config.method)
        self.model.value, self.data.value = config.model, config.data
        self.input_size.value = config.img_size or config.max_tokens or 0
        for name in ("teacher", "teacher_steps", "steps", "lr", "batch_size", "seed"):
            getattr(self, name).value = getattr(config, name)
        known = config.device in self.device.options
        self.device.value = config.device if known else "auto"
        self.method.value = config.method.name
        self.lr.value = config.lr  # a change of the method had set its usual one
        self._ranks = ranks
        self._choose_method()
        self.refresh_model()
        self._fit_percentage(config.method)
        self._show_moves()

    def _show_moves(self) -> None:
        """Moves of λ by hand that the settings bring along are said, and can be left out."""
        count = len(self._base.overrides)
        if not count:
            self.overrides.children = ()
            return
        times = "once" if count == 1 else f"{count} times"
        button = widgets.Button(
            description="Leave them out", tooltip="let the schedule alone move λ"
        )
        button.on_click(lambda _: self._forget_moves())
        text = f"λ is moved by hand {times}, as in the run that these settings are from"
        self.overrides.children = (widgets.HTML(value=text), button)

    def _forget_moves(self) -> None:
        self._base = dataclasses.replace(self._base, overrides=())
        self._show_moves()

    def method_config(self) -> MethodConfig:
        """The options of the chosen method.

        Raises:
            ValueError: a value out of its range.
        """
        ranks = {} if self._ranks is None else {"rank": self._ranks}
        return dataclasses.replace(self.form.config, **{**self.form.values(), **ranks})

    def use_ranks(self, ranks: Mapping[str, int] | None) -> None:
        """Take a rank for each layer instead of the slider's; None takes the slider's again."""
        self._ranks = None if ranks is None else dict(ranks)
        self.refresh_method()

    def _show_ranks(self) -> None:
        if self._ranks is None:
            self.ranks_note.children = ()
            return
        button = widgets.Button(
            description="One for all", tooltip="take the slider's rank for every layer",
            layout=widgets.Layout(width="100px"),
        )  # fmt: skip
        button.on_click(lambda _: self.use_ranks(None))
        values = self._ranks.values()
        text = f"ranks by layer: {min(values)} to {max(values)}"
        self.ranks_note.children = (widgets.HTML(value=text), button)

    @property
    def counts(self) -> ModelCounts | None:
        """Trace of the chosen model; None if there is no such model."""
        return self._counts

    @property
    def described(self) -> nn.Module | None:
        """The chosen model without weights."""
        return self._model

    def config(self) -> RunConfig:
        """The form as a configuration.

        Raises:
            ValueError: a value out of its range, or a rank that would not shrink a layer.
        """
        if self._counts is not None:
            self.plan()
        return dataclasses.replace(
            self._base,
            model=self.model.value,
            data=self.data.value,
            **self._input_sizes(),
            **self._columns_of_data(),
            method=self.method_config(),
            steps=self.steps.value,
            batch_size=self.batch_size.value,
            lr=self.lr.value,
            seed=self.seed.value,
            device=self.device.value,
            teacher=self.teacher.value,
            teacher_steps=self.teacher_steps.value,
            overrides=self._base.overrides if METHODS[self.method.value].fades else (),
        )

    def _columns_of_data(self) -> dict[str, str | None]:
        """The columns that were given, as long as they are those of the chosen data."""
        names = ("image_column", "text_column", "label_column")
        same = self.data.value == self._base.data
        return {name: getattr(self._base, name) if same else None for name in names}

    def _input_sizes(self) -> dict[str, int | None]:
        """Side of images or length of texts, whichever the model reads."""
        size = self.input_size.value or None
        name = "max_tokens" if self._is_text else "img_size"
        return {"img_size": None, "max_tokens": None, name: size}

    def plan(self) -> Plan:
        """What the chosen options give, for a head of ten classes.

        Raises:
            ValueError: the rank would not shrink every layer.
        """
        if self._counts is None:
            raise ValueError(f"the sizes of {self.model.value!r} are not known")
        return make_method(self.method_config()).plan(self._counts, self._model)

    def refresh_model(self) -> None:
        """Trace the chosen model (no weights) and fit the rank slider to it."""
        try:
            self._model = describe_model(self.model.value, num_classes=_CLASSES)
            self._is_text = input_kind(self._model) == "text"
            self.input_size.description = "tokens" if self._is_text else "side (px)"
            if self.input_size.value:
                sizes = self._input_sizes()
                self._model = describe_model(self.model.value, num_classes=_CLASSES, **sizes)
            self._counts = make_method(self.form.config).count(self._model)
        except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
            self._counts = None
            self.size_curve.value = ""
            self.sizes.value = error_html(error)
            return
        slider = self.form.of_kind("rank")
        if slider is not None:
            # A little beyond break-even, so that the mark and its reason can be seen.
            even = self._counts.break_even_rank
            slider.max = even + max(2, even // 10)
        self.refresh_method()

    def _fit_percentage(self, method: MethodConfig) -> None:
        rank = getattr(method, "rank", None)
        if self._counts is not None and isinstance(rank, str):
            self.rank.value = min(resolve_ranks(self._counts.layers, rank).values())

    def refresh_method(self) -> None:
        """Show what the chosen options give: sizes, and how they depend on the rank."""
        rank = self.form.of_kind("rank")
        self._show_ranks()
        if self._counts is None:
            return
        self.size_curve.value = ""
        if rank is not None:
            self.size_curve.value = size_svg(self._counts, rank.value, rank.max)
        try:
            self.sizes.value = _sizes_html(self.plan())
        except ValueError as error:
            self.sizes.value = error_html(error)
        self._on_change()


def _by_layer(method: MethodConfig) -> dict[str, int] | None:
    rank = getattr(method, "rank", None)
    return dict(rank) if isinstance(rank, tuple) else None


def _sizes_html(sizes: Plan) -> str:
    cells = "".join(
        f"<tr><td>{name}</td><td style='text-align:right'>{size.params_before:,} → "
        f"{size.params_after:,}</td><td style='text-align:right'><b>−{size.params_removed:.1%}"
        f"</b></td></tr>"
        for name, size in (("replaced", sizes.replaced), ("whole model", sizes.whole_model))
    )
    whole = sizes.whole_model
    return (
        '<div aria-live="polite" style="line-height:1.5;width:254px;font-size:11.5px;'
        'white-space:nowrap"><table style="width:100%">'
        f"<tr><td></td><td style='text-align:right'>parameters</td><td></td></tr>{cells}</table>"
        f"MACs −{whole.macs_removed:.1%} · {whole.bytes_before / 1e6:,.2f} → "
        f"{whole.bytes_after / 1e6:,.2f} MB · {_CLASSES} classes</div>"
    )


def _combobox(name: str, value: str, options: tuple[str, ...], hint: str) -> widgets.Combobox:
    return widgets.Combobox(
        value=value,
        options=options,
        description=name,
        placeholder=hint,
        tooltip=hint,
        ensure_option=False,
        continuous_update=False,
        style=STYLE,
        layout=WIDE,
    )


def _dropdown(name: str, value: object, options: Sequence[Any]) -> widgets.Dropdown:
    return widgets.Dropdown(
        value=value, options=options, description=name, style=STYLE, layout=WIDE
    )


def _number(
    name: str, value: int, low: int, high: int, layout: widgets.Layout = WIDE
) -> widgets.BoundedIntText:
    return widgets.BoundedIntText(
        value=value, min=low, max=high, description=name, style=STYLE, layout=layout
    )

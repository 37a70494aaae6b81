"""The form: widgets ↔ one frozen :class:`RunConfig`, and what a rank would give beside it."""

import dataclasses
import html
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from pclora_lab.accounting import ModelCounts, Plan, count_model, plan, resolve_ranks
from pclora_lab.config import INITS, TAPS, TEACHERS, PCLoRAConfig, RunConfig
from pclora_lab.devices import available_devices
from pclora_lab.models import describe_model
from pclora_lab.schedules import SCHEDULES
from pclora_lab.ui.svg import schedule_svg, size_svg

__all__ = ["Controls"]

_MODELS = ("vit_digits", "deit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224")
_DATA = ("digits", "uoft-cs/cifar10")
# Three columns fit beside JupyterLab's file browser in a window of 1280 px.
_STYLE = {"description_width": "92px"}
_WIDE = widgets.Layout(width="272px")
_QUARTER = widgets.Layout(width="198px")
_CLASSES = 10


class Controls:
    """Every choice of a run, in three columns.

    Args:
        config: what the form shows at first. What it has no control for stays as given; a rank
            in per cent becomes the whole rank of the thinnest layer.
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        config = config if config is not None else RunConfig()
        self._base = config
        self._make_source(config)
        self._make_method(config.method)
        self._make_training(config)
        self._counts: ModelCounts | None = None
        self.sizes = widgets.HTML()
        self.size_curve = widgets.HTML()
        self.schedule_curve = widgets.HTML()
        self.rank.add_class("pclora-rank")
        self.sizes.add_class("pclora-sizes")
        self._watch()
        self.refresh_model()
        self._fit_percentage(config.method.rank)
        self.refresh_schedule()
        self.widget = self._arrange()

    def _make_source(self, config: RunConfig) -> None:
        self.model = _combobox("model", config.model, _MODELS, "timm name, or local-dir:PATH")
        self.data = _combobox("data", config.data, _DATA, "hub name, or a folder")
        self.img_size = _number("side (px)", config.img_size or 0, 0, 1024)
        self.img_size.tooltip = "0 takes the model's own size"
        self.teacher = _dropdown("teacher", config.teacher, TEACHERS)
        self.teacher_steps = _number("teacher steps", config.teacher_steps, 1, 1_000_000)
        self.device = _dropdown("device", config.device, ("auto", *available_devices()))

    def _make_method(self, method: PCLoRAConfig) -> None:
        rank = method.rank if isinstance(method.rank, int) else 8
        self.rank = widgets.IntSlider(
            value=rank,
            min=1,
            max=max(rank, 64),
            description="rank r",
            style=_STYLE,
            layout=_WIDE,
        )
        schedules = [(name, name) for name in SCHEDULES]
        if not isinstance(method.schedule, str):
            schedules.append(("points, as given", method.schedule))
        self.schedule = _dropdown("schedule λ", method.schedule, schedules)
        self.fade_end = _slider("fade end q", method.fade_end, 0.05, 1.0)
        self.init = _dropdown("start A, B, C", method.init, INITS)
        self.taps = _dropdown("features of", method.taps, TAPS)

    def _make_training(self, config: RunConfig) -> None:
        self.alpha = _slider("task share α", config.method.alpha, 0.0, 1.0)
        self.steps = _number("steps", config.steps, 1, 1_000_000, _QUARTER)
        self.lr = widgets.FloatText(
            value=config.lr, description="learning rate", style=_STYLE, layout=_QUARTER, step=1e-4
        )
        self.batch_size = _number("batch size", config.batch_size, 1, 65536, _QUARTER)
        self.seed = _number("seed", config.seed, 0, 2**31 - 1, _QUARTER)

    def _watch(self) -> None:
        for widget in (self.model, self.img_size):
            widget.observe(lambda _: self.refresh_model(), "value")
        self.rank.observe(lambda _: self.refresh_sizes(), "value")
        for widget in (self.schedule, self.fade_end):
            widget.observe(lambda _: self.refresh_schedule(), "value")

    def _arrange(self) -> widgets.Widget:
        columns = (
            (
                "Model and data",
                self.model,
                self.data,
                self.img_size,
                self.teacher,
                self.teacher_steps,
                self.device,
            ),
            ("Low rank", self.rank, self.sizes, self.size_curve, self.init),
            ("Fade", self.schedule, self.fade_end, self.schedule_curve, self.alpha, self.taps),
        )
        boxes = [
            widgets.VBox([widgets.HTML(value=f"<b>{title}</b>"), *children])
            for title, *children in columns
        ]
        training = [self.steps, self.lr, self.batch_size, self.seed]
        rows = [
            widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", grid_gap="0 10px"))
            for children in (boxes, training)
        ]
        return widgets.VBox([rows[0], widgets.HTML(value="<b>Training</b>"), rows[1]])

    def config(self) -> RunConfig:
        """The form as a configuration.

        Raises:
            ValueError: a value out of its range, or a rank that would not shrink a layer.
        """
        if self._counts is not None:
            self.plan()
        method = dataclasses.replace(
            self._base.method,
            rank=self.rank.value,
            schedule=self.schedule.value,
            fade_end=self.fade_end.value,
            alpha=self.alpha.value,
            init=self.init.value,
            taps=self.taps.value,
        )
        return dataclasses.replace(
            self._base,
            model=self.model.value,
            data=self.data.value,
            img_size=self.img_size.value or None,
            method=method,
            steps=self.steps.value,
            batch_size=self.batch_size.value,
            lr=self.lr.value,
            seed=self.seed.value,
            device=self.device.value,
            teacher=self.teacher.value,
            teacher_steps=self.teacher_steps.value,
        )

    def plan(self) -> Plan:
        """What the chosen rank gives, for a head of ten classes.

        Raises:
            ValueError: the rank would not shrink every layer.
        """
        if self._counts is None:
            raise ValueError(f"the sizes of {self.model.value!r} are not known")
        return plan(self._counts, self.rank.value)

    def refresh_model(self) -> None:
        """Trace the chosen model (no weights) and fit the rank slider to it."""
        try:
            size = self.img_size.value or None
            model = describe_model(self.model.value, num_classes=_CLASSES, img_size=size)
            self._counts = count_model(model, targets=self._base.method.targets)
        except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
            self._counts = None
            self.size_curve.value = ""
            self.sizes.value = error_html(error)
            return
        # A little beyond break-even, so that the mark and its reason can be seen.
        self.rank.max = self._counts.break_even_rank + max(2, self._counts.break_even_rank // 10)
        self.refresh_sizes()

    def _fit_percentage(self, rank: int | str) -> None:
        if self._counts is not None and isinstance(rank, str):
            self.rank.value = min(resolve_ranks(self._counts.layers, rank).values())

    def refresh_sizes(self) -> None:
        """Show what the chosen rank gives."""
        if self._counts is None:
            return
        self.size_curve.value = size_svg(self._counts, self.rank.value, self.rank.max)
        try:
            self.sizes.value = _sizes_html(self.plan())
        except ValueError as error:
            self.sizes.value = error_html(error)

    def refresh_schedule(self) -> None:
        """Draw λ for the chosen schedule."""
        self.schedule_curve.value = schedule_svg(self.schedule.value, self.fade_end.value)


def error_html(error: BaseException) -> str:
    """An error as text that can't be taken for markup."""
    words = html.escape(f"{type(error).__name__}: {error}")
    return f'<div role="alert" style="color:#b00020;line-height:1.35;width:268px">{words}</div>'


def _sizes_html(sizes: Plan) -> str:
    cells = "".join(
        f"<tr><td>{name}</td><td style='text-align:right'>{size.params_before:,} → "
        f"{size.params_after:,}</td><td style='text-align:right'><b>−{size.params_removed:.1%}"
        f"</b></td></tr>"
        for name, size in (("replaced", sizes.replaced), ("whole model", sizes.whole_model))
    )
    whole = sizes.whole_model
    return (
        '<div aria-live="polite" style="line-height:1.5;width:268px;font-size:11.5px;'
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
        style=_STYLE,
        layout=_WIDE,
    )


def _dropdown(name: str, value: object, options: Sequence[Any]) -> widgets.Dropdown:
    return widgets.Dropdown(
        value=value, options=options, description=name, style=_STYLE, layout=_WIDE
    )


def _number(
    name: str, value: int, low: int, high: int, layout: widgets.Layout = _WIDE
) -> widgets.BoundedIntText:
    return widgets.BoundedIntText(
        value=value, min=low, max=high, description=name, style=_STYLE, layout=layout
    )


def _slider(name: str, value: float, low: float, high: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=value, min=low, max=high, step=0.05, description=name, style=_STYLE, layout=_WIDE
    )

"""What the chosen options give, before anything is trained: sizes, and how they depend on rank."""

from collections.abc import Mapping

import ipywidgets as widgets
from torch import nn

from pclora_lab.fields import FieldError
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import make_method
from pclora_lab.models.adapting import input_kind
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.metadata import recipe_of
from pclora_lab.nn.sizes import Plan
from pclora_lab.ui.settings.previews import size_svg
from pclora_lab.wording import explained

__all__ = ["SizePreview"]

_CLASSES = 10


class SizePreview:
    """A model without weights, its counts, and what is shown of them.

    Attributes:
        counts: trace of the model; None if there is no such model.
        model: the model without weights.
        problem: why the model can't be counted, and which field is to blame; None if it can.
        task: of :func:`pclora_lab.load_model`, that it was opened for.
        sizes: parameters, MACs and bytes before and after; empty where they are not known.
        curve: size by rank.
    """

    def __init__(self) -> None:
        self.counts: ModelCounts | None = None
        self.model: nn.Module | None = None
        self.problem: FieldError | None = None
        self.task: str | None = None
        self._name, self._known = "", dict[tuple[int | None, int | None], nn.Module]()
        self.sizes, self.curve = widgets.HTML(tooltip=""), widgets.HTML(tooltip="")
        self.sizes.add_class("pclora-sizes")
        self.curve.add_class("pclora-size-curve")

    def describe(self, name: str, task: str | None = None) -> str | None:
        """Build a model without weights; what it reads, ``image`` or ``text``, or None."""
        try:
            if (name, task) != (self._name, self.task):
                self._known, self._name, self.task = {}, name, task
            self.model, self.problem = self._built(None, None), None
            return input_kind(self.model)
        except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
            self._refuse("model", error)
            return None

    def trace(self, sizes: Mapping[str, int | None], method: MethodConfig) -> bool:
        """Count the layers that a method replaces in the model that was described.

        Args:
            sizes: of its inputs, ``img_size`` and ``max_tokens``; None for its own.
            method: options of the method.

        Returns:
            Whether that is possible; if not, the reason is in :attr:`problem`.
        """
        field = next((size for size, value in sizes.items() if value), "model")
        try:
            if any(sizes.values()):
                self.model = self._built(sizes["img_size"], sizes["max_tokens"])
            if self.model is not None:
                self.counts = make_method(method).count(self.model)
            return self.counts is not None
        except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
            self._refuse(field, error)
            return False

    def _built(self, img_size: int | None, max_tokens: int | None) -> nn.Module:
        """The model for inputs of a size; methods come and go, it stays."""
        sizes = (img_size, max_tokens)
        if sizes not in self._known:
            self._known[sizes] = describe_model(
                self._name, num_classes=_CLASSES, img_size=img_size, max_tokens=max_tokens,
                task=self.task,
            )  # fmt: skip
        return self._known[sizes]

    def _refuse(self, field: str, error: Exception) -> None:
        self.counts, self._known = None, {}
        self.curve.value = self.sizes.value = ""
        self.problem = FieldError(field, explained(error) or type(error).__name__)

    def plan(self, method: MethodConfig) -> Plan:
        """What options give, for a head of ten classes.

        Raises:
            ValueError: the rank would not shrink every layer, or there is no such model.
        """
        if self.counts is None or self.model is None:
            raise ValueError("the sizes of this model are not known: choose another model")
        return make_method(method).plan(self.counts, self.model)

    def ranks_like(self, slider: widgets.Widget | None) -> dict[str, int] | None:
        """The slider's rank for each layer, as far as it shrinks it; None if there are none."""
        if self.counts is None or slider is None:
            return None
        return {la.name: min(slider.value, la.largest_rank) for la in self.counts.layers}

    def show_curve(self, slider: widgets.Widget | None) -> None:
        """How the size depends on the rank, with a dot at the slider's; None shows nothing."""
        self.curve.value = ""
        if self.counts is not None and slider is not None:
            self.curve.value = size_svg(self.counts, slider.value, slider.max)

    def fit_slider(self, slider: widgets.Widget | None) -> None:
        """A rank's slider ends a little beyond break-even, so that the mark can be seen."""
        if self.counts is not None and slider is not None:
            even = self.counts.break_even_rank
            slider.max = even + max(2, even // 10)

    def show_plan(self, sizes: Plan | None) -> None:
        """Sizes before and after; None shows nothing."""
        self.sizes.value = "" if sizes is None else _sizes_html(sizes, self._heading())

    def _heading(self) -> str:
        # A model that guesses words has a head of its own size.
        told = None if self.model is None else recipe_of(self.model).get("num_classes")
        return "parameters" if told is None else f"parameters, {told} classes"


def _sizes_html(sizes: Plan, heading: str) -> str:
    cells = "".join(
        f"<tr><td>{name}</td><td style='text-align:right;white-space:normal'>"
        f"{size.params_before:,} → {size.params_after:,}</td>"
        f"<td style='text-align:right'><b>−{size.params_removed:.1%}</b></td></tr>"
        for name, size in (("replaced", sizes.replaced), ("whole model", sizes.whole_model))
    )
    whole = sizes.whole_model
    return (
        '<div aria-live="polite" style="line-height:1.4;font-size:11.5px;white-space:nowrap">'
        f'<table style="width:100%"><tr><td colspan="3">{heading}</td></tr>'
        f"{cells}</table>MACs −{whole.macs_removed:.1%} · {whole.bytes_before / 1e6:,.2f} → "
        f"{whole.bytes_after / 1e6:,.2f} MB</div>"
    )

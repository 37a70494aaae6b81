"""What the chosen options give, before anything is trained: sizes, and how they depend on rank."""

from collections.abc import Mapping

import ipywidgets as widgets
from torch import nn

from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import make_method
from pclora_lab.models.adapting import input_kind
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.sizes import Plan
from pclora_lab.ui.html import error_html
from pclora_lab.ui.settings.previews import size_svg

__all__ = ["SizePreview"]

_CLASSES = 10


class SizePreview:
    """A model without weights, its counts, and what is shown of them.

    Attributes:
        counts: trace of the model; None if there is no such model.
        model: the model without weights.
        sizes: parameters, MACs and bytes before and after, or what is wrong.
        curve: size by rank.
    """

    def __init__(self) -> None:
        self.counts: ModelCounts | None = None
        self.model: nn.Module | None = None
        self.sizes, self.curve = widgets.HTML(), widgets.HTML()
        self.sizes.add_class("pclora-sizes")

    def describe(self, name: str) -> str | None:
        """Build a model without weights; what it reads, ``image`` or ``text``, or None."""
        try:
            self.model = describe_model(name, num_classes=_CLASSES)
            return input_kind(self.model)
        except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
            self._refuse(error)
            return None

    def trace(self, name: str, sizes: Mapping[str, int | None], method: MethodConfig) -> bool:
        """Count the layers that a method replaces.

        Args:
            name: of the model that was described.
            sizes: of its inputs, ``img_size`` and ``max_tokens``; None for its own.
            method: options of the method.

        Returns:
            Whether that is possible; if not, the reason is shown.
        """
        try:
            if any(sizes.values()):
                self.model = describe_model(
                    name,
                    num_classes=_CLASSES,
                    img_size=sizes["img_size"],
                    max_tokens=sizes["max_tokens"],
                )
            if self.model is not None:
                self.counts = make_method(method).count(self.model)
            return self.counts is not None
        except Exception as error:  # noqa: BLE001 - a callback's exception would vanish
            self._refuse(error)
            return False

    def _refuse(self, error: Exception) -> None:
        self.counts = None
        self.curve.value = ""
        self.sizes.value = error_html(error)

    def plan(self, method: MethodConfig) -> Plan:
        """What options give, for a head of ten classes.

        Raises:
            ValueError: the rank would not shrink every layer, or there is no such model.
        """
        if self.counts is None or self.model is None:
            raise ValueError("the sizes of this model are not known: choose another model")
        return make_method(method).plan(self.counts, self.model)

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

    def show_plan(self, method: MethodConfig) -> None:
        """Sizes before and after.

        Raises:
            ValueError: see :meth:`plan`.
        """
        self.sizes.value = _sizes_html(self.plan(method))

    def show_error(self, error: Exception) -> None:
        """What is wrong with the options, in place of sizes."""
        self.sizes.value = error_html(error)


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

"""A slider over the steps of a run: at the right end it follows, anywhere else it goes back."""

import threading
from collections.abc import Callable

import ipywidgets as widgets

__all__ = ["Timeline"]

_FRAMES = 40


class Timeline:
    """Which step the views show.

    Args:
        on_change: called when a person moved the slider, played, or let it follow again.

    Attributes:
        slider: the step.
        follow: pressed while the newest step is shown.
        play: moves the slider by itself.
        widget: to display.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._own: int | None = None
        self.slider = widgets.IntSlider(
            description="step",
            min=0,
            max=1,
            tooltip="go back in the run: curves, layers and examples follow",
            style={"description_width": "34px"},
            layout=widgets.Layout(width="360px"),
        )
        self.follow = widgets.ToggleButton(
            value=True,
            description="Newest",
            icon="fast-forward",
            tooltip="show the newest step and follow the run",
            layout=widgets.Layout(width="100px"),
        )
        self.play = widgets.Play(
            min=0, max=1, interval=250, show_repeat=False, tooltip="play the run again"
        )
        widgets.jslink((self.play, "value"), (self.slider, "value"))
        self.slider.observe(self._moved, "value")
        self.follow.observe(self._followed, "value")
        self.widget = widgets.HBox(
            [self.play, self.slider, self.follow],
            layout=widgets.Layout(align_items="center", flex_flow="row wrap"),
        )
        self.widget.add_class("pclora-timeline")

    @property
    def until(self) -> int | None:
        """The step to show; None for the newest."""
        return None if self.follow.value else self.slider.value

    def begin(self, steps: int) -> None:
        """Fit the slider to a run and follow it."""
        with _Own(self):
            self.slider.value = 0
            self.slider.max = self.play.max = max(steps, 1)
            self.play.step = max(1, steps // _FRAMES)
            self.follow.value = True

    def newest(self, step: int) -> None:
        """Tell the newest step; the slider stands there while it follows."""
        if self.follow.value and step != self.slider.value:
            with _Own(self):
                self.slider.value = step

    def _moved(self, _: object) -> None:
        # The painter's own moves are no wish of the person's.
        if self._own == threading.get_ident():
            return
        with _Own(self):
            self.follow.value = False
        self._on_change()

    def _followed(self, _: object) -> None:
        if self._own != threading.get_ident():
            self._on_change()


class _Own:
    """Inside, changes come from the program and not from the person."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def __enter__(self) -> None:
        self._timeline._own = threading.get_ident()

    def __exit__(self, *error: object) -> None:
        self._timeline._own = None

"""A slider over the steps of a run: at the right end it follows, anywhere else it goes back."""

import threading
import time
from collections.abc import Callable

import ipywidgets as widgets

__all__ = ["Timeline"]

# The slider counts shares of the run, not steps: a front end answers a change of a slider's bounds
# with a value of its own, which can't be told from a person's move.
_NOTCHES = 200
_NOTCHES_PER_FRAME = 5
_SECONDS_PER_FRAME = 0.25


class Timeline:
    """Which step the views show.

    Args:
        on_change: called when a person moved the slider, played, or let it follow again.

    Attributes:
        slider: how far back, in two-hundredths of the run.
        says: the step that this is.
        follow: pressed while the newest step is shown.
        play: while pressed, the slider goes through the run by itself.
        widget: to display.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._own: int | None = None
        self._playing: object = None
        self.slider = widgets.IntSlider(
            description="go to",
            min=0,
            max=_NOTCHES,
            readout=False,
            tooltip="go back in the run: curves, layers and examples follow",
            style={"description_width": "34px"},
            layout=widgets.Layout(width="360px"),
        )
        self._steps, self._step = 1, 0
        self.says = widgets.HTML("step 0")
        self.says.add_class("pclora-step")
        self.follow = widgets.ToggleButton(
            value=True,
            description="Newest",
            icon="fast-forward",
            tooltip="show the newest step and follow the run",
            layout=widgets.Layout(width="100px"),
        )
        self.play = widgets.ToggleButton(
            description="Play",
            icon="play",
            tooltip="go through the run once more; press again to stop",
            layout=widgets.Layout(width="90px"),
        )
        self.slider.observe(self._moved, "value")
        self.follow.observe(self._followed, "value")
        self.play.observe(self._played, "value")
        self.widget = widgets.HBox(
            [self.play, self.slider, self.follow, self.says],
            layout=widgets.Layout(align_items="center", flex_flow="row wrap"),
        )
        self.widget.add_class("pclora-timeline")

    @property
    def until(self) -> int | None:
        """The step to show; None for the newest."""
        return None if self.follow.value else self._step

    def begin(self, steps: int) -> None:
        """Fit the slider to a run and follow it."""
        self._steps = max(steps, 1)
        self.play.value = False
        with _Own(self):
            self.follow.value = True
        self.newest(0)

    def newest(self, step: int) -> None:
        """Tell the newest step; the slider stands there while it follows."""
        if not self.follow.value:
            return
        self._say(step)
        with _Own(self):
            self.slider.value = min(round(step / self._steps * _NOTCHES), _NOTCHES)

    def _say(self, step: int) -> None:
        self._step = step
        self.says.value = f"step {step} of {self._steps}"

    def _moved(self, _: object) -> None:
        # The painter's own moves are no wish of the person's.
        if self._own == threading.get_ident():
            return
        with _Own(self):
            self.follow.value = False
        self._say(round(self.slider.value / _NOTCHES * self._steps))
        self._on_change()

    def _played(self, change: dict) -> None:
        self._playing = object()
        if change["new"]:
            threading.Thread(target=self._go_through, args=(self._playing,), daemon=True).start()

    def _go_through(self, turn: object) -> None:
        """From where the slider stands, or from the start, to the end."""
        notch = self.slider.value if self.slider.value < _NOTCHES else 0
        while turn is self._playing and notch <= _NOTCHES:
            with _Own(self):
                self.follow.value = False
                self.slider.value = notch
            self._say(round(notch / _NOTCHES * self._steps))
            self._on_change()
            notch += _NOTCHES_PER_FRAME
            time.sleep(_SECONDS_PER_FRAME)
        if turn is self._playing:
            self.play.value = False

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

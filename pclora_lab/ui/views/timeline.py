"""A slider over the steps of a run: it follows the newest step until somebody moves it."""

import threading
from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.ui.background import BackgroundLoop, Steps
from pclora_lab.ui.html import MessageBox

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
        text: the step that this is.
        follow: pressed while the newest step is shown.
        play: while pressed, the slider goes through the run by itself.
        widget: to display.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        # By thread: what the refresher, the player and the program move is no wish of a person.
        self._own = threading.local()
        self._lock = threading.RLock()
        self._playing: object = None
        self.slider = widgets.IntSlider(
            min=0,
            max=_NOTCHES,
            readout=False,
            tooltip="go back in the run: curves, layers and examples follow",
            layout=widgets.Layout(width="112px"),
        )
        self._steps, self._step, self._notch = 1, 0, 0
        self.text = MessageBox(value="step 0")
        self.text.add_class("pclora-step")
        self.follow = widgets.ToggleButton(
            value=True,
            description="Newest",
            icon="fast-forward",
            tooltip="show the newest step and follow the run",
            layout=widgets.Layout(width="88px"),
        )
        self.play = widgets.ToggleButton(
            description="Play",
            icon="play",
            tooltip="go through the run once more; press again to stop",
            layout=widgets.Layout(width="72px"),
        )
        self.slider.observe(self._moved, "value")
        self.follow.observe(self._followed, "value")
        self.play.observe(self._played, "value")
        self.widget = widgets.HBox(
            [self.play, self.slider, self.follow, self.text],
            layout=widgets.Layout(align_items="center", flex_flow="row wrap"),
        )
        self.widget.add_class("pclora-timeline")

    @property
    def until(self) -> int | None:
        """The step to show; None for the newest."""
        return None if self.follow.value else self._step

    def begin(self, steps: int) -> None:
        """Fit the slider to a run and follow it."""
        with self._lock:
            self._playing = None
            self._steps = max(steps, 1)
            self._set(play=False, follow=True, notch=0)
            self._show_step(0)

    def newest(self, step: int) -> None:
        """Tell the newest step; the slider stands there while it follows."""
        with self._lock:
            # A slider that is not where it was put was moved, and that waits for this lock.
            if self.follow.value and self.slider.value == self._notch:
                self._show_step(step)
                self._set(notch=min(round(step / self._steps * _NOTCHES), _NOTCHES))

    def move_by(self, notches: int) -> None:
        """Go back or ahead, as if a person had moved the slider; there is nothing after the newest.

        Args:
            notches: of the slider's 200; negative ones go back.
        """
        if notches < 0 or not self.follow.value:
            self.slider.value = min(max(self.slider.value + notches, 0), _NOTCHES)

    def _set(
        self, *, notch: int | None = None, follow: bool | None = None, play: bool | None = None
    ) -> None:
        """Move the controls; none of it is taken for a person's wish."""
        self._own.yes = True
        self._notch = self._notch if notch is None else notch
        try:
            for control, value in (
                (self.play, play), (self.follow, follow), (self.slider, notch),
            ):  # fmt: skip
                if value is not None:
                    control.value = value
        finally:
            self._own.yes = False

    def _is_own(self) -> bool:
        return getattr(self._own, "yes", False)

    def _show_step(self, step: int) -> None:
        self._step = step
        self.text.value = f"step {step} of {self._steps}"

    def _moved(self, change: dict) -> None:
        if self._is_own():
            return
        with self._lock:
            self._playing = None
            self._set(follow=False, play=False, notch=change["new"])
            self._show_step(round(change["new"] / _NOTCHES * self._steps))
        self._on_change()

    def _followed(self, _: object) -> None:
        if self._is_own():
            return
        with self._lock:
            self._playing = None
            self._set(play=False)
            self._show_step(round(self.slider.value / _NOTCHES * self._steps))
        self._on_change()

    def _played(self, change: dict) -> None:
        if self._is_own():
            return
        with self._lock:
            self._playing = turn = object() if change["new"] else None
            begins = self.follow.value or self.slider.value == _NOTCHES
            first = 0 if begins else self.slider.value
        if turn is not None:
            BackgroundLoop(self._go_through(turn, first), self.text.show_error).start()

    def _go_through(self, turn: object, first: int) -> Steps:
        """From a notch to the end, as long as nobody interferes."""
        try:
            for notch in (*range(first, _NOTCHES, _NOTCHES_PER_FRAME), _NOTCHES):
                with self._lock:
                    if turn is not self._playing:
                        return
                    self._set(follow=False, notch=notch)
                    self._show_step(round(notch / _NOTCHES * self._steps))
                self._on_change()
                yield _SECONDS_PER_FRAME
        finally:
            with self._lock:
                if turn is self._playing:
                    self._set(play=False)

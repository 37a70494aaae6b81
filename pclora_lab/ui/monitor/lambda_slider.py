"""λ in the hand: a slider that follows the schedule until somebody moves it."""

import threading
from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.session import Session, SessionState

__all__ = ["LambdaSlider"]

_SCHEDULE, _HAND = "the schedule moves λ", "λ is in your hand"


class LambdaSlider:
    """Slider and button for the session that is shown.

    Args:
        session: gives the session, or None.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        slider: λ; moving it takes λ over.
        button: gives λ back.
        widget: to display.
    """

    def __init__(
        self,
        session: Callable[[], Session | None],
        show_errors: Callable[[Callable[[], None]], None],
    ) -> None:
        self._session, self._show_errors = session, show_errors
        self._own: int | None = None
        self.slider = widgets.FloatSlider(
            value=1.0, min=0.0, max=1.0, step=0.01, readout_format=".2f",
            description="λ by hand", tooltip="move it to take λ over from the schedule",
            style={"description_width": "70px"}, layout=widgets.Layout(width="420px"),
            disabled=True,
        )  # fmt: skip
        self.button = widgets.Button(
            description="Give back", icon="hand-paper-o", disabled=True,
            tooltip="let the schedule move λ again", layout=widgets.Layout(width="110px"),
        )  # fmt: skip
        self.says = widgets.HTML()
        self.says.add_class("pclora-hold")
        self.slider.add_class("pclora-lambda")
        self.slider.observe(self._moved, "value")
        self.button.on_click(lambda _: self._show_errors(self.release_lambda))
        self.widget = widgets.HBox(
            [self.slider, self.button, self.says],
            layout=widgets.Layout(align_items="center", flex_flow="row wrap"),
        )

    def override_lambda(self, lam: float) -> None:
        """Take λ over.

        Raises:
            RuntimeError: nothing is going, or there is no base to hold.
        """
        session = self._session()
        if session is None:
            raise RuntimeError("nothing to hold: press Train first")
        session.override_lambda(round(lam, 4))
        self.button.disabled = False
        self.says.value = _HAND

    def release_lambda(self) -> None:
        """Give λ back to the schedule."""
        session = self._session()
        if session is not None:
            session.release_lambda()
        self.button.disabled = True
        self.says.value = _SCHEDULE

    def _moved(self, change: dict) -> None:
        if self._own != threading.get_ident() and not self.slider.disabled:
            self._show_errors(lambda: self.override_lambda(change["new"]))

    def update(self, session: Session, snapshot: SessionState) -> None:
        """Follow a session: where λ is, and whether it can be held."""
        live = snapshot.state in ("running", "paused")
        fades = METHODS[session.config.method.name].fades
        can_hold = live and fades and session.has_base
        # Read now, because the snapshot is older than what the person may just have done.
        held = session.lambda_override if live else None
        self.slider.disabled = not can_hold
        self.button.disabled = not can_hold or held is None
        if not fades:
            self.says.value = "this method has no λ"
        elif live:
            self.says.value = (
                "the base is gone: nothing to hold" if not session.has_base
                else _SCHEDULE if held is None else _HAND
            )  # fmt: skip
        else:
            self.says.value = ""
        lam = snapshot.rows[-1].get("lam") if snapshot.rows else None
        lam = lam if held is None else held
        if lam is not None and abs(lam - self.slider.value) > 0.006:
            self._own = threading.get_ident()
            self.slider.value = round(lam, 2)
            self._own = None

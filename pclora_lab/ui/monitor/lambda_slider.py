"""λ in the hand: a slider that follows the schedule until somebody moves it."""

import threading
from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.session import Session
from pclora_lab.runs.session_state import SessionState
from pclora_lab.ui.html import button

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
        fresh: whether the optimizer's moments are cleared then.
        widget: to display.
    """

    def __init__(
        self,
        session: Callable[[], Session | None],
        show_errors: Callable[[Callable[[], object]], None],
    ) -> None:
        self._session, self._show_errors = session, show_errors
        self._own: int | None = None
        self.slider = widgets.FloatSlider(
            value=1.0, min=0.0, max=1.0, step=0.01, readout_format=".2f",
            description="λ by hand", tooltip="move it to take λ over from the schedule",
            style={"description_width": "70px"}, layout=widgets.Layout(width="420px"),
            disabled=True,
        )  # fmt: skip
        self.button = button(
            "Give back", "hand-paper-o", "let the schedule move λ again",
            lambda: self._show_errors(self.release_lambda), width="110px", disabled=True,
        )  # fmt: skip
        self.fresh = widgets.Checkbox(
            value=False, description="clear moments", indent=False, disabled=True,
            tooltip="when λ is given back: AdamW forgets the gradients it saw at your λ and the "
            "learning rate rises again; try it where λ falls far at once",
            layout=widgets.Layout(width="130px"),
        )  # fmt: skip
        self.text = widgets.HTML()
        self.text.add_class("pclora-hold")
        self.slider.add_class("pclora-lambda")
        self.slider.observe(self._moved, "value")
        self.widget = widgets.HBox(
            [self.slider, self.button, self.fresh, self.text],
            layout=widgets.Layout(align_items="center", flex_flow="row wrap"),
        )

    def override_lambda(self, lam: float) -> None:
        """Take λ over.

        Raises:
            RuntimeError: nothing is going, or there is no base whose λ could be set.
        """
        session = self._session()
        if session is None:
            raise RuntimeError("nothing to hold: press Train first")
        session.override_lambda(round(lam, 4))
        self.button.disabled = self.fresh.disabled = False
        self.text.value = _HAND

    def release_lambda(self) -> None:
        """Give λ back to the schedule."""
        session = self._session()
        if session is not None:
            session.release_lambda(reset_moments=self.fresh.value)
        self.button.disabled = self.fresh.disabled = True
        self.text.value = _SCHEDULE

    def _moved(self, change: dict) -> None:
        if self._own != threading.get_ident() and not self.slider.disabled:
            self._show_errors(lambda: self.override_lambda(change["new"]))

    def update(self, session: Session, snapshot: SessionState) -> None:
        """Follow a session: where λ is, and whether it can be set."""
        live = snapshot.state in ("running", "paused")
        fades = METHODS[session.config.method.name].fades
        can_override = live and fades and session.has_base
        # Read now, because the snapshot is older than what the person may just have done.
        override = session.lambda_override if live else None
        self.slider.disabled = not can_override
        self.button.disabled = self.fresh.disabled = not can_override or override is None
        if not fades:
            self.text.value = "this method has no λ"
        elif live:
            self.text.value = (
                "the base is gone: nothing to hold" if not session.has_base
                else _SCHEDULE if override is None else _HAND
            )  # fmt: skip
        else:
            self.text.value = ""
        lam = snapshot.rows[-1].get("lam") if snapshot.rows else None
        lam = lam if override is None else override
        if lam is not None and abs(lam - self.slider.value) > 0.006:
            self._own = threading.get_ident()
            self.slider.value = round(lam, 2)
            self._own = None

"""λ in the hand: a slider that follows the schedule until somebody moves it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.result_columns import finite
from pclora_lab.runs.session import Session
from pclora_lab.runs.session_state import SessionState
from pclora_lab.ui.html import button

__all__ = ["LambdaSlider"]

_SCHEDULE, _HAND = "by the schedule", "in your hand"
_NOTHING = "moves while a run trains"


class LambdaSlider:
    """λ in large print, its slider, and what gives it back, for the session that is shown.

    Args:
        session: gives the session, or None.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        slider: λ; moving it takes λ over.
        text: λ and who moves it.
        button: gives λ back.
        fresh: whether the optimizer's moments are cleared then.
        back: button and checkbox, shown while λ is held.
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
            value=1.0, min=0.0, max=1.0, step=0.01,
            readout=False, tooltip="λ by hand: move it to take λ over from the schedule",
            layout=widgets.Layout(width="100%"), disabled=True,
        )  # fmt: skip
        self.button = button(
            "Give back", "hand-paper-o", "let the schedule move λ again",
            lambda: self._show_errors(self.release_lambda), width="110px", disabled=True,
        )  # fmt: skip
        self.fresh = widgets.Checkbox(
            value=False, description="clear moments", indent=False, disabled=True,
            tooltip="when λ is given back: AdamW forgets the gradients it saw at your λ and the "
            "learning rate rises again; try it where λ falls far at once",
            layout=widgets.Layout(width="116px"),
        )  # fmt: skip
        self.text = widgets.HTML()
        self.text.add_class("pclora-hold")
        self.slider.add_class("pclora-lambda")
        self.slider.observe(self._moved, "value")
        self.widget = widgets.VBox([self.text, self.slider])
        self.back = widgets.HBox([self.button, self.fresh])
        self._show_back(False)
        self._say(_NOTHING, None)

    def _say(self, text: str, lam: float | None) -> None:
        """λ in large print, and who moves it."""
        number = "λ" if lam is None else f"λ {lam:.2f}"
        self.text.value = f"<b>{number}</b> <small>{text}</small>"
        self.slider.layout.visibility = "hidden" if lam is None else "visible"

    def _show_back(self, can_give_back: bool) -> None:
        self.button.disabled = self.fresh.disabled = not can_give_back
        self.back.layout.display = "" if can_give_back else "none"

    def override_lambda(self, lam: float) -> None:
        """Take λ over.

        Raises:
            RuntimeError: nothing is going, or there is no base whose λ could be set.
        """
        session = self._session()
        if session is None:
            raise RuntimeError("nothing to hold: press Train first")
        session.override_lambda(round(lam, 4))
        self._show_back(True)
        self._say(_HAND, lam)

    def move_by(self, change: float) -> None:
        """Move λ as if a person had moved the slider; nothing where nobody can.

        Args:
            change: of λ.
        """
        if not self.slider.disabled:
            self.slider.value = min(max(round(self.slider.value + change, 2), 0.0), 1.0)

    def release_lambda(self) -> None:
        """Give λ back to the schedule."""
        session = self._session()
        if session is not None:
            session.release_lambda(reset_moments=self.fresh.value)
        self._show_back(False)
        self._say(_SCHEDULE, self.slider.value)

    @property
    def hand(self) -> tuple[float | None, bool]:
        """λ where a person holds it, and whether it can be taken."""
        session = self._session()
        can_be_set = not self.slider.disabled
        return session.lambda_override if session and can_be_set else None, can_be_set

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
        self._show_back(can_override and override is not None)
        lam = snapshot.rows[-1].get("lam") if snapshot.rows else None
        lam = lam if override is None else override
        self._say(self._who(fades, live, session.has_base, override), lam if fades else None)
        if lam is not None and abs(lam - self.slider.value) > 0.006:
            self._own = threading.get_ident()
            self.slider.value = round(lam, 2)
            self._own = None

    def show_past(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """λ at the end of a run that was opened; nobody can move it."""
        lam = finite(rows[-1].get("lam")) if rows else None
        self.slider.disabled = True
        self._show_back(False)
        self._say("where the run ended" if lam is not None else "no λ", lam)
        if lam is not None:
            self._own = threading.get_ident()
            self.slider.value = round(lam, 2)
            self._own = None

    @staticmethod
    def _who(fades: bool, live: bool, has_base: bool, override: float | None) -> str:
        """Who moves λ, or why nobody does."""
        if not fades:
            return "this method has no λ"
        if not has_base:
            return "the base is gone"
        if not live:
            return "where the run ended"
        return _SCHEDULE if override is None else _HAND

"""The keys of a lab: Space pauses, arrows step through time, brackets move λ.

Which keys there are and when they count is in ``ui/widgets/page_keys.js``.
"""

from pclora_lab.ui.monitor.shown_run import ShownRun

__all__ = ["Shortcuts"]

_LAMBDA_STEP = 0.05
_FAR = 10  # notches of the timeline with Shift


class Shortcuts:
    """Does what a key asks for.

    Args:
        shown: the run that is shown.
    """

    def __init__(self, shown: ShownRun) -> None:
        self._shown = shown

    def __call__(self, key: str, shift: bool) -> None:
        """A key was pressed; what can't be done now is left alone.

        Args:
            key: as the browser names it.
            shift: whether Shift was held.
        """
        notches = _FAR if shift else 1
        if key == " ":
            self._pause()
        elif key in ("ArrowLeft", "ArrowRight"):
            self._shown.views.timeline.move_by(notches if key == "ArrowRight" else -notches)
        elif key in ("[", "]"):
            self._shown.lambda_slider.move_by(_LAMBDA_STEP if key == "]" else -_LAMBDA_STEP)

    def _pause(self) -> None:
        """Only a run that is going: a key must not begin one."""
        if self._shown.active.is_going:
            self._shown.show_errors(self._shown.pause_or_resume)

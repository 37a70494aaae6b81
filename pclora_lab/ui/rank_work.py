"""What the panel of ranks and the list of ranks share: what is chosen, and work in a thread."""

import html
import threading
from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as widgets
from torch import nn

from pclora_lab.accounting import ModelCounts, Plan
from pclora_lab.config import RunConfig

__all__ = ["Chosen", "Worker", "button", "error_text", "live_text"]


@dataclass(frozen=True, eq=False)
class Chosen:
    """A config, the model it is for, and the sizes that it gives."""

    counts: ModelCounts
    model: nn.Module
    config: RunConfig
    plan: Plan

    def gives_the_same(self, other: "Chosen | None") -> bool:
        """Whether another choice is of the same model and the same sizes."""
        return other is not None and other.model is self.model and other.plan == self.plan


class Worker:
    """One piece of work at a time, in a thread of its own, and none while a run is going.

    Args:
        busy: whether a run is going.
        on_change: called when work begins and when it has ended.

    Attributes:
        message: where errors are shown.

    Example:
        >>> worker, done = Worker(lambda: False, lambda: None), []
        >>> worker.start(lambda: done.append("measured"))
        >>> worker.wait()
        >>> done
        ['measured']
    """

    def __init__(self, busy: Callable[[], bool], on_change: Callable[[], None]) -> None:
        self.busy, self.on_change = busy, on_change
        self.message = live_text()
        self._thread: threading.Thread | None = None

    @property
    def working(self) -> bool:
        """Whether something is being done."""
        return self._thread is not None

    def require_rest(self, what: str) -> None:
        """Refuse to begin where something else is going on.

        Raises:
            RuntimeError: a run is going, or other work; says what to do.
        """
        if self.working:
            raise RuntimeError("something is being measured or loaded: wait until it is done")
        if self.busy():
            raise RuntimeError(
                f"a run is going: nothing is {what} meanwhile, as both would be slower. Wait for "
                "it, or press Stop"
            )

    def start(self, work: Callable[[], None]) -> None:
        """Do it in the background; an error is shown in :attr:`message`."""

        def run() -> None:
            try:
                self.guarded(work)
            finally:
                self._thread = None
                self.on_change()

        self._thread = threading.Thread(target=run, daemon=True)
        self.on_change()
        self._thread.start()

    def wait(self, seconds: float = 60) -> None:
        """Until the work has ended, for scripts and tests."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def guarded(self, action: Callable[[], None]) -> None:
        """An exception in a callback or a thread would vanish: show it instead."""
        self.message.value = ""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - shown to the person who clicked
            self.message.value = error_text(error)


def live_text() -> widgets.HTML:
    """An empty text that fits beside the form."""
    return widgets.HTML(layout=widgets.Layout(max_width="610px"))


def error_text(error: BaseException) -> str:
    """An error as text that can't be taken for markup."""
    words = html.escape(str(error) or type(error).__name__)
    style = "color:var(--jp-error-color1, #b00020);line-height:1.35;font-size:12px"
    return f'<div role="alert" style="{style}">{words}</div>'


def button(
    name: str, icon: str, hint: str, action: Callable[[], None], width: str = "154px"
) -> widgets.Button:
    """A button that does something."""
    made = widgets.Button(
        description=name, icon=icon, tooltip=hint, layout=widgets.Layout(width=width)
    )
    made.on_click(lambda _: action())
    return made

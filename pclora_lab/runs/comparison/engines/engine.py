"""What an engine does for a comparison: it runs functions in processes of its own, and no more.

Each engine's own way of handing over one function is used, not joblib's ``Parallel``: that hands
over a list, and ends all of it when one worker dies, while here a single cell is sent again.
"""

from collections.abc import Callable
from typing import Any, Protocol

from pclora_lab.runs.comparison.workers import Needs

__all__ = ["Engine"]


class Engine(Protocol):
    """Processes that somebody else starts and looks after."""

    def run(self, worker: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in another process and wait for what it returns.

        Args:
            worker: which one, from 0; each has one call at a time.
            function: that can be imported there.
            arguments: of the call.

        Raises:
            Exception: what the function raised, or what became of the process.
        """

    def room(self, needs: Needs) -> int:
        """How many workers there can be, as far as the engine knows now.

        Raises:
            ValueError: none.
        """

    def interrupt(self) -> None:
        """End what runs at once, in good order; does nothing where that can't be done."""

    def close(self) -> None:
        """End what runs, whatever becomes of it, and let the engine go."""

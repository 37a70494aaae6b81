"""What is logged inside transformers' trainer is whole before anybody is told."""

import functools
from collections.abc import Callable
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

__all__ = ["complete_rows_first"]


def complete_rows_first() -> None:
    """Let callbacks that have a ``complete_row`` add to a row before any callback sees it.

    The trainer puts the callbacks of ``report_to`` before those that a script passes, so what these
    add in their own ``on_log`` would reach no tracker. Calling it again changes nothing.
    """
    if not hasattr(CallbackHandler.on_log, "completes_rows"):
        CallbackHandler.on_log = _completing(CallbackHandler.on_log)


def _completing(on_log: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(on_log)
    def completed(
        self: CallbackHandler,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> Any:
        for callback in self.callbacks:
            if (complete := getattr(callback, "complete_row", None)) is not None:
                complete(state, logs)
        return on_log(self, args, state, control, logs, **kwargs)

    vars(completed)["completes_rows"] = True
    return completed

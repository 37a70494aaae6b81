"""What moves λ: the schedule, as long as no hand overrides it."""

from typing import Any

from torch import nn

from pclora_lab.methods.base import Method
from pclora_lab.training.config import RunConfig
from pclora_lab.training.lambda_override import LambdaOverride

__all__ = ["LambdaDriver"]


class LambdaDriver:
    """Moves a student along with the step number.

    Args:
        method: bound to its options.
        student: what it trains.
        config: of the run.
        override: λ in a person's hand; None takes the config's overrides.

    Attributes:
        progress: share of the training that is done, in [0, 1].
        facts: what the method said about the student at this step, for the history.
        in_force: λ that a hand holds at this step, or None.
    """

    def __init__(
        self,
        method: Method,
        student: nn.Module,
        config: RunConfig,
        override: LambdaOverride | None = None,
    ) -> None:
        self.method, self.student, self.steps = method, student, config.steps
        self.override = override if override is not None else LambdaOverride(config.overrides)
        self.progress = 0.0
        self.facts: dict[str, Any] = {}
        self.in_force: float | None = None

    def set_step(self, step: int) -> None:
        """Tell the method how far the training is; a hand on λ has the last word until the end."""
        self.progress, is_over = step / self.steps, step >= self.steps
        lam = self.override.at(step) if self.method.fades and not is_over else None
        if lam is None:
            self.facts = self.method.set_progress(self.student, self.progress)
        else:
            self.facts = self.method.override_lambda(self.student, lam)
        if not is_over:
            in_force = lam is not None and self.facts.get("lam") == lam
            self.in_force = lam if in_force else None

    @property
    def base_dropped(self) -> bool:
        """Whether there was a base to fade, and it is gone."""
        return self.method.fades and self.method.without_base(self.student) is None

    def take_facts(self) -> dict[str, Any]:
        """For a row of the history: the method's facts, and what a hand did since the last row."""
        if not self.method.fades:
            return self.facts
        overrides = self.override.take()
        told = {"overrides": overrides} if overrides else {}
        return {**self.facts, "base_held": not self.base_dropped, **told}

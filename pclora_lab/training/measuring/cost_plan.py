"""What the parts of a run cost, counted before the first step, for whoever tells the time left.

The unit is a forward pass of one example through the dense model. A step is three of them, as a
backward pass costs about two; a teacher that is asked at each step is one more.
"""

from pclora_lab.methods.base import Method
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseCost
from pclora_lab.training.measuring_plan import (
    ACCURACY_SHARE,
    LAYERS_SHARE,
    PASSES_OF_A_STEP,
    lambda_of,
)
from pclora_lab.training.setup import RunSetup

__all__ = ["first_step_without_base", "planned_phases"]

# Attention, norms and activations stay when weights go. Steps without the base take 0.55 to 0.64 of
# those with it (ViT-S, DeiT-Tiny, the built-in model on a CPU): a third of a pass is theirs.
_NO_WEIGHTS = 1 / 3


def first_step_without_base(config: RunConfig) -> int:
    """Steps that a run makes with its base; all of them where λ never reaches 0.

    Example:
        >>> from pclora_lab import PCLoRAConfig
        >>> first_step_without_base(RunConfig(steps=300, method=PCLoRAConfig(fade_end=0.6)))
        180
    """
    lam = lambda_of(config)
    if lam is None:
        return config.steps
    gone = (step for step in range(config.steps) if lam(step / config.steps) == 0)
    return next(gone, config.steps)


def planned_phases(setup: RunSetup) -> tuple[PhaseCost, ...]:
    """The parts of a run in order, each with its cost; parts that it has not are left out."""
    config, method = setup.config, setup.method
    phases = []
    if setup.needs_teacher:
        passes = PASSES_OF_A_STEP * config.teacher_steps * config.batch_size
        phases.append(PhaseCost("teacher", config.teacher_steps, (1 + ACCURACY_SHARE) * passes))
    if method.trains:
        phases += _training(setup)
    final = len(setup.batches[config.report_on])
    return (*phases, PhaseCost("test", 0, final * (1 + _small_share(setup))))


def _training(setup: RunSetup) -> list[PhaseCost]:
    """With the base and without it."""
    config = setup.config
    asks_teacher = type(setup.method).loss_terms is not Method.loss_terms
    first = first_step_without_base(config) if setup.method.fades else 0
    parts = (("fade", first, 1.0), ("after", config.steps - first, _small_share(setup)))
    measuring = 1 + ACCURACY_SHARE + LAYERS_SHARE
    return [
        PhaseCost(
            name if setup.method.fades else "fade",
            steps,
            measuring * steps * config.batch_size * (PASSES_OF_A_STEP * share + asks_teacher),
        )
        for name, steps, share in parts
        if steps
    ]


def _small_share(setup: RunSetup) -> float:
    """Time of a pass of what is left, as a share of a dense one."""
    sizes = setup.planned.whole_model
    return _NO_WEIGHTS + (1 - _NO_WEIGHTS) * sizes.macs_after / sizes.macs_before

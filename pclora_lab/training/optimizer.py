"""One optimizer loop for teacher and student: AdamW, warm-up + cosine, clipping, all finite."""

import math
import time
from collections.abc import Callable, Container, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.feeding.ahead import fed
from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.layers.finite import first_not_finite
from pclora_lab.nn.runtime.recompute import recomputed
from pclora_lab.nn.surgery import transformer_blocks
from pclora_lab.training.config import RunConfig
from pclora_lab.training.parallel.ranks import ALONE, Ranks
from pclora_lab.training.parallel.shards import steps_of
from pclora_lab.training.parallel.weighting import Units
from pclora_lab.training.precision import LossScaler

__all__ = ["LossDiverged", "Meter", "learning_rate", "make_optimizer", "optimization_steps"]

_BAD_STEPS = "bad_step"


class LossDiverged(RuntimeError):
    """Loss, gradient or weights became NaN or infinite; says at which step and what to try."""


class Meter:
    """Sums of loss terms on the device; read only when a row is due, so a GPU never waits.

    Args:
        device: of the terms.
        setting: the learning rate as ``name=value``, for the message of an error.

    Example:
        >>> meter = Meter(torch.device("cpu"), "lr=0.1")
        >>> meter.add(0, {"loss": torch.tensor(2.0)})
        >>> later = Meter(torch.device("cpu"), "lr=0.1")
        >>> later.load_state_dict(meter.state_dict())
        >>> later.add(1, {"loss": torch.tensor(4.0)})
        >>> later.means()
        {'loss': 3.0}
    """

    def __init__(self, device: torch.device, setting: str) -> None:
        self.setting = setting
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.timed, self.seconds = 0, 0.0
        # The first with a loss, and with a gradient, that is not finite. Each step makes a new one,
        # so that a checkpoint may share it.
        self.bad_steps = torch.full((2,), -1, dtype=torch.long, device=device)

    def add(self, step: int, terms: dict[str, Tensor], norm: Tensor | None = None) -> None:
        """Count the terms of a step; its gradient's norm comes along where it is known."""
        loss = terms["loss"].detach().float()
        found = torch.stack([loss, loss if norm is None else norm.detach().to(loss)])
        is_first = ~found.isfinite() & (self.bad_steps < 0)
        self.bad_steps = torch.where(is_first, step, self.bad_steps)
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Of each term since the last call.

        Raises:
            LossDiverged: a loss or a gradient was not finite.
        """
        in_loss, in_gradient = self.bad_steps.tolist()
        if 0 <= in_loss and (in_gradient < 0 or in_loss <= in_gradient):
            raise self.diverged(f"the loss was not finite at step {in_loss}")
        if in_gradient >= 0:
            raise self.diverged(f"the gradient was not finite at step {in_gradient}")
        # A term may be there for a part of the steps only.
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def check_weights(self, model: nn.Module, step: int) -> None:
        """After the last step, which no loss comes after.

        Raises:
            LossDiverged: a weight is not finite; names it.
        """
        name = first_not_finite(model.named_parameters())
        if name is not None:
            raise self.diverged(f"{name} was not finite after step {step}, the last one")

    def diverged(self, what: str) -> LossDiverged:
        """The error that says what was not finite, and what to try."""
        return LossDiverged(
            f"{what}. Try a smaller learning rate than {self.setting} (a third of it), a longer "
            'warm-up, a smaller grad_clip, or precision="float32". What was logged before is in '
            "the run folder."
        )

    def time(self, seconds: float) -> None:
        """Count the seconds of a step."""
        self.seconds += seconds
        self.timed += 1

    def reset_time(self) -> float | None:
        """Milliseconds per step since the last call; None if no step was timed."""
        each = 1000 * self.seconds / self.timed if self.timed else None
        self.timed, self.seconds = 0, 0.0
        return each

    def state_dict(self) -> dict[str, Tensor]:
        """Sum and count of each term, on the CPU; times are left out."""
        sums = {
            name: torch.tensor([float(total), self.counts[name]], dtype=torch.float64, device="cpu")
            for name, total in self.sums.items()
        }
        return {**sums, _BAD_STEPS: self.bad_steps.cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state_dict`."""
        device = self.bad_steps.device
        for name, value in state.items():
            if name == _BAD_STEPS:
                self.bad_steps = value.to(device)
            else:
                self.sums[name] = value[0].float().to(device)
                self.counts[name] = int(value[1])


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over ``warmup·steps``, then half a cosine down to zero.

    Example:
        >>> [round(learning_rate(s, 100, 1.0, 0.1), 2) for s in (0, 9, 55, 100)]
        [0.1, 1.0, 0.5, 0.0]
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def rise_again(step: int, taken: int, steps: int, warmup: float) -> float:
    """Share of the learning rate while the moments are young again; 1 if they never were cleared.

    Args:
        step: of the training.
        taken: since the moments were cleared.
        steps: of the whole training.
        warmup: share of them in which the rate rises.

    Example:
        >>> rise_again(40, 40, 100, 0.04), rise_again(60, 0, 100, 0.04)
        (1.0, 0.25)
    """
    rising = max(1, round(warmup * steps))
    return 1.0 if taken == step else min(1.0, (taken + 1) / rising)


def _steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """As AdamW counts them, so that a checkpoint knows; it keeps the number on the CPU."""
    counts = (state["step"] for state in optimizer.state.values() if "step" in state)
    return max(map(int, counts), default=0)


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over what is trained; the learning rate is set at every step."""
    return torch.optim.AdamW(_parameter_groups(model, weight_decay))


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and C do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def optimization_steps(
    model: nn.Module,
    loss_terms: Callable[[Inputs, Tensor], dict[str, Tensor]],
    batches: Batches,
    config: RunConfig,
    accelerator: Accelerator,
    *,
    steps: int,
    peak_lr: float,
    logged: Container[int],
    generator: torch.Generator,
    before_step: Callable[[int], bool | None] = lambda step: None,
    after_backward: Callable[[], None] = lambda: None,
    lr_name: str = "lr",
    optimizer: torch.optim.Optimizer | None = None,
    meter: Meter | None = None,
    scaler: LossScaler | None = None,
    first: int = 0,
    ranks: Ranks = ALONE,
    units: Units | None = None,
) -> Iterator[dict[str, float | None] | None]:
    """Take optimizer steps; yields after each one.

    Args:
        model: its trainable parameters are optimized.
        loss_terms: inputs and labels to named terms; ``loss`` is the one that is minimized.
        batches: training data.
        config: batch size, decay, clipping, what is kept for the backward pass.
        accelerator: device and precision.
        steps: how many.
        peak_lr: learning rate after the warm-up.
        logged: numbers of the steps after which means are told, from 1 on; the last always is one.
        generator: draws the batches; its seed also draws dropout.
        before_step: called with the step number before the step is taken; True clears the
            optimizer's moments and lets the learning rate rise again as in the warm-up.
        after_backward: called when the gradients are there and not yet clipped; not at a step that
            float16 leaves out.
        lr_name: what the setting behind ``peak_lr`` is called, for the message of an error.
        optimizer: from :func:`make_optimizer`, with its moments if the training is taken up.
        meter: what was summed up since the last logged step, in a training that is taken up.
        scaler: of the loss in float16, likewise.
        first: steps that are done already; their batches are drawn and left out.
        ranks: of the processes that take these steps together.
        units: what the task's loss is a mean over; see :meth:`pclora_lab.tasks.Task.units`.

    Yields:
        None, or after a logged step the mean of each term since the last one, with ``lr`` and
        ``step_ms`` (time per step without whatever the caller does in between).

    Raises:
        LossDiverged: at the first logged step after a loss or a gradient that is not finite, or
            after the last step if a weight is not.
    """
    optimizer = optimizer or make_optimizer(model, config.weight_decay)
    device = accelerator.device
    meter = meter or Meter(device, f"{lr_name}={peak_lr:g}")
    scaler = scaler or LossScaler(accelerator)
    taking = steps_of(batches, ranks, units)
    taking.begin(model)
    indices = islice(batches.shuffled(config.batch_size, generator), first, steps)
    draws, taken = _draws(model), _steps_taken(optimizer) + scaler.skipped
    model.train()
    blocks = transformer_blocks(model) if config.recompute else []
    with closing(fed(taking.batches, indices, device)) as feed:
        for step in range(first, steps):
            began = time.perf_counter()
            if before_step(step):
                optimizer.state.clear()
                taken = scaler.skipped = 0
            lr = learning_rate(step, steps, peak_lr, config.warmup)
            lr *= rise_again(step, taken, steps, config.warmup)
            for group in optimizer.param_groups:
                group["lr"] = lr
            inputs, labels = next(feed)
            taking.weigh(labels)
            randomness = _own_randomness(draws, taking.seed(generator.initial_seed(), step / steps))
            with accelerator.autocast(), randomness, recomputed(blocks), taking.forward():
                terms = loss_terms(inputs, labels)
            is_usable = scaler.backward(taking.loss(terms), optimizer, taking.add_up)
            # Or the whole step's graph stays until the next one has a graph of its own.
            terms = taking.logged(terms)
            norm = None
            if is_usable:
                after_backward()
                norm = accelerator.clip_grad_norm_(
                    [p for g in optimizer.param_groups for p in g["params"]], config.grad_clip
                )
                optimizer.step()
            taken += 1
            optimizer.zero_grad(set_to_none=True)
            meter.add(step, terms, norm)
            is_logged = step + 1 in logged or step + 1 == steps
            if scaler.is_exhausted:
                raise meter.diverged(f"the gradient was beyond float16 at step {step}")
            means = meter.means() if is_logged else None
            if step + 1 == steps:
                meter.check_weights(model, step)
            if step > first:  # the first one also sets up kernels and the optimizer's state
                meter.time(time.perf_counter() - began)
            yield None if means is None else {**means, "lr": lr, "step_ms": meter.reset_time()}


def _draws(model: nn.Module) -> bool:
    """Whether a forward pass in training draws random numbers."""
    dropouts = (getattr(m, "p", None) or getattr(m, "drop_prob", None) for m in model.modules())
    return any(isinstance(p, float) and p > 0 for p in dropouts)


@contextmanager
def _own_randomness(draws: bool, seed: int) -> Iterator[None]:
    """torch's global generators as the seed asks, then the caller's again; only if it draws."""
    if not draws:
        yield
        return
    with generators_kept():  # seeding the CPU's seeds every GPU's too
        torch.manual_seed(seed % 2**63)
        yield

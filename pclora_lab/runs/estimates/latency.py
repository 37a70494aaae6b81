"""How long a forward pass takes before and after compression, measured here and now.

Speed depends on the machine as much as on the sizes, so it is tried, with random weights.
"""

import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pclora_lab.models.recipes import model_recipe
from pclora_lab.nn.forward import Inputs, call_model
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.latency import timed_ms
from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.surgery import as_linear, deepcopy_sharing, replace_modules

__all__ = ["LatencyEstimate", "latency_estimate"]

_LEAST_TURNS = 3


_MOST_KEPT = 64


@dataclass(frozen=True)
class LatencyEstimate:
    """How long a forward pass takes, dense and compressed, in alternating turns.

    Attributes:
        dense_ms: median over the turns.
        small_ms: of the compressed model.
        dense_spread_ms: from the first to the third quartile of the turns.
        small_spread_ms: of the compressed model.
        speed_up: dense over compressed, the median of the turns' own ratios.
        turns: how many there were.
        batch_size: examples in one pass.
        device: where it was measured.
        threads: that torch computes with on the CPU.
        seconds: that the turns took.
    """

    dense_ms: float
    small_ms: float
    dense_spread_ms: float
    small_spread_ms: float
    speed_up: float
    turns: int
    batch_size: int
    device: str
    threads: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        threads = f", threads: {self.threads}" if self.device == "cpu" else ""
        return (
            f"{self.dense_ms:.2f} → {self.small_ms:.2f} ms, {self.speed_up:.2f} times as fast "
            f"(median of {self.turns} turns, spread {self.dense_spread_ms:.2f} and "
            f"{self.small_spread_ms:.2f} ms; batch size {self.batch_size}, {self.device}{threads})"
        )


_measured: dict[tuple[Any, ...], LatencyEstimate] = {}


# Two measurements at a time would measure each other.
_timing_lock = threading.Lock()


def latency_estimate(
    model: nn.Module,
    ranks: Mapping[str, int],
    *,
    batch_size: int = 1,
    turns: int = 30,
    seconds: float = 4.0,
    device: str = "cpu",
) -> LatencyEstimate:
    """Measure what low ranks gain on this machine, with random weights of the real sizes.

    Dense and compressed model take turns, so that a machine that slows down slows both. Nothing is
    downloaded. Call it while no training runs: both would be slower. An answer is kept and given
    again for the same model, ranks, batch size, device and number of threads.

    Args:
        model: loaded or described by name (it may have no storage); it is only read.
        ranks: by layer name, as :func:`pclora_lab.nn.counting.resolve_ranks` gives them.
        batch_size: examples in one pass.
        turns: passes of each model, if there is time for them.
        seconds: after this time no further turn begins (at least 3 are made).
        device: where to measure.

    Raises:
        ValueError: a model that was not loaded by name, no ranks, or a number out of its range.
    """
    if not ranks:
        raise ValueError("no ranks are given: a model that is not compressed is not faster")
    for name, value in (("batch_size", batch_size), ("turns", turns)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least 1")
    recipe = json.dumps(model_recipe(model), sort_keys=True, default=str)
    sizes = tuple(sorted(ranks.items()))
    key = (recipe, sizes, batch_size, turns, seconds, device, torch.get_num_threads())
    with _timing_lock:
        if key not in _measured:
            found = _measure(model, ranks, batch_size, turns, seconds, device)
            while len(_measured) >= _MOST_KEPT:
                _measured.pop(next(iter(_measured)))
            _measured[key] = found
        return _measured[key]


def _measure(
    model: nn.Module,
    ranks: Mapping[str, int],
    batch_size: int,
    turns: int,
    seconds: float,
    device: str,
) -> LatencyEstimate:
    # Here, because all kinds of export come with it.
    from pclora_lab.models.recipes import dense_twin
    from pclora_lab.nn.forward import as_inputs, try_inputs

    # Fresh weights are drawn from torch's one generator; whoever else uses it must not notice.
    with generators_kept():
        dense = dense_twin(model)
        small = _compressed(dense, ranks)
    inputs = as_inputs(try_inputs(dense, batch_size))
    target = torch.device(device)
    dense, small = dense.to(target), small.to(target).eval()
    inputs = _to(inputs, target)
    times, took = _take_turns((dense, small), inputs, turns, seconds)
    middle = [statistics.median(column) for column in times]
    return LatencyEstimate(
        dense_ms=middle[0],
        small_ms=middle[1],
        dense_spread_ms=_spread(times[0]),
        small_spread_ms=_spread(times[1]),
        speed_up=statistics.median(d / s for d, s in zip(*times, strict=True)),
        turns=len(times[0]),
        batch_size=batch_size,
        device=device,
        threads=torch.get_num_threads(),
        seconds=took,
    )


def _to(inputs: Inputs, device: torch.device) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: value.to(device) for name, value in inputs.items()}
    return inputs.to(device)


def _compressed(dense: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """The same model with low-rank layers of random weights; all else is shared."""
    layers: dict[str, nn.Module] = {}
    for name, rank in ranks.items():
        layer = as_linear(dense.get_submodule(name))
        small: LowRankEmbedding | LowRankLinear
        if isinstance(layer, nn.Embedding):
            small = LowRankEmbedding(layer.num_embeddings, layer.embedding_dim, rank)
        else:
            small = LowRankLinear(layer.in_features, layer.out_features, rank)
        nn.init.normal_(small.B, std=0.02)
        layers[name] = small
    return replace_modules(deepcopy_sharing(dense, dense.parameters()), layers)


def _take_turns(
    models: Sequence[nn.Module], inputs: Inputs, turns: int, seconds: float
) -> tuple[list[list[float]], float]:
    """Milliseconds of every pass by model, and how many seconds all of them took."""
    times: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for model in models:
            _pass_ms(model, inputs)  # to warm up
        began = time.perf_counter()
        for turn in range(turns):
            if turn >= _LEAST_TURNS and time.perf_counter() - began > seconds:
                break
            # Who is first changes: the second finds warmer caches.
            for i in (0, 1) if turn % 2 else (1, 0):
                times[i].append(_pass_ms(models[i], inputs))
    return times, time.perf_counter() - began


def _pass_ms(model: nn.Module, inputs: Inputs) -> float:
    return timed_ms(lambda: call_model(model, inputs), next(model.parameters()).device)


def _spread(times: Sequence[float]) -> float:
    if len(times) < 2:
        return 0.0
    first, _, third = statistics.quantiles(times, n=4, method="inclusive")
    return third - first

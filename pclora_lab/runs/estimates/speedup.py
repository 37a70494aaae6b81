"""How much faster would the small model be? A finished run of the same size on this machine tells.

A measurement of a model that is not trained is in :mod:`pclora_lab.runs.estimates.latency`.
"""

from pathlib import Path

from pclora_lab.runs.durable.places import whole_model
from pclora_lab.runs.estimates.finished import FinishedRun, finished_runs
from pclora_lab.runs.result_columns import finite
from pclora_lab.training.config import RunConfig

__all__ = ["expected_speedup"]

_ARCHITECTURE = ("img_size", "max_tokens", "split_qkv", "device")


def expected_speedup(runs: Path | str, config: RunConfig, params: int) -> float | None:
    """Latency of the dense model by that of the compressed one, as the newest such run measured.

    Args:
        runs: folder of runs.
        config: the run that one thinks of.
        params: of the whole model that it would leave.

    Returns:
        None where no run of this model and size has been finished on this machine.

    Example:
        >>> expected_speedup("no_runs_yet", RunConfig(), 57_514) is None
        True
    """
    newest = None
    for run in finished_runs(runs):
        if run.is_here and run.numbers["params_after"] == params and _is_like(run, config):
            newest = _times(run) or newest
    return newest


def _is_like(run: FinishedRun, config: RunConfig) -> bool:
    same_kind = run.config.method.name == config.method.name
    # The same folder may have been named from another one.
    same_kind &= whole_model(run.config.model) == whole_model(config.model)
    pairs = ((getattr(run.config, name), getattr(config, name)) for name in _ARCHITECTURE)
    return same_kind and all(one == other for one, other in pairs)


def _times(run: FinishedRun) -> float | None:
    before = finite(run.numbers.get("latency_ms_before"))
    after = finite(run.numbers.get("latency_ms_after"))
    return before / after if before and after else None

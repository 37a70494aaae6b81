"""The table of a comparison: all in one call, and means and spreads over seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pclora_lab.runs import result_columns
from pclora_lab.runs.comparison.comparison import Comparison
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare", "ranking_of", "summarize"]


def compare(base: RunConfig | None = None, *, bar: bool = False, **grid: Any) -> "pd.DataFrame":
    """Run a comparison to its end and return one tidy table.

    Args:
        base: model, data, steps and machine of every run.
        bar: show a progress bar with the time left on stderr.
        grid: see :class:`Comparison`.

    Returns:
        A row per method, budget and seed: the metrics on the test split, parameters, bytes on disk,
        MACs, latency, seconds, peak memory, and the reason where a run failed.
    """
    import pandas as pd
    from tqdm import tqdm

    comparison = Comparison(base, **grid)
    with tqdm(disable=not bar, unit="step", dynamic_ncols=True) as shown:
        for step in comparison.run():
            shown.total = step.total
            shown.set_description(step.text, refresh=False)
            shown.update(step.done - shown.n)
    return pd.DataFrame(comparison.rows())


def summarize(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Mean and standard deviation over seeds, per method and budget; failed runs are left out.

    The metric that ranks runs is in ``<metric>_mean`` and ``<metric>_std``.

    Example:
        >>> facts = {"method": "svd", "budget": 0.1, "params_before": 10, "params_after": 2}
        >>> rows = [{**facts, "seed": s, "accuracy": a} for s, a in ((0, 0.4), (1, 0.6))]
        >>> float(summarize(rows).loc[0, "accuracy_mean"])
        0.5
    """
    import pandas as pd

    key, frame = ranking_of(rows).key, pd.DataFrame(rows)
    frame = frame[frame[key].notna()]
    others = [
        c
        for c in result_columns.compared_keys(_task_of(rows).metrics)
        if c in frame and pd.api.types.is_numeric_dtype(frame[c])
    ]
    others = [c for c in others if c != key]
    groups = frame.groupby(["method", "budget"], sort=False)
    spread = {f"{key}_mean": "mean", f"{key}_std": "std", "seeds": "count"}
    table = groups[key].agg(**spread)
    return table.join(groups[others].mean()).reset_index()


def ranking_of(rows: Sequence[Mapping[str, Any]]) -> TaskMetric:
    """The metric that the rows of a comparison are ranked by.

    Raises:
        ValueError: their task is not installed here.

    Example:
        >>> ranking_of([{"accuracy": 0.9}]).title
        'top-1 accuracy (%)'
    """
    return _task_of(rows).ranking


def _task_of(rows: Sequence[Mapping[str, Any]]) -> Task:
    names = (row.get("task") for row in rows)
    return named_task(next((name for name in names if isinstance(name, str)), None))

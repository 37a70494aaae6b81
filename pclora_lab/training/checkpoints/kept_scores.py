"""The scores of a kept teacher on a whole split, read once and kept beside its weights."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pclora_lab.json_files import read_json, write_json
from pclora_lab.remarks import remark
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.training.identity.record import Identity
from pclora_lab.wording import explained

__all__ = ["kept_scores"]


def kept_scores(
    folder: Path,
    identity: Identity,
    split: str,
    metrics: Sequence[TaskMetric],
    measure: Callable[[], dict[str, float]],
) -> dict[str, float]:
    """Read them from the teacher's folder, or measure them and write them down there.

    They are believed only if the teacher's weights, the data and the preprocessing are the same; a
    file that can't be read or written costs a measurement and nothing else.

    Args:
        folder: of the kept teacher.
        identity: what the run is made from; knows the teacher's hash.
        split: that they are read on.
        metrics: of the task.
        measure: what reads the split.
    """
    path = folder / f"{metrics[0].key}_{split}.json"
    made_from = {
        "teacher": identity.teacher,
        "data": identity.data,
        "preprocessing": identity.preprocessing,
        "split": split,
    }
    if (known := _read(path, made_from, metrics)) is not None:
        return known
    measured = measure()
    if identity.teacher and (folder / "model.safetensors").is_file():
        try:
            write_json(path, {**made_from, **measured})
        except OSError as error:
            label = metrics[0].label
            remark(f"the teacher's {label} can't be kept ({explained(error)}): it is read again")
    return measured


def _read(
    path: Path, made_from: dict[str, str], metrics: Sequence[TaskMetric]
) -> dict[str, float] | None:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    if values is None or not made_from["teacher"]:
        return None
    known = {metric.key: values.pop(metric.key, None) for metric in metrics}
    is_whole = all(_is_possible(known[metric.key], metric) for metric in metrics)
    return known if is_whole and values == made_from else None


def _is_possible(value: object, metric: TaskMetric) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return metric.low <= value <= metric.high

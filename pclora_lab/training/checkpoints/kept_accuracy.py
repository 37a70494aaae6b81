"""The accuracy of a kept teacher on a whole split, read once and kept beside its weights."""

from collections.abc import Callable
from pathlib import Path

from pclora_lab.json_files import read_json, write_json
from pclora_lab.remarks import remark
from pclora_lab.training.identity.record import Identity
from pclora_lab.wording import explained

__all__ = ["kept_accuracy"]


def kept_accuracy(
    folder: Path, identity: Identity, split: str, measure: Callable[[], float]
) -> float:
    """Read it from the teacher's folder, or measure it and write it down there.

    It is believed only if the teacher's weights, the data and the preprocessing are the same; a
    file that can't be read or written costs a measurement and nothing else.

    Args:
        folder: of the kept teacher.
        identity: what the run is made from; knows the teacher's hash.
        split: whose accuracy it is.
        measure: what reads the split.
    """
    path = folder / f"accuracy_{split}.json"
    made_from = {
        "teacher": identity.teacher,
        "data": identity.data,
        "preprocessing": identity.preprocessing,
        "split": split,
    }
    if (known := _read(path, made_from)) is not None:
        return known
    measured = measure()
    if identity.teacher and (folder / "model.safetensors").is_file():
        try:
            write_json(path, {**made_from, "accuracy": measured})
        except OSError as error:
            remark(f"the teacher's accuracy can't be kept ({explained(error)}): it is read again")
    return measured


def _read(path: Path, made_from: dict[str, str]) -> float | None:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    if values is None or not made_from["teacher"]:
        return None
    known = values.pop("accuracy", None)
    if values != made_from or isinstance(known, bool) or not isinstance(known, int | float):
        return None
    return known if 0 <= known <= 1 else None

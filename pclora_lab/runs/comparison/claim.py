"""A comparison's folder belongs to one configuration: what stands in ``comparison.json``."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pclora_lab.data.splits import hash_of_texts, short_name
from pclora_lab.fields import Part, present_names, values_of
from pclora_lab.json_files import read_json, write_json
from pclora_lab.locks import FolderLock
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.remarks import remark
from pclora_lab.runs.durable.places import whole_data, whole_model
from pclora_lab.runs.durable.stored import read_comparison
from pclora_lab.runs.folder import is_being_written
from pclora_lab.training.config import RunConfig

__all__ = ["claim_folder", "has_begun", "pin"]

_LONGEST_WAIT_SECONDS = 10.0


def claim_folder(
    folder: Path,
    base: RunConfig,
    configs: Mapping[str, MethodConfig],
    lrs: Sequence[float] | None,
) -> dict[str, Any]:
    """Write down what a comparison compares; a later one adds its methods.

    Args:
        folder: of the comparison; made where it is missing.
        base: the configuration of every run.
        configs: of each method.
        lrs: the only learning rates to try, or None.

    Returns:
        What every run keeps to since the comparison began: the ``precision`` that ``auto`` stood
        for, and the ``task`` that was guessed, None where none was.

    Raises:
        ValueError: the folder holds results of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(folder):
        return _claim(folder, base, configs, lrs)


def pin(folder: Path, **settings: str) -> None:
    """Write down what every run of a comparison keeps to from now on."""
    with _one_at_a_time(folder):
        known = _known(folder)
        if known is not None:
            write_json(folder / "comparison.json", {**known, "base": {**known["base"], **settings}})


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Two comparisons must not write down what they compare at once."""
    lock = FolderLock(folder, ".claim.lock")
    until = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not lock.acquire():
        if time.monotonic() > until:
            raise RuntimeError(f"{folder} is being claimed by {lock.holder}: try again")
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def _claim(
    folder: Path,
    base: RunConfig,
    configs: Mapping[str, MethodConfig],
    lrs: Sequence[float] | None,
) -> dict[str, Any]:
    axes = values_of(base, Part.AXIS)
    facts = _nameless({k: v for k, v in _plain(base.to_dict()).items() if k not in axes})
    facts["lrs"] = list(lrs) if lrs else None
    methods = {name: config.to_dict() for name, config in configs.items()}
    path = folder / "comparison.json"
    known = _known(folder)
    if known is not None:
        # One that is not installed here stays as it is written.
        known_methods = {
            name: present_names(METHODS[name].Config, config) if name in METHODS else config
            for name, config in known["methods"].items()
        }
        together = {**known_methods, **methods}
        if base.precision == "auto":
            facts["precision"] = known["base"].get("precision", "auto")
        if base.task is None and has_begun(folder):
            facts["task"] = known["base"].get("task")
        different = _different_settings(facts, _settled(present_names(RunConfig, known["base"])))
        different += _different_methods(together, known_methods)
        # Where nothing has come out yet there is nothing to mix, only a mistake to mend.
        if different and has_begun(folder):
            raise ValueError(
                f"{folder} holds a comparison with another configuration (it differs in "
                f"{', '.join(different)}): choose another folder"
            )
        methods = methods if different else together
    write_json(path, {"base": facts, "methods": methods})
    return {"precision": str(facts["precision"]), "task": facts["task"]}


def _known(folder: Path) -> dict[str, Any] | None:
    """What an earlier comparison wrote down."""
    try:
        return read_comparison(folder)
    except ValueError as error:
        if has_begun(folder) or _is_foreign(folder):
            raise ValueError(
                f"{folder} can't be gone on with, as what it compares can't be told: {error}. "
                "Choose another folder, or put the file back"
            ) from error
        remark(f"{folder / 'comparison.json'} can't be used: {error}. It is written again")
        return None


def _is_foreign(folder: Path) -> bool:
    """Whether the file is somebody's: of another kind, but whole."""
    try:
        is_whole = read_json(folder / "comparison.json") is not None
    except ValueError:
        is_whole = False
    return is_whole or not (folder / "comparison.json").is_file()


def _settled(base: Mapping[str, Any]) -> dict[str, Any]:
    """As this version writes them: an older one kept relative paths."""
    whole = {"model": whole_model, "data": whole_data}
    return _nameless(
        {k: whole[k](v) if k in whole and isinstance(v, str) else v for k, v in base.items()}
    )


def _nameless(base: Mapping[str, Any]) -> dict[str, Any]:
    """Places on this machine as a name and a hash: enough to tell one from another."""
    places = {name: base[name] for name in ("model", "data") if isinstance(base.get(name), str)}
    return {**base, **{name: _nameless_place(place) for name, place in places.items()}}


def _nameless_place(place: str) -> str:
    short = short_name(place)
    return place if short == place else f"{short} #{hash_of_texts(place)}"


def has_begun(folder: Path) -> bool:
    """Whether a comparison in the folder has a result, or a run that goes on."""
    cells = [cell for cell in folder.glob("cells/*") if cell.is_dir()]
    return any((c / "result.json").is_file() or is_being_written(c) for c in cells)


def _different_settings(facts: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    # What an older version did not know was as it is by default now.
    usual = _plain(RunConfig().to_dict())
    return [key for key in facts if known.get(key, usual.get(key)) != facts[key]]


def _different_methods(
    methods: Mapping[str, dict[str, Any]], known: Mapping[str, dict[str, Any]]
) -> list[str]:
    return [
        name
        for name, config in known.items()
        if name in METHODS
        and _plain(methods[name]) != {**_plain(METHODS[name].Config().to_dict()), **config}
    ]


def _plain(value: Any) -> Any:
    """As it would come back from JSON."""
    return json.loads(json.dumps(value))

"""A run's configuration as a file: ``config.json``, of this version or an older one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pclora_lab.fields import present_names
from pclora_lab.files import read_json, write_json
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import CONFIG_FORMAT, RunConfig

__all__ = ["read_config", "upgrade_config", "write_config"]


def upgrade_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as an older version wrote it, under the names that its keys have now.

    Nothing is checked: what a person or a newer version wrote stays as it is.

    Example:
        >>> upgrade_config({"moves": [], "method": {"name": "svd", "spend": "energy"}})
        {'overrides': [], 'method': {'name': 'svd', 'rank_allocation': 'energy'}}
    """
    values = present_names(RunConfig, values)
    if values.get("version") in range(1, CONFIG_FORMAT + 1):
        del values["version"]
    method = values.get("method")
    if isinstance(method, Mapping) and method.get("name", "pclora") in METHODS:
        values["method"] = present_names(METHODS[method.get("name", "pclora")].Config, method)
    return values


def write_config(path: Path, config: RunConfig) -> None:
    """Write a config file, with the version of its format."""
    write_json(path, {"version": CONFIG_FORMAT, **config.to_dict()})


def read_config(path: Path | str) -> RunConfig:
    """Read a config file, such as the ``config.json`` of a run, or that of a run's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it can't be read; names the file, the key and its place.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        values = read_json(path)
        if values is None:
            raise FileNotFoundError(f"there is no config file {path}: give one, or a run's folder")
        return RunConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

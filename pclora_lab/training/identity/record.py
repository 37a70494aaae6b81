"""What a run is made from, as hashes: whoever takes it up later can tell what is not the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from pclora_lab.fields import Part, values_of
from pclora_lab.training.config import RunConfig, upgrade_config
from pclora_lab.training.identity.description import changed_values, keys_of_one

__all__ = ["LIBRARIES", "Identity", "RunChanged", "determining_settings", "differences"]
__all__ += ["refuse_changes"]

# Their hashes say more than their names, and files may have been moved.
_HASHED = ("model", "data")

LIBRARIES = ("timm", "transformers", "tokenizers")
"""Whose versions describe one architecture or preprocessing by other keys."""

# An older version kept "auto" among the settings, and what it stood for beside the versions.
_FORMER_PRECISIONS = {"no": "float32", "bf16": "bfloat16"}

_PARTS = {
    "data": "the data (examples, labels or classes)",
    "preprocessing": "the preprocessing (image size, mean, crop, or the tokenizer's files)",
    "weights": "the model's weights",
    "architecture": "the model's architecture",
    "teacher": "the weights of the fine-tuned teacher",
}


@dataclass(frozen=True)
class Identity:
    """What determines a run's numbers.

    Attributes:
        data: hash of every example and label.
        preprocessing: of what turns an example into the model's input.
        weights: of the dense model, before any fine-tuning.
        architecture: of how it is built.
        teacher: of the weights that a fine-tuning gave it; empty without one.
        settings: of the run, but for those that change no result.
        environment: versions and device; others give other last digits.
        notes: what was not the same each time that the run was taken up.
        descriptions: of architecture and preprocessing, what the hash is of, by name; empty in
            what an older version wrote.
        teacher_key: under which the teacher is kept; empty without one.
    """

    data: str
    preprocessing: str
    weights: str
    architecture: str
    teacher: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    descriptions: Mapping[str, Any] = field(default_factory=dict)
    teacher_key: str = ""

    @property
    def precision(self) -> str | None:
        """What the run computed in; an older version kept it in another place."""
        before = _FORMER_PRECISIONS.get(self.environment.get("precision", ""))
        asked = self.settings.get("precision")
        return before if asked in (None, "auto") else str(asked)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; what a newer version added is left out.

        Raises:
            TypeError: something is missing, or is of another type.
        """
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        kinds: dict[str, type] = dict.fromkeys(("settings", "environment", "descriptions"), dict)
        kinds["notes"] = list
        for name, value in known.items():
            if not isinstance(value, kinds.get(name, str)):
                raise TypeError(f"{name} is {value!r}")
        return cls(**{**known, "notes": tuple(map(str, known.get("notes", ())))})


def differences(before: Identity, now: Identity) -> tuple[list[str], list[str]]:
    """What is not as it was: what gives other numbers, and what is only worth a remark.

    Example:
        >>> from dataclasses import replace
        >>> made = Identity("d", "p", "w", "a", settings={"steps": 3}, environment={"torch": "2"})
        >>> differences(made, replace(made, data="e", settings={"steps": 4}))
        (['the data (examples, labels or classes)', 'steps (3, now 4)'], [])
        >>> differences(made, replace(made, environment={"torch": "3"}))
        ([], ['torch 2, now 3'])

    A library's other version may describe the same by other keys:

        >>> older = replace(made, descriptions={"architecture": {"layers": 2}})
        >>> newer = replace(made, architecture="b", descriptions={
        ...     "architecture": {"layers": 2, "new": None}}, environment={"transformers": "6"})
        >>> differences(older, newer)
        ([], [])
    """
    remarks = [
        f"{name} {value}, now {now.environment[name]}"
        for name, value in before.environment.items()
        if now.environment.get(name, value) != value
    ]
    has_teachers = bool(before.teacher and now.teacher)
    parts = []
    for name, words in _PARTS.items():
        is_compared = has_teachers or name != "teacher"
        if is_compared and getattr(before, name) != getattr(now, name):
            parts += _changed_part(name, words, before, now)
    was = before.settings
    if before.precision is not None:
        was = {**was, "precision": before.precision}
    parts += _changed_settings(was, now.settings)
    return parts, remarks


def _changed_part(name: str, words: str, before: Identity, now: Identity) -> list[str]:
    """Nothing, if only the keys are others that a library's version describes it by."""
    was, is_now = before.descriptions.get(name), now.descriptions.get(name)
    if not isinstance(was, dict) or not isinstance(is_now, dict):
        return [words]
    changed = changed_values(was, is_now)
    both = before.environment, now.environment
    if not any(both[0].get(library) != both[1].get(library) for library in LIBRARIES):
        changed += keys_of_one(was, is_now)
    short = words.partition(" (")[0]
    return [f"{short}: {', '.join(changed)}"] if changed else []


def determining_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that reach a result, as they come back from JSON."""
    # What is read is known by its hash, whatever the settings that led to it.
    left = {*values_of(config, Part.OBSERVES, Part.DATA), *_HASHED}
    values = {name: value for name, value in config.to_dict().items() if name not in left}
    return dict(json.loads(json.dumps(values)))


def _changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    was, is_now = _flat(upgrade_config(before)), _flat(now)
    usual = _flat(determining_settings(RunConfig()))
    changed = []
    for name, value in is_now.items():
        # What an older version did not know was as it is by default now.
        old = was.get(name, usual.get(name, value))
        if old != value:
            changed.append(f"{name} ({old!r}, now {value!r})")
    return changed


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in settings.items() if name != "method"}
    method = settings.get("method")
    if isinstance(method, Mapping):
        flat |= {f"method.{name}": value for name, value in method.items()}
    return flat


class RunChanged(ValueError):
    """A run is to be taken up, and what it is made from is not what it was.

    Args:
        changed: what is not, one text for each.

    Attributes:
        changed: as given.
    """

    def __init__(self, changed: Sequence[str]) -> None:
        self.changed = tuple(changed)
        super().__init__(
            f"the run can't be taken up: {', '.join(changed)} changed since it began. Put back "
            "what it was and resume again, start a new run, or go on with what is there now by "
            "allow_changes=True (--allow-changes); the result then says so"
        )


def refuse_changes(changed: Sequence[str]) -> None:
    """Say what is not as it was when the run began.

    Raises:
        RunChanged: anything is.
    """
    if changed:
        raise RunChanged(changed)

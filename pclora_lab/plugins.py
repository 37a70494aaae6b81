"""What other packages add, found by their entry points: methods, schedules, export formats.

A package that says ``[project.entry-points."pclora_lab.methods"]`` in its ``pyproject.toml`` adds a
method by being installed. It is imported when somebody first asks for more than what is built in.
What can't be used stays out and is kept as a :class:`PluginProblem`; the rest works.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

__all__ = ["PluginError", "PluginProblem", "Registry", "require_class", "require_defined"]

# Names stand in flags, in comma-separated lists and in folder names.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

T = TypeVar("T")


class PluginError(ValueError):
    """What an entry point loaded can't be used.

    Args:
        reason: what is wrong with it.
        cure: a sentence that says what to do.
    """

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}. {cure}")
        self.reason, self.cure = reason, cure


@dataclass(frozen=True)
class PluginProblem:
    """An entry point that can't be used.

    Attributes:
        package: the installed distribution that declares it.
        group: the entry-point group, such as ``pclora_lab.methods``.
        name: the entry point's name.
        value: what it points to, ``module:attribute``.
        reason: why it can't be used.
        cure: what to do.
    """

    package: str
    group: str
    name: str
    value: str
    reason: str
    cure: str

    def __str__(self) -> str:
        where = f"{self.name} = {self.value} in {self.group}"
        return f"package {self.package} ({where}) is left out: {self.reason}. {self.cure}"


def require_class(loaded: object, base: type[T], kind: str, example: str) -> type[T]:
    """What an entry point gave, if it is a class of the kind.

    Args:
        loaded: what the entry point points to.
        base: what it must be a subclass of.
        kind: of the plugin, such as ``method``; the base is public in the room of that name.
        example: of a class, for the cure.

    Raises:
        PluginError: it is something else.
    """
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise PluginError(
            f"{loaded!r} is no subclass of pclora_lab.{kind}s.{base.__name__}",
            f"Let the entry point name the {kind}'s class, such as package.module:{example}",
        )
    return loaded


def require_defined(
    name: str, loaded: type, base: type, verbs: Sequence[str], words: Sequence[str] = ()
) -> None:
    """Refuse a class that leaves out what it must have, or is called otherwise.

    Args:
        name: of the entry point; the class must bear the same.
        loaded: the class.
        base: whose verbs are not to be taken as they are.
        verbs: that the class must define.
        words: attributes that must not be empty.

    Raises:
        PluginError: what is missing, and what to add.
    """
    missing = [verb for verb in verbs if getattr(loaded, verb) is getattr(base, verb)]
    missing += [word for word in words if not getattr(loaded, word, None)]
    if missing:
        raise PluginError(
            f"{loaded.__name__} lacks {', '.join(missing)}",
            "Define what the base class leaves open",
        )
    if (own := getattr(loaded, "name", None)) != name:
        raise PluginError(
            f"{loaded.__name__}.name is {own!r}, the entry point's name is {name!r}",
            "Give both the same name",
        )


class Registry(Mapping[str, T], Generic[T]):
    """What is built in and what other packages add, by name.

    A name that is built in is found without importing anybody's package.

    Args:
        group: the entry-point group.
        noun: what an error calls one entry.
        built_in: this package's own entries; their names can't be taken.
        check: returns the entry for what an entry point loaded, given its name, or raises
            :class:`PluginError`.

    Attributes:
        group: the entry-point group.

    Example:
        >>> shapes = Registry("example.shapes", "shape", {"line": abs})
        >>> list(shapes), shapes.problems
        (['line'], ())
        >>> shapes.require("ring")
        Traceback (most recent call last):
        ValueError: unknown shape 'ring': use one of line
    """

    def __init__(
        self,
        group: str,
        noun: str,
        built_in: Mapping[str, T],
        check: Callable[[str, object], T] | None = None,
    ) -> None:
        self.group, self._noun, self._check = group, noun, check
        self._entries, self._built_in = dict(built_in), frozenset(built_in)
        self._problems: list[PluginProblem] = []
        self._lock, self._is_loaded = threading.RLock(), False

    @property
    def added(self) -> tuple[str, ...]:
        """Names that come from other packages."""
        return tuple(name for name in self if name not in self._built_in)

    @property
    def problems(self) -> tuple[PluginProblem, ...]:
        """Entry points that can't be used, each with its package, a reason and a cure."""
        self._load()
        return tuple(self._problems)

    def require(self, name: object) -> T:
        """The entry of a name.

        Raises:
            ValueError: unknown; lists those there are, or says why it was left out.
        """
        if name in self:
            return self[str(name)]
        left_out = next((str(p) for p in self.problems if p.name == name), None)
        raise ValueError(
            f"unknown {self._noun} {name!r}: {left_out or 'use one of ' + ', '.join(self)}"
        )

    def __getitem__(self, name: str) -> T:
        if name not in self._built_in:
            self._load()
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        # A JSON file may hold anything where a name should stand.
        if not isinstance(name, str):
            return False
        if name not in self._built_in:
            self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Registry({self.group!r}: {', '.join(self)})"

    def _load(self) -> None:
        with self._lock:
            if self._is_loaded:
                return
            # First, so that a package that looks in here while it is imported sees what is there.
            self._is_loaded = True
            for entry in sorted(entry_points(group=self.group), key=_order):
                self._add(entry)

    def _add(self, entry: EntryPoint) -> None:
        try:
            self._check_name(entry.name)
            loaded = entry.load()
            self._entries[entry.name] = self._check(entry.name, loaded) if self._check else loaded
        except PluginError as error:
            self._leave_out(entry, error.reason, error.cure)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's package
            reason = f"importing it fails with {type(error).__name__}: {error}"
            self._leave_out(entry, reason, f"Update or uninstall {_package(entry)}")

    def _check_name(self, name: str) -> None:
        if name in self._entries:
            whose = "this package" if name in self._built_in else "another package"
            raise PluginError(
                f"{whose} has a {self._noun} of that name", "Give the entry point another name"
            )
        if not _NAME.fullmatch(name):
            raise PluginError(
                f"{name!r} can't be the name of a {self._noun}",
                "Use letters, digits, - and _, with a letter first",
            )

    def _leave_out(self, entry: EntryPoint, reason: str, cure: str) -> None:
        parts = (_package(entry), self.group, entry.name, entry.value, reason, cure)
        self._problems.append(PluginProblem(*parts))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "(unknown)"


def _order(entry: EntryPoint) -> tuple[str, str]:
    # The same whatever order the folders of sys.path have, so that the same one keeps a name.
    return _package(entry).lower(), entry.name

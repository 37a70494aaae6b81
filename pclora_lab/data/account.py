"""What was found, what is used, what was left out and why: numbers that have to add up."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pclora_lab.wording import brief, listed

__all__ = [
    "Account",
    "AccountError",
    "DataError",
    "LeftOut",
    "Ledger",
    "Tally",
    "account_lines",
    "exceeds",
    "round_up",
]

_LONGEST_MESSAGE = 1000


class DataError(ValueError):
    """Data that can't be what was meant; names what was found, the reason and the cure.

    A value that is shown may be a cell of a million characters: its middle is left out.

    Attributes:
        task: name of the task that the data seem to be for, None where they show none.
    """

    def __init__(self, message: str, task: str | None = None) -> None:
        super().__init__(brief(message, _LONGEST_MESSAGE))
        self.task = task


class AccountError(RuntimeError):
    """Numbers that do not add up: a mistake of this package, never of the data."""


@dataclass(frozen=True)
class LeftOut:
    """What was left out for one reason.

    Attributes:
        reason: as it reads behind a number: ``12 without a label``.
        count: how many.
        first: where the first of them stands.
    """

    reason: str
    count: int
    first: str = ""

    def __str__(self) -> str:
        where = f" ({self.first}{' first' if self.count > 1 else ''})" if self.first else ""
        return f"{self.count:,} {self.reason}{where}"


@dataclass(frozen=True)
class Tally:
    """Things of one kind: ``found = used + left out``.

    Raises:
        AccountError: it is not so.

    Example:
        >>> print(Tally(400, 398, (LeftOut("without a label", 2, "row 17"),)))
        400 found, 398 used, 2 left out: 2 without a label (row 17 first)
    """

    found: int
    used: int
    left_out: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        counts = (self.found, self.used, *(part.count for part in self.left_out))
        if self.found != self.used + self.lost or min(counts) < 0:
            raise AccountError(
                f"{self.found} found are not {self.used} used + {self.lost} left out"
            )

    @property
    def lost(self) -> int:
        """How many were left out."""
        return sum(part.count for part in self.left_out)

    def __str__(self) -> str:
        line = f"{self.found:,} found, {self.used:,} used"
        reasons = "; ".join(map(str, self.left_out))
        return f"{line}, {self.lost:,} left out: {reasons}" if reasons else line


@dataclass(frozen=True)
class Account:
    """Files, columns and rows of a data set; a picture in a folder is a row.

    Attributes:
        files: none for what comes with the package, from the hub or from memory.
        columns: of tables.
        rows: labeled examples of all splits.
    """

    files: Tally
    columns: Tally
    rows: Tally

    def lines(self) -> list[str]:
        """One line for each kind of things that there are."""
        kinds = (("files", self.files), ("columns", self.columns), ("rows", self.rows))
        return [f"{name}: {tally}" for name, tally in kinds if tally.found]

    def __str__(self) -> str:
        return " · ".join(reversed(self.lines()))

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as they come back from JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def account_lines(stored: Mapping[str, Any] | None) -> list[str]:
    """The lines of an account as :meth:`Account.to_dict` stored it; none where there is none.

    Example:
        >>> account_lines(Account(Tally(0, 0), Tally(0, 0), Tally(9, 9)).to_dict())
        ['rows: 9 found, 9 used']
    """
    try:
        tallies = {kind: _tally(values) for kind, values in (stored or {}).items()}
        return Account(**tallies).lines() if tallies else []
    # A file that was edited by hand.
    except (AccountError, KeyError, TypeError, AttributeError):
        return []


def _tally(values: Mapping[str, Any]) -> Tally:
    left = tuple(LeftOut(**part) for part in values["left_out"])
    return Tally(values["found"], values["used"], left)


class Ledger:
    """Counts while data are read; :meth:`close` makes the account.

    Attributes:
        notes: what was made up or joined while reading, for people to know.
        has_columns: False for a folder of pictures or texts.
        place: the folder, or the folders, that paths in a table must not lead out of; None where
            the paths are not a table's own.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.has_columns = True
        self.place: Path | tuple[Path, ...] | None = None
        self._files = 0
        self._left_files: list[LeftOut] = []
        self._columns = Tally(0, 0)
        self._found: dict[str, int] = {}
        self._lost: dict[str, list[tuple[LeftOut, bool]]] = {}

    def find_files(self, count: int) -> None:
        """So many files were seen."""
        self._files += count

    def leave_files(self, reason: str, names: list[str]) -> None:
        """They hold nothing that can be used."""
        if names:
            self._left_files.append(LeftOut(reason, len(names), names[0]))

    def find_rows(self, split: str, count: int) -> None:
        """So many rows were found for a split."""
        self._found[split] = self._found.get(split, 0) + count

    def leave_rows(
        self, split: str, reason: str, count: int, first: str = "", *, is_excused: bool = False
    ) -> None:
        """They are not used.

        Args:
            split: whose they are.
            reason: see :class:`LeftOut`.
            count: how many.
            first: where the first of them stands.
            is_excused: whether :meth:`check` passes over the split.
        """
        if count:
            self._lost.setdefault(split, []).append((LeftOut(reason, count, first), is_excused))

    def use_columns(self, names: list[str], used: list[str]) -> None:
        """The columns of a table, and those that become examples and labels."""
        if not self.has_columns:
            return
        unused = [name for name in names if name not in used]
        left = (LeftOut("not asked for", len(unused), listed(unused)),) if unused else ()
        self._columns = Tally(len(names), len(names) - len(unused), left)

    def check(self, name: str, allowed: float, hint: str = "") -> None:
        """Refuse data of which too much is lost.

        Args:
            name: of the data.
            allowed: share of the rows of a split that may be left out.
            hint: what else may be the cause.

        Raises:
            DataError: names the split, the reasons and the argument that allows it.
        """
        total = sum(self._found.values())
        for split, found in self._found.items():
            parts = self._lost.get(split, [])
            # A split without labels is no loss, whatever else is the matter with it.
            reasons = [] if any(excused for _, excused in parts) else [part for part, _ in parts]
            lost = sum(part.count for part in reasons)
            # What is in none of the splits is a part of the whole.
            whole, of = (total, "rows") if lost == found else (found, f"rows of {split}")
            if exceeds(lost, whole, allowed):
                raise DataError(
                    f"data {name!r}: {lost:,} of {whole:,} {of} would be left out, more than "
                    f"{allowed:.1%}: {'; '.join(map(str, reasons))}{hint}. Repair the data, or "
                    f"allow it with max_left_out={round_up(lost / whole)}"
                )

    def close(self, used: Mapping[str, int]) -> Account:
        """The account.

        Args:
            used: rows of every split that become examples.

        Raises:
            AccountError: a row was neither used nor left out, or both.
        """
        for split, found in self._found.items():
            lost = sum(part.count for part, _ in self._lost.get(split, []))
            if found != used.get(split, 0) + lost:
                raise AccountError(
                    f"{split}: {found} rows found are not {used.get(split, 0)} used + {lost} left "
                    "out"
                )
        rows = Tally(sum(self._found.values()), sum(used.values()), self._left_rows())
        left = tuple(self._left_files)
        files = Tally(self._files, self._files - sum(part.count for part in left), left)
        return Account(files, self._columns, rows)

    def _left_rows(self) -> tuple[LeftOut, ...]:
        is_one = len(self._found) == 1
        return tuple(
            part if is_one else LeftOut(f"{part.reason}, of {split}", part.count, part.first)
            for split, parts in self._lost.items()
            for part, _ in parts
        )


def exceeds(part: int, whole: int, allowed: float) -> bool:
    """Whether a part is more than the allowed share of a whole.

    The other way round, ``part > allowed * whole``, 29 of 100 would be more than 0.29.

    Example:
        >>> exceeds(29, 100, 0.29), exceeds(30, 100, 0.29), exceeds(0, 0, 0.0)
        (False, True, False)
    """
    return part > 0 and part / whole > allowed


def round_up(share: float) -> float:
    """A share in whole percents that is not below this one.

    Example:
        >>> round_up(0.0712)
        0.08
    """
    percents = math.ceil(share * 100)
    return (percents - (share <= (percents - 1) / 100)) / 100

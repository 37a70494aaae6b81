"""Tables whose rows have other targets than one class, as three splits; one reader per kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import datasets
import numpy as np

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.columns import Columns
from pclora_lab.data.dividing import take_rows, three_splits
from pclora_lab.data.loading import EMBEDDED_DATA
from pclora_lab.data.overlap import leave_shared_rows
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.rows import content_rows
from pclora_lab.data.sources import read_tables, source_name
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.fields import check_number
from pclora_lab.wording import listed

__all__ = ["Rows", "TargetReader", "label_columns", "read_targets"]


@dataclass(frozen=True)
class Rows:
    """The targets of a table's rows.

    Attributes:
        targets: one for each row; of one that is left out, anything.
        faults: why rows are left out, with which they are, ``(rows,)``.
        examples: what the targets belong to, where the content columns do not say it alone.
    """

    targets: np.ndarray | Sequence[np.ndarray]
    faults: Mapping[str, np.ndarray] = field(default_factory=dict)
    examples: Sequence[Any] | None = None


class TargetReader:
    """How one kind of targets is found in a table.

    Attributes:
        kind: as :attr:`LabeledData.targets` has it.
        task: that learns them.
        drawn: name of the data that come with the package for it.
    """

    kind: ClassVar[str]
    task: ClassVar[str]
    drawn: ClassVar[str]

    def draw(self) -> LabeledData:
        """Those data."""
        raise NotImplementedError

    def find(
        self,
        table: datasets.Dataset,
        given: Mapping[str, str | None],
        pair: Sequence[str] | None,
        data: str,
    ) -> tuple[Columns, tuple[str, ...]]:
        """Which columns hold examples, and which their targets.

        Args:
            table: what is trained on.
            given: names by kind (``image``, ``text``, ``label``); None is guessed.
            pair: names of two text columns.
            data: the data set's name, for errors.

        Raises:
            DataError: a given column is not there, or none can be guessed.
        """
        raise NotImplementedError

    def names(self, table: datasets.Dataset, labels: tuple[str, ...], data: str) -> tuple[str, ...]:
        """What the targets are of, in their order.

        Raises:
            DataError: the columns hold something else.
        """
        raise NotImplementedError

    def rows(
        self,
        table: datasets.Dataset,
        columns: Columns,
        labels: tuple[str, ...],
        names: tuple[str, ...],
    ) -> Rows:
        """The targets of every row of a table."""
        raise NotImplementedError

    def check(self, train: Split, names: tuple[str, ...], data: str) -> None:
        """Refuse training rows that nothing can be learned from.

        Raises:
            DataError: says why.
        """


def read_targets(
    reader: TargetReader,
    data: Any,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    max_left_out: float = 0.01,
    max_overlap: float = 0.01,
) -> LabeledData:
    """Read data with targets of one kind; the arguments are :func:`pclora_lab.load_data`'s.

    Raises:
        DataError: nothing to read, no such column, or more rows left out than allowed, each with
            its reason.
        ConnectionError: the hub can't be reached.
    """
    for argument, share in (("max_left_out", max_left_out), ("max_overlap", max_overlap)):
        check_number(argument, share, 0, 1)
    name = source_name(data)
    if name == reader.drawn:
        return reader.draw()
    if name in EMBEDDED_DATA:
        raise DataError(
            f"{name} has no {reader.kind} for its examples, which {reader.task} learns: choose "
            f"{reader.drawn} or other data, or another task"
        )
    ledger = Ledger()
    tables = {key: table for key, table in read_tables(data, ledger).items() if len(table)}
    if not tables:
        ledger.check(name, 0)
        raise DataError(f"data {name!r} has no rows")
    order = sorted(tables, key=lambda key: _role(key, tables) != "train")
    first = tables[order[0]]
    given = {"image": image_column, "text": text_column, "label": label_column}
    columns, labels = reader.find(first, given, text_columns, name)
    ledger.use_columns(first.column_names, [*columns.content, *labels])
    names = reader.names(first, labels, name)
    splits = {
        key: _split(reader, tables[key], columns, labels, names, key, ledger)
        for key in order
        if not _is_left(tables, key, labels, ledger)
    }
    ledger.check(name, max_left_out, f"; its columns are {listed(first.column_names)}")
    leave_shared_rows(splits, name, max_overlap, ledger)
    account = ledger.close({key: len(split) for key, split in splits.items()})
    three = three_splits(name, _by_role(splits, name), ledger.notes)
    reader.check(three["train"], names, name)
    return LabeledData(
        name, columns.kind, three["train"], three["validation"], three["test"],
        class_names=names, notes=tuple(ledger.notes), account=account, content=columns.content,
        targets=reader.kind,
    )  # fmt: skip


def _role(key: str, tables: Mapping[str, datasets.Dataset]) -> str | None:
    return "train" if len(tables) == 1 else split_named(key)


def _by_role(splits: Mapping[str, Split], data: str) -> dict[str, Split]:
    """Train, validation and test; a single one may have any name."""
    if len(splits) == 1:
        return dict(splits)
    made: dict[str, Split] = {}
    for key, split in splits.items():
        role = str(split_named(key))
        if role in made:
            raise DataError(f"data {data!r} has more than one split {role}: join them")
        made[role] = split
    return made


def _is_left(
    tables: Mapping[str, datasets.Dataset], key: str, labels: tuple[str, ...], ledger: Ledger
) -> bool:
    """Whether a table is of no use as a whole; the ledger is told."""
    table = tables[key]
    missing = [label for label in labels if label not in table.column_names]
    if missing and len(tables) > 1:
        ledger.notes.append(f"the split {key} has no {listed(missing)} and is left out")
        ledger.leave_rows(key, "in a split without targets", len(table), is_excused=True)
        return True
    if _role(key, tables) is None:
        reason = "in a split that is none of train, validation and test"
        ledger.leave_rows(key, reason, len(table))
        return True
    return False


def _split(
    reader: TargetReader,
    table: datasets.Dataset,
    columns: Columns,
    labels: tuple[str, ...],
    names: tuple[str, ...],
    key: str,
    ledger: Ledger,
) -> Split:
    """The rows that have an example and its targets."""
    found = reader.rows(table, columns, labels, names)
    if found.examples is None:
        examples, is_kept = content_rows(table, columns, key, ledger)
    else:
        examples, is_kept = found.examples, np.ones(len(table), dtype=bool)
    for reason, is_faulty in found.faults.items():
        is_left = is_kept & is_faulty
        if is_left.any():
            first = f"row {int(is_left.argmax())}, column {labels[0]!r}"
            ledger.leave_rows(key, reason, int(is_left.sum()), first)
        is_kept = is_kept & ~is_left
    whole = Split(examples, np.zeros(len(table), dtype=np.int64), targets=found.targets)
    return take_rows(whole, np.flatnonzero(is_kept))


def label_columns(table: datasets.Dataset, given: str, data: str) -> tuple[str, ...]:
    """The columns that a setting names: one, or several with commas between.

    Raises:
        DataError: one of them is not there.
    """
    have = table.column_names
    names = (given,) if given in have else tuple(part.strip() for part in given.split(","))
    missing = [name for name in names if name not in have]
    if missing or len(set(names)) < len(names):
        wrong = missing[0] if missing else next(n for n in names if names.count(n) > 1)
        what = "no column" if missing else "given twice:"
        raise DataError(
            f"data {data!r}: {what} {wrong!r}; its columns are {listed(have)}; name one as "
            "label_column, or several with commas between"
        )
    return names

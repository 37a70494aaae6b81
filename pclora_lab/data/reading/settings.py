"""How a data set is read: its columns, and how much of it may be lost."""

from dataclasses import dataclass

from pclora_lab.fields import Part, check_names, option, parse_names

__all__ = ["ReadingSettings"]


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """The arguments of :func:`pclora_lab.load_data` beside the name, as settings of a run.

    Attributes:
        image_column: name of the image column; None guesses.
        text_column: name of the text column; None guesses.
        text_columns: names of two text columns, for pairs of texts; None guesses.
        label_column: name of the label column; None guesses.
        max_left_out: largest share of a split's rows that may be left out.
        max_overlap: largest share of the test rows that may stand among the training rows; these
            are left out of the training rows.
    """

    image_column: str | None = option(
        None, "text", "image column", "name of the image column (none: guessed)",
        optional=True, hidden=True, parts=(Part.DATA,),
    )  # fmt: skip
    text_column: str | None = option(
        None, "text", "text column", "name of the text column (none: guessed)",
        optional=True, hidden=True, parts=(Part.DATA,),
    )  # fmt: skip
    text_columns: tuple[str, str] | None = option(
        None, "text", "text columns", "names of two text columns: premise,hypothesis",
        optional=True, hidden=True, parts=(Part.DATA,), since=2,
        check=check_names, parse=parse_names,
    )  # fmt: skip
    label_column: str | None = option(
        None, "text", "label column", "name of the label column (none: guessed)",
        optional=True, hidden=True, parts=(Part.DATA,),
    )  # fmt: skip
    max_left_out: float = option(
        0.01, "number", "left out", "largest share of a split's rows that may be left out",
        low=0, high=1, hidden=True, parts=(Part.DATA,), since=2,
    )  # fmt: skip
    max_overlap: float = option(
        0.01, "number", "overlap", "largest share of the test rows that training rows may repeat",
        low=0, high=1, hidden=True, parts=(Part.DATA,), since=2,
    )  # fmt: skip

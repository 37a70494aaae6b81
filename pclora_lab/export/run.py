"""Export what a run left: every format asked for, and one card for all of them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import nn

from pclora_lab.export.accuracy import with_accuracies
from pclora_lab.export.formats import FORMATS
from pclora_lab.export.model_card import model_card
from pclora_lab.export.report import ExportReport
from pclora_lab.files import given_path, without_home, write_text
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.ownership import refuse_foreign, with_mark
from pclora_lab.remarks import remark
from pclora_lab.runs.durable.places import without_places
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import explained

__all__ = ["export_run"]


def export_run(
    run: Path | str,
    folder: Path | str,
    formats: Iterable[str] = ("standalone",),
    *,
    force: bool = False,
    missing: Callable[[str, Exception], object] | None = None,
) -> list[ExportReport]:
    """Write a finished run's model in formats that do not need this package, with a model card.

    What can't be written, such as a format whose packages are not installed, keeps nothing else
    from being written.

    Args:
        run: a run folder.
        folder: is made; ``README.md`` in it is the card.
        formats: names in :data:`pclora_lab.export.FORMATS`.
        force: replace files that this package did not write.
        missing: called with the name of a format, or of the card, that can't be written, and the
            reason; None warns.

    Returns:
        What was written.

    Raises:
        FileExistsError: there are such files; nothing is written then.
        ValueError: unknown format, or the run has not finished.
        Exception: of the first format, where none can be written.
    """
    formats, folder = list(formats), given_path(folder, "folder")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(
            f"unknown format {', '.join(unknown) or 'none'}: use some of {', '.join(FORMATS)}"
        )
    loaded = load_run(run)
    if loaded.result is None:
        raise ValueError(f"{run} has not finished: there is no model to export")
    written = [folder / FORMATS[name].file for name in formats]
    _refuse_foreign(folder, dict(zip(formats, written, strict=True)), force)
    model = from_pretrained(Path(run) / "compressed")
    folder.mkdir(parents=True, exist_ok=True)
    missing = missing if missing is not None else _remark
    reports = _write_all(model, dict(zip(formats, written, strict=True)), missing)
    try:
        config = RunConfig.from_dict(loaded.config)
        reports = with_accuracies(reports, model, config)
        card = without_places(
            model_card(loaded.result, config, reports), config.model, config.data, run
        )
        _write_cards(card, [folder, *(Path(report.path) for report in reports)])
    except (OSError, KeyError, TypeError, ValueError) as error:
        missing("model card", error)
    return reports


def _write_cards(card: str, places: Iterable[Path]) -> None:
    """Into every folder, as each may be uploaded by itself.

    Raises:
        OSError: of the first that can't be written; the others are.
    """
    errors = []
    for path in (path for path in places if path.is_dir()):
        try:
            write_text(path / "README.md", with_mark(without_home(card)))
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _write_all(
    model: nn.Module, written: Mapping[str, Path], missing: Callable[[str, Exception], object]
) -> list[ExportReport]:
    """Every format that can be written.

    Raises:
        Exception: of the first format, where none can.
    """
    reports, errors = [], dict[str, Exception]()
    for name, path in written.items():
        try:
            reports.append(FORMATS[name].export(model, path))
        except Exception as error:  # noqa: BLE001 - also another package's format
            errors[name] = error
    if not reports:
        raise next(iter(errors.values()))
    for name, reason in errors.items():
        missing(name, reason)
    return reports


def _remark(what: str, error: Exception) -> None:
    remark(f"{what} can't be written ({type(error).__name__}: {explained(error)})", stacklevel=4)


def _refuse_foreign(folder: Path, written: Mapping[str, Path], force: bool) -> None:
    """Before anything is read, so that nobody waits for it."""
    refuse_foreign([folder / "README.md"], force=force)
    for name, path in written.items():
        if path.is_dir() and not path.is_symlink():
            refuse_foreign([path / "README.md"], force=force)
            if (refuse := FORMATS[name].refuse) is not None:
                refuse(path, force)
        else:
            refuse_foreign([path], force=force)

"""Export what a run left: every format asked for, and one card for all of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pclora_lab.export.formats import FORMATS
from pclora_lab.export.model_card import model_card
from pclora_lab.export.report import ExportReport
from pclora_lab.export.standalone import refuse_other_files
from pclora_lab.files import without_home, write_text
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.ownership import refuse_foreign, with_mark
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig

__all__ = ["export_run"]


def export_run(
    run: Path | str,
    folder: Path | str,
    formats: Iterable[str] = ("standalone",),
    *,
    force: bool = False,
) -> list[ExportReport]:
    """Write a finished run's model in formats that do not need this package, with a model card.

    Args:
        run: a run folder.
        folder: is made; ``README.md`` in it is the card.
        formats: names in :data:`pclora_lab.export.FORMATS`.
        force: replace files that this package did not write.

    Raises:
        FileExistsError: there are such files; nothing is written then.
        ValueError: unknown format, or the run has not finished.
    """
    formats, folder = list(formats), Path(folder)
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
    reports = [FORMATS[n].export(model, path) for n, path in zip(formats, written, strict=True)]
    card = model_card(loaded.result, RunConfig.from_dict(loaded.config), reports)
    for path in (folder, *written):
        if path.is_dir():  # each may be uploaded by itself
            write_text(path / "README.md", with_mark(without_home(card)))
    return reports


def _refuse_foreign(folder: Path, written: Mapping[str, Path], force: bool) -> None:
    """Before anything is read, so that nobody waits for it."""
    refuse_foreign([folder / "README.md"], force=force)
    for name, path in written.items():
        if path.is_dir() and not path.is_symlink():
            refuse_foreign([path / "README.md"], force=force)
            if name == "standalone":
                refuse_other_files(path, force=force)
        else:
            refuse_foreign([path], force=force)

"""Write the report of a run into its folder."""

import html
from pathlib import Path

from pclora_lab.data.cache import DataCache
from pclora_lab.files import without_home, write_text
from pclora_lab.ownership import refuse_foreign, with_mark
from pclora_lab.plots.report.about import about_lines
from pclora_lab.plots.report.bars import bars_html
from pclora_lab.plots.report.chart import chart_html
from pclora_lab.plots.report.examples import Examples, examples_html, read_examples
from pclora_lab.plots.report.facts import Facts, read_facts
from pclora_lab.plots.report.page import code_html, name_html, page_html, section, table_html
from pclora_lab.plots.report.sentences import headline, lead
from pclora_lab.plots.report.settings import changed_settings
from pclora_lab.plots.report.units import si
from pclora_lab.plots.report.usage import loading_code
from pclora_lab.runs.reader import load_run
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.registry import task_of
from pclora_lab.wording import brief, explained

__all__ = ["write_report"]

_MOST_NOTES, _LONGEST_NOTE = 5, 160


def write_report(
    folder: Path | str, *, examples: int = 6, command: str = "", cache: DataCache | None = None
) -> Path:
    """Write ``report.html`` into the folder of a run that is over, however it ended.

    One file without a script or an address of another one. It says what is true of the run: one
    that stopped has no sizes, a method without λ no λ, and predictions are shown where model, data
    and teacher can still be read.

    Args:
        folder: of the run.
        examples: how many predictions are shown; 0 reads neither data nor teacher again.
        command: what repeats the run; "" for ``pclora-lab train`` with its own config.
        cache: data of earlier runs in this process.

    Returns:
        The file.

    Raises:
        ValueError: the run goes on, or ended before it had anything to report.
        FileExistsError: there is another report.html, or one that has been edited.
        OSError: a file can't be read or written.
    """
    run = load_run(folder)
    if run.result is None and (run.status == "running" or not run.rows):
        raise ValueError(f"{run.folder} is {run.status} and has no result to report")
    facts, path = read_facts(run), run.folder / "report.html"
    refuse_foreign([path])
    found, reason = _read_again(facts, examples, cache or DataCache())
    sections = [
        section("Before and after", bars_html(facts)),
        section("", _chart(facts, found)),
        section("What it says about examples", examples_html(found) if found else reason),
        section("Load the finished model", _loading(facts, found)),
        section("Settings that differ from the defaults", _settings(facts)),
        section("About this run", table_html(about_lines(facts, command, found))),
        section("Notes", _notes(facts)),
    ]
    text = page_html(headline(facts), lead(facts), sections)
    write_text(path, with_mark(without_home(text)))
    return path


def _chart(facts: Facts, found: Examples | None) -> str:
    count = found.rows["validation"] if found else None
    return chart_html(facts.run.rows, count, facts.metric)


def _read_again(facts: Facts, count: int, cache: DataCache) -> tuple[Examples | None, str]:
    """Examples, or a reason, HTML, why there are none; neither where none are asked for."""
    if count < 1 or not _has_model(facts):
        return None, ""
    try:
        return read_examples(facts.run, count, cache), ""
    except Exception as error:  # noqa: BLE001 - other people's code opens data and models
        reason = html.escape(brief(facts.public(explained(error)), _LONGEST_NOTE))
        return None, f'<p class="caption">They can\'t be shown any more: {reason}</p>'


def _has_model(facts: Facts) -> bool:
    return facts.run.result is not None and (facts.run.folder / "compressed").is_dir()


def _loading(facts: Facts, found: Examples | None) -> str:
    if not _has_model(facts):
        return ""
    is_paired = found.is_paired if found else bool(facts.run.config.get("text_columns"))
    task = task_of(facts.result) or Task()
    said = task.output_code(facts.result.get("class_names") or ())
    code = loading_code(facts.is_text, is_paired, facts.has_output, said)
    return f'<pre>{html.escape(code)}</pre><p class="caption">{_about_loading(facts, found)}</p>'


def _about_loading(facts: Facts, found: Examples | None) -> str:
    size = facts.number("bytes_on_disk")
    takes = "" if size is None else f" ({si(size, 'B')} on the disk)"
    picture = ""
    if found is not None and found.pictures is not None:
        _, channels, height, width = found.pictures.shape
        color = "gray" if channels == 1 else "RGB"
        picture = (
            f"{code_html('picture.png')} is a picture like those above, of any size: it is scaled "
            f"to {width} × {height} pixels, {color}. "
        )
    install, export = "pip install -e .", "pclora-lab export . --formats standalone,onnx"
    return (
        f"Install this package ({code_html(install)} in its source folder) and run the code in the "
        f"folder of this report: it reads {code_html('compressed')}{takes}, which holds the "
        f"weights and a config.json, and gives a torch.nn.Module in eval mode. {picture}"
        f"{code_html(export)} writes the model into the folder {code_html('exported')}, for use "
        "without this package."
    )


def _settings(facts: Facts) -> str:
    items = "".join(
        f"<div><dt>{html.escape(label)} {code_html(name)}</dt>"
        f"<dd>{name_html(facts.public(value))}</dd></div>"
        for label, name, value in changed_settings(facts.run.config)
    )
    return f'<dl class="settings">{items}</dl>' if items else ""


def _notes(facts: Facts) -> str:
    notes = [str(note) for note in facts.result.get("notes") or ()]
    lines = [brief(facts.public(note), _LONGEST_NOTE) for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        lines.append(f"and {len(notes) - _MOST_NOTES} more, in result.json")
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""

"""Write the report of a run into its folder."""

import html
from pathlib import Path

from pclora_lab.data.account import account_lines
from pclora_lab.data.cache import DataCache
from pclora_lab.files import without_home, write_text
from pclora_lab.ownership import refuse_foreign, with_mark
from pclora_lab.plots.report.bars import bars_html
from pclora_lab.plots.report.chart import chart_html
from pclora_lab.plots.report.examples import examples_html, read_examples
from pclora_lab.plots.report.facts import Facts, read_facts
from pclora_lab.plots.report.page import name_html, page_html, section, table_html
from pclora_lab.plots.report.sentences import headline, lead
from pclora_lab.plots.report.settings import changed_settings
from pclora_lab.plots.report.units import si, utc
from pclora_lab.plots.report.usage import loading_code
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.resuming import can_resume
from pclora_lab.wording import brief, explained

__all__ = ["write_report"]

_MOST_NOTES, _LONGEST_NOTE = 5, 160
_CAPTION = (
    '<p class="caption">The first validation example of one class after the other; none was chosen '
    "by how it turned out. ✓ right, ✗ wrong; the number is how sure the model is.</p>"
)
_PACKAGES = ("python", "torch", "timm", "transformers")


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
    shown, is_paired = _examples(facts, examples, cache or DataCache())
    sections = [
        section("Before and after", bars_html(facts)),
        section("", chart_html(run.rows)),
        section("What it says about examples", shown),
        section("Load the finished model", _loading(facts, is_paired)),
        section("Settings that differ from the defaults", _settings(facts)),
        section("About this run", table_html(_about(facts, command))),
        section("Notes", _notes(facts)),
    ]
    text = page_html(headline(facts), lead(facts), sections)
    write_text(path, with_mark(without_home(text)))
    return path


def _examples(facts: Facts, count: int, cache: DataCache) -> tuple[str, bool]:
    """The section's content, and whether an example is a pair of texts."""
    is_paired = bool(facts.run.config.get("text_columns"))
    if count < 1 or not _has_model(facts):
        return "", is_paired
    try:
        found = read_examples(facts.run, count, cache)
    except Exception as error:  # noqa: BLE001 - other people's code opens data and models
        reason = html.escape(brief(facts.public(explained(error)), _LONGEST_NOTE))
        return f'<p class="caption">They can\'t be shown any more: {reason}</p>', is_paired
    return examples_html(found) + _CAPTION, isinstance(next(iter(found.raw), None), tuple)


def _has_model(facts: Facts) -> bool:
    return facts.run.result is not None and (facts.run.folder / "compressed").is_dir()


def _loading(facts: Facts, is_paired: bool) -> str:
    if not _has_model(facts):
        return ""
    size = facts.number("bytes_on_disk")
    takes = "" if size is None else f" ({si(size, 'B')})"
    return (
        f"<pre>{html.escape(loading_code(facts.is_text, is_paired))}</pre>"
        f'<p class="caption">Run it in the folder of this report: the model is in '
        f"<code>compressed</code>{takes}, as config.json and model.safetensors. "
        "<code>pclora-lab export . --formats standalone,onnx</code> writes it for use without "
        "this package.</p>"
    )


def _settings(facts: Facts) -> str:
    changed = changed_settings(facts.run.config)
    if not changed:
        return "<p>None: every setting has its default.</p>"
    items = "".join(
        f"<div><dt>{html.escape(label)} <code>{html.escape(name)}</code></dt>"
        f"<dd>{name_html(facts.public(value))}</dd></div>"
        for label, name, value in changed
    )
    return f'<dl class="settings">{items}</dl>'


def _about(facts: Facts, command: str) -> list[tuple[str, str]]:
    """What was run, when, on what, and how to do it again; what is not known is left out."""
    versions, result = facts.versions, facts.result
    parts = [result.get("hardware") or versions.get("platform"), result.get("device")]
    lines = [
        ("Date", "" if facts.ended is None else utc(facts.ended)),
        ("Run", facts.run.folder.resolve().name),
        ("Model and data", f"{facts.model} · {facts.data}"),
        ("Rows of data", "; ".join(account_lines(result.get("account"))).removeprefix("rows: ")),
        ("Method", _method(facts)),
        ("Training", _training(facts)),
        ("Hardware", " · ".join(str(part) for part in (*parts, result.get("precision")) if part)),
        ("Software", ", ".join(f"{n} {versions[n]}" for n in _PACKAGES if n in versions)),
        (
            "Repeat it",
            command or "pclora-lab train --config . --out .. (in the folder of this report)",
        ),
    ]
    if can_resume(facts.run.folder):
        lines.append(("Go on", "pclora-lab resume . (in the folder of this report)"))
    return [(label, facts.public(value)) for label, value in lines if value]


def _method(facts: Facts) -> str:
    """With the rank, the setting that all sizes follow from."""
    rank = facts.options.get("rank")
    of_rank = f", rank {rank}" if isinstance(rank, int | str) else ""
    return f"{facts.method}{of_rank}" + (f": {facts.summary}" if facts.summary else "")


def _training(facts: Facts) -> str:
    config, seconds = facts.run.config, facts.number("seconds")
    took = "" if seconds is None else f" in {_duration(seconds)}"
    return f"{config.get('steps')} steps{took}, seed {config.get('seed')}"


def _duration(seconds: float) -> str:
    """Example: ``_duration(4000)`` is ``1 h 7 min``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _notes(facts: Facts) -> str:
    notes = [str(note) for note in facts.result.get("notes") or ()]
    lines = [brief(facts.public(note), _LONGEST_NOTE) for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        lines.append(f"and {len(notes) - _MOST_NOTES} more, in result.json")
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""

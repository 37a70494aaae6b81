"""A run as one self-contained HTML page."""

import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pclora_lab.data.splits import short_name
from pclora_lab.files import without_home, write_text
from pclora_lab.methods.registry import METHODS
from pclora_lab.ownership import refuse_foreign, with_mark
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.method_styles import method_style
from pclora_lab.runs.durable.places import without_places
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.summary import result_lines

__all__ = ["write_report"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td{{padding:.2rem 1rem .2rem 0;border-bottom:1px solid #ddd}}
svg{{max-width:100%;height:auto}}</style></head><body>
<h1>{title}</h1>
<table>{rows}</table>
<h2>What happened</h2>
{figure}
<p>{reading}</p>
<h2>Settings</h2>
<table>{settings}</table>
</body></html>
"""


def write_report(folder: Path | str) -> Path:
    """Write ``report.html`` into a finished run's folder.

    Raises:
        ValueError: the run has no result yet.
        FileExistsError: there is another report.html, or one that has been edited.
    """
    run = load_run(folder)
    if run.result is None:
        raise ValueError(f"{run.folder} is {run.status} and has no result to report")
    method = run.config["method"]
    name = str(method.get("name", "pclora"))
    # A run of another package's method is read without that package, too.
    title, caption = method_style(name).title, METHODS[name].plot_caption if name in METHODS else ""
    places = [str(run.config.get(name, "")) for name in ("model", "data")]
    settings = {**{k: v for k, v in run.config.items() if k != "method"}, **method}
    settings |= dict(zip(("model", "data"), map(short_name, places), strict=True))
    lines = result_lines({**run.result, "run_dir": run.folder.name})
    page = _PAGE.format(
        title=html.escape(f"{title}: {run.folder.name}"),
        reading=html.escape(caption),
        rows=_table_rows([(label, without_places(text, *places)) for label, text in lines]),
        figure=_svg(run.rows),
        settings=_table_rows([(name, str(value)) for name, value in settings.items()]),
    )
    path = run.folder / "report.html"
    refuse_foreign([path])
    write_text(path, with_mark(without_home(page)))
    return path


def _table_rows(lines: list[tuple[str, str]]) -> str:
    cells = ((html.escape(label), html.escape(value)) for label, value in lines)
    return "".join(f"<tr><td>{label}</td><td>{value}</td></tr>" for label, value in cells)


def _svg(rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    history_figure(rows).savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]

"""A run as a table and as one self-contained HTML page."""

import html
import io
from pathlib import Path
from typing import Any

from pclora_lab.methods import METHODS
from pclora_lab.plots import history_figure
from pclora_lab.runs import load_run

__all__ = ["result_lines", "result_table", "write_report"]


def result_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each number a person wants to see, with units."""
    teacher = result["teacher_accuracy"]
    lines = [
        ("teacher, test accuracy", "–" if teacher is None else f"{teacher:.2%}"),
        ("student, test accuracy", f"{result['accuracy']:.2%}"),
        ("removed, replaced layers", f"{result['params_removed_replaced']:.2%} of parameters"),
        ("removed, whole model", f"{result['params_removed_whole']:.2%} of parameters"),
        ("parameters", f"{result['params_before']:,} → {result['params_after']:,}"),
        ("size", f"{result['bytes_before'] / 1e6:.2f} → {result['bytes_after'] / 1e6:.2f} MB"),
        ("MACs removed, whole model", f"{result['macs_removed_whole']:.2%}"),
        ("max |Δlogit| compressed", f"{result['max_logit_difference']:.2g}"),
        ("time", f"{result['seconds']:.1f} s on {result['device']} ({result['precision']})"),
        ("peak memory", f"{result['peak_memory_mb']:,.0f} MB {_whose_memory(result['device'])}"),
        ("run folder", result["run_dir"]),
    ]
    if "bytes_on_disk" in result:
        lines.insert(6, ("on disk", f"{result['bytes_on_disk'] / 1e6:.2f} MB"))
    if "params_trained" in result:
        trained = f"{result['params_trained']:,} parameters"
        lines.insert(4, ("trained", trained))
    if names := result.get("class_names"):
        lines.insert(2, ("classes", _shortly(names)))
    lines += [("note", remark) for remark in result.get("remarks", ())]
    return lines + ([("report", result["report"])] if "report" in result else [])


def _shortly(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)}: {', '.join(names[:most])}{more}"


def _whose_memory(device: str) -> str:
    return "on the GPU" if device.startswith("cuda") else "(whole process)"


def result_table(result: dict[str, Any]) -> str:
    """The lines as aligned text."""
    return "\n".join(f"{label:28} {value}" for label, value in result_lines(result))


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
    """
    run = load_run(folder)
    if run.result is None:
        raise ValueError(f"{run.folder} is {run.status} and has no result to report")
    method = run.config["method"]
    known = METHODS[method.get("name", "pclora")]
    settings = {**{k: v for k, v in run.config.items() if k != "method"}, **method}
    page = _PAGE.format(
        title=html.escape(f"{known.title}: {run.folder.name}"),
        reading=html.escape(known.reading),
        rows=_table_rows(result_lines(run.result)),
        figure=_svg(run.rows),
        settings=_table_rows([(name, str(value)) for name, value in settings.items()]),
    )
    path = run.folder / "report.html"
    path.write_text(page, encoding="utf8")
    return path


def _table_rows(lines: list[tuple[str, str]]) -> str:
    cells = ((html.escape(label), html.escape(value)) for label, value in lines)
    return "".join(f"<tr><td>{label}</td><td>{value}</td></tr>" for label, value in cells)


def _svg(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    history_figure(rows).savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]

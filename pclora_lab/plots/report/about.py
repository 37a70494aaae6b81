"""What was run, when, on what, and how to do it again; what is not known is left out."""

from collections import Counter

from pclora_lab import __version__
from pclora_lab.data.account import account_lines
from pclora_lab.models.embedded import EMBEDDED
from pclora_lab.plots.report.examples import Examples
from pclora_lab.plots.report.facts import Facts
from pclora_lab.plots.report.page import code_html, name_html
from pclora_lab.plots.report.settings import changed_settings
from pclora_lab.plots.report.units import utc
from pclora_lab.runs.result_columns import finite
from pclora_lab.runs.resuming import can_resume
from pclora_lab.wording import listed

__all__ = ["about_lines"]

_PACKAGES = ("python", "torch", "timm", "transformers")
_HERE = " (in the folder of this report)"
_MOST_KINDS = 6


def about_lines(facts: Facts, command: str, found: Examples | None) -> list[tuple[str, str]]:
    """Label, plain text, and value, HTML.

    Args:
        facts: of the run.
        command: what repeats the run; "" for ``pclora-lab train`` with its own config.
        found: what was read of data and finished model; None where that was not possible.
    """
    changed = changed_settings(facts.run.config)
    plain = [
        ("Date", "" if facts.ended is None else utc(facts.ended)),
        ("Model and data", f"{facts.model} · {facts.data}"),
        ("Teacher", _teacher(facts)),
        ("Rows of data", _rows(facts, found)),
        ("Method", _method(facts)),
        ("Replaced layers", _replaced(found)),
        ("Training", _training(facts)),
        ("Settings", "" if changed else "all have the defaults of this version"),
        ("Hardware", _hardware(facts)),
        ("Software", _software(facts)),
    ]
    lines = [(label, name_html(facts.public(value))) for label, value in plain if value]
    again = code_html(facts.public(command))
    if not command:
        again = code_html("pclora-lab train --config . --out ..") + _HERE
    lines.append(("Repeat it", again))
    if can_resume(facts.run.folder):
        lines.append(("Go on", code_html("pclora-lab resume .") + _HERE))
    return lines


def _teacher(facts: Facts) -> str:
    """Where the dense model's weights come from."""
    taught = [finite(row.get("step")) for row in facts.run.rows if row.get("phase") == "teacher"]
    if taught:
        steps = max(step or 0 for step in taught)
        return f"{facts.model}, fine-tuned on {facts.data} first, {steps:,.0f} steps"
    if facts.scores[1] is None:
        return ""
    is_embedded = facts.run.config.get("model") in EMBEDDED
    origin = "comes with this package" if is_embedded else "was loaded"
    return f"{facts.model} as it {origin}, not trained further"


def _rows(facts: Facts, found: Examples | None) -> str:
    """The splits, and the account only where something was left out."""
    lines = account_lines(facts.result.get("account"))
    lost = [line.removeprefix("rows: ") for line in lines if "left out" in line]
    if found is not None:
        train, validation, test = (found.rows[name] for name in ("train", "validation", "test"))
        splits = f"{train:,} to train, {validation:,} to validate, {test:,} to test"
        return "; ".join([splits, *lost])
    if lines and "left out" not in lines[-1]:
        count = lines[-1].removeprefix("rows: ").partition(" found")[0]
        lost.append(f"{count}, all of them used")
    return "; ".join(lost)


def _method(facts: Facts) -> str:
    """With the rank, the setting that all sizes follow from."""
    rank = facts.options.get("rank")
    of_rank = f", rank {rank}" if isinstance(rank, int | str) else ""
    return f"{facts.method}{of_rank}" + (f": {facts.summary}" if facts.summary else "")


def _replaced(found: Examples | None) -> str:
    """How many of what kind: a kind is a name without the number of its block."""
    if found is None or not found.replaced:
        return ""
    kinds = Counter(_kind(name) for name in found.replaced)
    parts = [f"{count} × {kind}" for kind, count in kinds.items()]
    return f"{len(found.replaced):,}: {listed(parts, _MOST_KINDS)}"


def _kind(name: str) -> str:
    """What stands behind the last number of a layer's name.

    Example:
        >>> _kind("blocks.3.attn.qkv"), _kind("head")
        ('attn.qkv', 'head')
    """
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[numbers[-1] + 1 :]) if numbers else name


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


def _hardware(facts: Facts) -> str:
    result = facts.result
    parts = [result.get("hardware") or facts.versions.get("platform"), result.get("device")]
    return " · ".join(str(part) for part in (*parts, result.get("precision")) if part)


def _software(facts: Facts) -> str:
    """The run's, and this package's that wrote the report."""
    found = [f"{name} {facts.versions[name]}" for name in _PACKAGES if name in facts.versions]
    return ", ".join([*found, f"report by pclora-lab {__version__}"])

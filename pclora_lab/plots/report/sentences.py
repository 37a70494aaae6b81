"""What a run gained, in one sentence, and what became of a run that has not finished."""

import html
from collections.abc import Iterator

from pclora_lab.plots.report.facts import Facts
from pclora_lab.plots.report.page import name_html
from pclora_lab.plots.report.units import SAME_SPEED, percent, points, times
from pclora_lab.runs.result_columns import finite

__all__ = ["headline", "lead"]

_SAME_SIZE = 0.0005


def headline(facts: Facts) -> str:
    """The report's title, as HTML."""
    removed = facts.number("params_removed_whole")
    what = f"{name_html(facts.model)} on {name_html(facts.data)}"
    return what + (f", {percent(removed, 0)} smaller" if removed and removed >= _SAME_SIZE else "")


def lead(facts: Facts) -> str:
    """The sentence below the title, as HTML."""
    return _gain(facts) if facts.run.result is not None else _progress(facts)


def _gain(facts: Facts) -> str:
    clauses = [part for part in (_size(facts), _accuracy(facts), _speed(facts)) if part]
    if not clauses:
        return f"{_with(facts)} {name_html(facts.model)} has finished; nothing was measured."
    joined = clauses[0] if len(clauses) == 1 else f"{'; '.join(clauses[:-1])}; and {clauses[-1]}"
    return f"{_with(facts)} {joined}."


def _with(facts: Facts) -> str:
    return f"With {html.escape(facts.method)},"


def _size(facts: Facts) -> str:
    removed, after, before, replaced = (
        facts.number(f"params_{key}")
        for key in ("removed_whole", "after", "before", "removed_replaced")
    )
    model = name_html(facts.model)
    if removed is None or after is None or before is None:
        return ""
    if abs(removed) < _SAME_SIZE:
        return f"{model} stays <b>as large as it was</b> ({after:,.0f} parameters)"
    how = f"{percent(abs(removed))} {'smaller' if removed > 0 else 'larger'}"
    layers = ""
    if replaced is not None:
        sign = "fewer" if replaced >= 0 else "more"
        layers = f"; {percent(abs(replaced))} {sign} in the layers that were replaced"
    return f"{model} is <b>{how}</b> ({after:,.0f} parameters instead of {before:,.0f}{layers})"


def _accuracy(facts: Facts) -> str:
    accuracy, count = facts.number("accuracy"), facts.number("accuracy_examples")
    if accuracy is None:
        return ""
    split = html.escape(str(facts.result.get("report_on") or "test"))
    which = f"{split} {facts.examples}"
    of = f"the {which}" if count is None else f"{count:,.0f} {which}"
    said = f"it gets <b>{percent(accuracy)}</b> of {of} of {name_html(facts.data)} right"
    return f"{said}, {_against_teacher(accuracy, facts.number('teacher_accuracy'))}"


def _against_teacher(accuracy: float, teacher: float | None) -> str:
    if teacher is None:
        return "with no teacher to compare it with"
    change, whose = points(teacher, accuracy), f"(its teacher: {percent(teacher)})"
    if change == 0:
        return f"<b>as many as before</b> {whose}"
    how = f"{abs(change):.1f} percentage points {'more' if change > 0 else 'fewer'}"
    return f"<b>{how} than before</b> {whose}"


def _speed(facts: Facts) -> str:
    before, after = facts.number("latency_ms_before"), facts.number("latency_ms_after")
    if not before or not after:
        return ""
    where = "GPU" if str(facts.result.get("device")).startswith(("cuda", "mps")) else "CPU"
    if max(before, after) / min(before, after) < SAME_SPEED:
        return f"it takes <b>as long as before</b> on the {where} that it was trained on"
    if after < before:
        ratio = times(before, after)
        return f"it is <b>{ratio} as fast</b> on the {where} that it was trained on"
    return f"it takes <b>{times(after, before)} as long</b> on the {where} that it was trained on"


def _progress(facts: Facts) -> str:
    """What is true of a run that ended early."""
    run, where = facts.run, _last_step(facts)
    state = f"This run <b>{'was stopped' if run.status == 'stopped' else 'failed'}</b>{where}"
    reason = f" ({html.escape(facts.public(run.error))})" if run.error else ""
    said = [f"{state}{reason}, so there is no finished model."]
    row = next(_readings(facts), None)
    if row is not None:
        teacher = finite(row.get("teacher_accuracy"))
        beside = "" if teacher is None else f", the teacher {percent(teacher)}"
        count = finite(row.get("examples"))
        of = "the" if count is None else f"{count:,.0f}"
        said.append(
            f"At step {row['step']:,}, its last reading, the student got "
            f"<b>{percent(row['accuracy'])}</b> of {of} validation examples right{beside}."
        )
    return " ".join(said)


def _last_step(facts: Facts) -> str:
    rows = [row for row in facts.run.rows if isinstance(row.get("step"), int)]
    if not rows:
        return " before its first step"
    last = rows[-1]
    total = last.get("steps") if last.get("phase") == "teacher" else facts.run.config.get("steps")
    of = f" of {total:,}" if isinstance(total, int) else ""
    what = " of its teacher's fine-tuning" if last.get("phase") == "teacher" else ""
    return f" at step {last['step']:,}{of}{what}"


def _readings(facts: Facts) -> Iterator[dict]:
    """Rows of the method's own training that hold an accuracy, the last first."""
    for row in reversed(list(facts.run.rows)):
        is_own = row.get("phase") == "fade" and isinstance(row.get("step"), int)
        if is_own and finite(row.get("accuracy")) is not None:
            yield row

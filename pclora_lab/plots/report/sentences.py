"""What a run gained, in one sentence, and what became of a run that has not finished."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

from pclora_lab.plots.report.facts import Facts
from pclora_lab.plots.report.page import name_html
from pclora_lab.plots.report.units import SAME_SPEED, change_text, count_wrong, percent, times
from pclora_lab.runs.result_columns import finite

__all__ = ["headline", "lead"]

_SAME_SIZE = 0.0005


def headline(facts: Facts) -> str:
    """The report's title, as HTML."""
    removed = facts.number("params_removed_whole")
    what = f"{name_html(facts.model)} on {name_html(facts.data)}"
    is_smaller = removed is not None and removed >= _SAME_SIZE
    return what + (f", {percent(removed or 0, 0)} fewer parameters" if is_smaller else "")


def lead(facts: Facts) -> str:
    """The sentence below the title, as HTML."""
    return _gain(facts) if facts.run.result is not None else _progress(facts)


def _gain(facts: Facts) -> str:
    clauses = [part for part in (_size(facts), _score(facts), _speed(facts)) if part]
    if not clauses:
        return f"{_with(facts)} {name_html(facts.model)} has finished; nothing was measured."
    joined = clauses[0] if len(clauses) == 1 else f"{'; '.join(clauses[:-1])}; and {clauses[-1]}"
    return f"{_with(facts)} {joined}.{_caution(facts)}"


def _caution(facts: Facts) -> str:
    """A difference of a few examples is not more than it is."""
    if facts.scores[0] is None or facts.run.config.get("seed") is None:
        return ""
    return " This is one run with one seed: how much another seed would change was not measured."


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
    how = f"{percent(abs(removed))} {'fewer' if removed > 0 else 'more'} parameters"
    layers = ""
    if replaced is not None:
        sign = "fewer" if replaced >= 0 else "more"
        layers = f"; {percent(abs(replaced))} {sign} in the layers that were replaced"
    return f"{model} has <b>{how}</b> ({after:,.0f} instead of {before:,.0f}{layers})"


def _score(facts: Facts) -> str:
    (score, _), count = facts.scores, facts.number(facts.metric.examples)
    if score is None:
        return ""
    split = html.escape(str(facts.result.get("report_on") or "test"))
    which = f"{split} {facts.examples}"
    of = f"the {which}" if count is None else f"{count:,.0f} {which}"
    said = f"its {html.escape(facts.metric.label)} on {of} of {name_html(facts.data)} is "
    return f"{said}<b>{facts.score_text(score)}</b>, {_against_teacher(facts, count)}"


def _against_teacher(facts: Facts, count: float | None) -> str:
    metric, (score, teacher) = facts.metric, facts.scores
    if score is None or teacher is None:
        return "with no teacher to compare it with"
    change = change_text(metric, teacher, score)
    size = html.escape(change[1:].replace(" points", " percentage points"))
    how = f"{size} {'higher' if change[:1] == '+' else 'lower'} than before"
    said = f"<b>{how if change else 'the same as before'}</b>"
    wrong = ""
    if metric.counts_right:
        wrong = _instead(count_wrong(score, count), count_wrong(teacher, count))
    return (
        f"{said} ({wrong}the teacher, which is the model before, has {facts.score_text(teacher)})"
    )


def _instead(now: int | None, before: int | None) -> str:
    """The examples behind the points: one of a few hundred is a third of a point."""
    if now is None or before is None:
        return ""
    return f"{now:,} wrong instead of {before:,}; " if now != before else f"{now:,} wrong; "


def _speed(facts: Facts) -> str:
    before, after = facts.number("latency_ms_before"), facts.number("latency_ms_after")
    if not before or not after:
        return ""
    kind = "GPU" if str(facts.result.get("device")).startswith(("cuda", "mps")) else "CPU"
    batch = facts.latency_batch
    where = f"on the {kind} that it was trained on" + (f", in batches of {batch}" if batch else "")
    if max(before, after) / min(before, after) < SAME_SPEED:
        return f"it takes <b>as long as before</b> {where}"
    if after < before:
        return f"it is <b>{times(before, after)} as fast</b> {where}"
    return f"it takes <b>{times(after, before)} as long</b> {where}"


def _progress(facts: Facts) -> str:
    """What is true of a run that ended early."""
    run, where = facts.run, _last_step(facts)
    state = f"This run <b>{'was stopped' if run.status == 'stopped' else 'failed'}</b>{where}"
    reason = f" ({html.escape(facts.public(run.error))})" if run.error else ""
    said = [f"{state}{reason}, so there is no finished model."]
    row = next(_readings(facts), None)
    if row is not None:
        said.append(_last_reading(facts, row))
    return " ".join(said)


def _last_reading(facts: Facts, row: Mapping[str, Any]) -> str:
    metric = facts.metric
    teacher, count = finite(row.get(metric.of_teacher)), finite(row.get("examples"))
    beside = "" if teacher is None else f", the teacher {facts.score_text(teacher)}"
    of = f"{'the' if count is None else f'{count:,.0f}'} validation examples"
    score = f"<b>{facts.score_text(row[metric.key])}</b>"
    begin = f"At step {row['step']:,}, its last reading, the student"
    if metric.counts_right:
        return f"{begin} got {score} of {of} right{beside}."
    return f"{begin} had {score} ({html.escape(metric.label)}) on {of}{beside}."


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
    """Rows of the method's own training that hold the task's metric, the last first."""
    for row in reversed(list(facts.run.rows)):
        is_own = row.get("phase") == "fade" and isinstance(row.get("step"), int)
        if is_own and finite(row.get(facts.metric.key)) is not None:
            yield row

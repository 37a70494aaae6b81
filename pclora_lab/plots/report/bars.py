"""Before and after: the task's metric, parameters, bytes, multiply-adds, latency as bars."""

import html
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pclora_lab.plots.report.facts import Facts
from pclora_lab.plots.report.units import SAME_SPEED, change_text, count_wrong, percent, si, times

__all__ = ["Pair", "bars_html", "pairs"]

_PASSES = 5  # what nn.latency times for a result
_WORSE = {"smaller": "larger", "fewer": "more", "as fast": "as long"}
_LEGEND = (
    '<p class="legend"><span><i class="key before"></i>the model before (the teacher)</span>'
    '<span><i class="key after"></i>the finished model (the student)</span></p>'
)


@dataclass(frozen=True)
class Pair:
    """One quantity of the dense model and of the finished one.

    Attributes:
        label: what it is.
        before: of the dense model; None where there is none.
        after: of the finished model.
        full: value of a bar as long as it can be.
        text: how a value is written.
        change: what became of it, a few words.
        detail: the same as a ratio; empty where that says nothing.
    """

    label: str
    before: float | None
    after: float
    full: float
    text: Callable[[float], str]
    change: str
    detail: str = ""


def pairs(facts: Facts) -> list[Pair]:
    """What was measured of the finished model; what was not is left out."""
    each, batch = facts.examples.removesuffix("s"), facts.latency_batch
    latency = "Latency of a batch" + (f" of {batch}" if batch else "")
    found = [
        _score(facts),
        _smaller(facts, "Parameters", "params", lambda value: f"{value:,.0f}", "fewer"),
        _smaller(facts, "Weights in memory", "bytes", lambda value: si(value, "B"), "smaller"),
        _smaller(facts, f"Multiply-adds per {each}", "macs", si, "fewer"),
        _smaller(facts, latency, "latency_ms", lambda value: si(value / 1e3, "s"), "as fast"),
    ]
    return [pair for pair in found if pair is not None]


def _score(facts: Facts) -> Pair | None:
    metric, (after, before) = facts.metric, facts.scores
    if after is None:
        return None
    change = "no teacher"
    if before is not None:
        change = change_text(metric, before, after) or "the same"
    split = str(facts.result.get("report_on") or "test")
    label = html.escape(f"{metric.heading} ({split})")
    # A share's bar is as long as all examples; another number's as the larger of the two.
    full = metric.high if metric.high < math.inf else max(abs(after), abs(before or 0.0))
    detail = _more_wrong(facts)
    return Pair(label, before, after, full, facts.score_text, html.escape(change), detail)


def _more_wrong(facts: Facts) -> str:
    count, (after, before) = facts.number(facts.metric.examples), facts.scores
    if not facts.metric.counts_right:
        return ""
    now, then = count_wrong(after, count), count_wrong(before, count)
    if now is None or then is None or now == then:
        return ""
    return f"{abs(now - then):,} {'more' if now > then else 'fewer'} wrong"


def _smaller(
    facts: Facts, label: str, key: str, text: Callable[[float], str], better: str
) -> Pair | None:
    """What is the better the smaller it is."""
    before, after = facts.number(f"{key}_before"), facts.number(f"{key}_after")
    if not before or not after:
        return None
    high, low = max(before, after), min(before, after)
    same = SAME_SPEED if better == "as fast" else 1.0005
    if high / low < same:
        return Pair(label, before, after, high, text, "the same")
    share = after / before - 1
    word = better if after < before else _WORSE[better]
    change = f"{_sign(share)}{percent(abs(share))}"
    return Pair(label, before, after, high, text, change, f"{times(high, low)} {word}")


def _sign(number: float) -> str:
    return "−" if number < 0 else "+"


def bars_html(facts: Facts) -> str:
    """A table of the pairs, each with two bars; empty where nothing was measured."""
    rows = "".join(_row(pair) for pair in pairs(facts))
    return f'{_LEGEND}<table class="bars">{rows}</table>{_caption(facts)}' if rows else ""


def _caption(facts: Facts) -> str:
    """How the latency was measured, and why it may not follow the multiply-adds."""
    before, after = facts.number("latency_ms_before"), facts.number("latency_ms_after")
    if not before or not after:
        return ""
    said = f"Latency: the median of {_PASSES} passes after one to warm up"
    if str(facts.result.get("device")) == "cpu":
        said += "; how many threads computed was not recorded"
    macs, left = facts.number("macs_before"), facts.number("macs_after")
    if macs and left and before / after * SAME_SPEED < macs / left:
        said += (
            ". It does not follow the multiply-adds: a pass also moves data and starts every "
            "layer, which may weigh more in small layers"
        )
    return f'<p class="caption">{said}.</p>'


def _row(pair: Pair) -> str:
    bars = "".join(_bars(pair))
    detail = f"<small>{pair.detail}</small>" if pair.detail else ""
    return (
        f'<tr><th scope="row">{pair.label}</th><td>{bars}</td>'
        f'<td class="change"><b>{pair.change}</b>{detail}</td></tr>'
    )


def _bars(pair: Pair) -> Iterator[str]:
    for kind, value in (("before", pair.before), ("after", pair.after)):
        if value is not None:
            width = 100 * value / pair.full if pair.full else 0
            yield (
                f'<div class="bar"><span class="track"><i class="{kind}" '
                f'style="width:{max(width, 0.5):.2f}%"></i></span>'
                f"<span>{pair.text(value)}</span></div>"
            )

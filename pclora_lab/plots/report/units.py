"""Numbers as people read them: per cent, SI prefixes, dates."""

import math
import time

from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["SAME_SPEED", "change_text", "count_wrong", "percent", "si", "times", "utc"]

SAME_SPEED = 1.05
"""Up to this ratio two latencies are called the same: two measurements of one model differ so."""

_SPACE = "\u00a0"  # a number and its unit stay on one line
_PREFIXES = {3: "G", 2: "M", 1: "k", 0: "", -1: "m", -2: "µ", -3: "n"}


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent.

    Example:
        >>> percent(0.98056), percent(1)
        ('98.1%', '100.0%')
    """
    return f"{100 * share:.{digits}f}%"


def change_text(metric: TaskMetric, before: float, after: float) -> str:
    """By how much a metric has risen, in its unit; empty where no difference can be seen.

    Example:
        >>> from pclora_lab.tasks import IMAGE_CLASSIFICATION
        >>> change_text(IMAGE_CLASSIFICATION.ranking, 0.9806, 0.9694)
        '−1.2 points'
        >>> change_text(TaskMetric("psnr", "PSNR", "dB"), 28.3, 29.0)
        '+0.7 dB'
    """
    number = metric.change(before, after)
    if not float(number.replace(",", "")):
        return ""
    unit = "points" if metric.unit == "%" else metric.unit
    return f"{number} {unit}".rstrip().replace("-", "−")


def count_wrong(accuracy: float | None, count: float | None) -> int | None:
    """How many of the examples an accuracy leaves wrong; None where it is no share of so many.

    Example:
        >>> count_wrong(0.978, 360), count_wrong(352 / 360, 360), count_wrong(0.9, None)
        (None, 8, None)
    """
    if accuracy is None or count is None:
        return None
    wrong = (1 - accuracy) * count
    return round(wrong) if abs(wrong - round(wrong)) < 0.01 else None


def si(value: float, unit: str = "") -> str:
    """Three digits and a prefix, as the SI has them.

    Example:
        >>> [si(x, "B").replace(_SPACE, " ") for x in (0, 999.6, 57_514, 1_802_920)]
        ['0 B', '1.00 kB', '57.5 kB', '1.80 MB']
        >>> si(0.016824, "s").replace(_SPACE, " ")
        '16.8 ms'
    """
    if value == 0:
        return f"0{_SPACE}{unit}".rstrip()
    rounded = float(f"{value:.3g}")
    power = math.floor(math.log10(abs(rounded)) / 3)
    power = min(max(power, min(_PREFIXES)), max(_PREFIXES))
    number = rounded / 1000.0**power
    # Fewer than a thousand of what can't be divided are whole.
    if power == 0 and unit in ("", "B") and value == int(value):
        return f"{number:.0f}{_SPACE}{unit}".rstrip()
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:.{digits}f}{_SPACE}{_PREFIXES[power]}{unit}".rstrip()


def times(larger: float, smaller: float) -> str:
    """How many times as large one number is.

    Example:
        >>> times(16.8, 5.2), times(450_730, 57_514), times(1e6, 9e3)
        ('3.2×', '7.8×', '111×')
    """
    ratio = larger / smaller
    return f"{ratio:.1f}×" if ratio < 99.95 else f"{ratio:,.0f}×"


def utc(seconds: float) -> str:
    """A time since 1970, in seconds, as a date.

    Example:
        >>> utc(1_750_000_000)
        '2025-06-15 15:06 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))

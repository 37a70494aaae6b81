"""Pictures for a slide: one layer, and its fade as an animation. Matplotlib and Pillow."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from PIL import Image

from pclora_lab.course.figures.records import measured
from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.palette import COLORS

__all__ = ["FadeAnimation", "fade_animation", "layer_diagram"]

# The color of text on a light page, which has its dark variant.
_INK = "#1F1F1F"


_MOST_FRAMES = 24


_AS_IT_IS, _REMOVED = "accuracy", "accuracy_if_base_removed"


def layer_diagram(lam: float = 1.0) -> Figure:
    """The layer ``y = λ(W x + b) + B(A x) + C`` as a picture; W is as opaque as λ is large.

    Args:
        lam: λ in [0, 1].

    Raises:
        ValueError: λ outside [0, 1].

    Example:
        >>> layer_diagram(0.25).axes[0].patches[0].get_alpha()
        0.25
    """
    figure = NotebookFigure(figsize=(7, 3.2), layout="constrained")
    _draw_layer(figure.subplots(), lam)
    return figure


def _draw_layer(axis: Axes, lam: float) -> None:
    if not 0 <= lam <= 1:
        raise ValueError(f"λ is {lam}: it must be in [0, 1]")
    axis.set(xlim=(0, 10), ylim=(-0.2, 4.6), aspect="equal")
    axis.axis("off")
    # Boxes of the base first: they are the ones that fade.
    _box(axis, "W", 2.2, 2.3, 2, 2, COLORS["base"], lam)
    _box(axis, "b", 4.9, 2.3, 0.3, 2, COLORS["base"], lam)
    _box(axis, "A", 2.2, 0.75, 2, 0.4, COLORS["adapter"], 1)
    _box(axis, "B", 4.9, 0, 0.4, 1.9, COLORS["adapter"], 1)
    _box(axis, "C", 6.1, 0, 0.3, 1.9, COLORS["adapter"], 1)
    _box(axis, "x", 0.3, 1.15, 0.3, 2, COLORS["teacher"], 0.6)
    _box(axis, "y", 9.3, 1.15, 0.3, 2, COLORS["teacher"], 0.6)
    axis.text(4.55, 3.3, "+", ha="center", va="center", fontsize=15, color=_INK)
    axis.text(5.7, 0.95, "+", ha="center", va="center", fontsize=15, color=_INK)
    axis.text(5.75, 3.55, f"× λ = {lam:.2f}", fontsize=13, color=COLORS["base"])
    for path in (
        [(0.75, 2.15), (1.4, 2.15), (1.4, 3.3), (2.1, 3.3)],
        [(1.4, 2.15), (1.4, 0.95), (2.1, 0.95)],
        [(4.3, 0.95), (4.8, 0.95)],
        [(6.5, 0.95), (8.4, 0.95), (8.4, 1.85)],
        [(8.7, 2.15), (9.2, 2.15)],
    ):
        _wire(axis, path, 1)
    _wire(axis, [(5.3, 3.3), (8.4, 3.3), (8.4, 2.45)], max(lam, 0.12))
    page = axis.get_facecolor()
    axis.add_patch(Circle((8.4, 2.15), 0.27, facecolor=page, edgecolor=_INK))
    axis.text(8.4, 2.13, "+", ha="center", va="center", fontsize=14, color=_INK)
    state = "the base is gone" if lam == 0 else "frozen, fading"
    axis.text(2.2, 4.42, state, fontsize=9, color=COLORS["base"])
    axis.text(2.2, 0.38, "trained, stays", fontsize=9, color=COLORS["adapter"])


def _box(
    axis: Axes,
    name: str,
    x: float,
    y: float,
    width: float,
    height: float,
    color: str,
    alpha: float,
) -> None:
    axis.add_patch(Rectangle((x, y), width, height, facecolor=color, alpha=alpha, linewidth=0))
    line = "-" if alpha else ":"
    axis.add_patch(
        Rectangle((x, y), width, height, facecolor="none", edgecolor=color, linestyle=line)
    )
    ink = "white" if alpha > 0.5 else color
    axis.text(x + width / 2, y + height / 2, name, ha="center", va="center", fontsize=13, color=ink)


def _wire(axis: Axes, path: Sequence[tuple[float, float]], alpha: float) -> None:
    axis.plot(*zip(*path, strict=True), color=_INK, linewidth=1.3, alpha=alpha)
    style = {"arrowstyle": "-|>", "color": _INK, "linewidth": 1.3, "alpha": alpha}
    axis.annotate("", path[-1], path[-2], arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


@dataclass(frozen=True)
class FadeAnimation:
    """A looping GIF that a notebook shows; who asked for less motion gets the still.

    Attributes:
        gif: the animation.
        still: its last frame, PNG.
        text: what is to be seen, in words.
    """

    gif: bytes
    still: bytes
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        still, gif = (base64.b64encode(data).decode() for data in (self.still, self.gif))
        return (
            '<picture><source media="(prefers-reduced-motion: reduce)" '
            f'srcset="data:image/png;base64,{still}">'
            f'<img alt="{html.escape(self.text)}" src="data:image/gif;base64,{gif}"></picture>'
        )


def fade_animation(rows: Iterable[Mapping[str, Any]], seconds: float = 6.0) -> FadeAnimation:
    """A run as a film: W turns transparent while λ falls and both accuracies are drawn.

    Args:
        rows: of a run's history; those without a measured accuracy are left out, and of more than
            24 only every second, third, … is drawn, and the last.
        seconds: of one loop; the last frame stays for two more.

    Raises:
        ValueError: fewer than two rows with both accuracies.

    Example:
        >>> rows = [{"step": s, "lam": 1 - s, "accuracy": 0.9, "accuracy_if_base_removed": s}
        ...         for s in (0, 1)]
        >>> fade_animation(rows)
        the fade in 2 frames: λ 1.00 → 0.00, accuracy if the base were removed 0% → 100%
    """
    rows = measured(rows)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} row(s) with both accuracies: an animation needs two or more")
    every = -(-len(rows) // _MOST_FRAMES)
    rows = [row for i, row in enumerate(rows) if (len(rows) - 1 - i) % every == 0]
    drawn = [_frame(rows, i) for i in range(len(rows))]
    frames = _with_one_palette(drawn)
    film, still = io.BytesIO(), io.BytesIO()
    times = [round(1000 * seconds / len(frames))] * len(frames)
    times[-1] += 2000
    options = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0}
    frames[0].save(film, format="gif", optimize=False, **options)
    frames[-1].save(still, format="png", optimize=True)
    first, last = rows[0], rows[-1]
    text = (
        f"the fade in {len(frames)} frames: λ {first['lam']:.2f} → {last['lam']:.2f}, accuracy if "
        f"the base were removed {first[_REMOVED]:.0%} → {last[_REMOVED]:.0%}"
    )
    return FadeAnimation(film.getvalue(), still.getvalue(), text)


def _with_one_palette(drawn: Sequence[Image.Image], colors: int = 48) -> list[Image.Image]:
    """All frames in the same colors, so that nothing flickers, on a pure white."""
    some = drawn[:: max(1, len(drawn) // 3)]
    sheet = Image.new("RGB", (drawn[0].width, len(some) * drawn[0].height))
    for i, frame in enumerate(some):
        sheet.paste(frame, (0, i * frame.height))
    palette = sheet.quantize(colors, dither=Image.Dither.NONE)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in drawn]
    # Pillow rounds the white of the paper to a light gray.
    values = frames[0].getpalette() or []
    paper = 3 * int(np.asarray(frames[0])[0, 0])
    values[paper : paper + 3] = [255] * 3
    for frame in frames:
        frame.putpalette(values)
    return frames


def _frame(rows: Sequence[Mapping[str, Any]], last: int) -> Image.Image:
    figure = Figure(figsize=(8.6, 3), dpi=76)
    layer = figure.add_axes((0, 0.02, 0.6, 0.96))
    axis = figure.add_axes((0.66, 0.17, 0.31, 0.54))
    _draw_layer(layer, rows[last]["lam"])
    steps = [row["step"] for row in rows[: last + 1]]
    for key, color, style, name in (
        ("lam", COLORS["guide"], ":", "λ"),
        (_AS_IT_IS, COLORS["base"], "-", "accuracy as it is"),
        (_REMOVED, COLORS["adapter"], "--", "if the base were removed"),
    ):
        values = [row[key] for row in rows[: last + 1]]
        axis.plot(steps, values, style, color=color, label=name, linewidth=2)
        axis.plot(steps[-1], values[-1], "o", color=color, markersize=5)
    axis.set(xlim=(rows[0]["step"], rows[-1]["step"]), ylim=(-0.03, 1.05), xlabel="step")
    figure.legend(fontsize=9, loc="upper left", bbox_to_anchor=(0.645, 0.99), frameon=False)
    axis.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

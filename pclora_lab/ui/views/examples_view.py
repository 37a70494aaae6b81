"""Examples at a moment of a run: the student's predictions and attention, beside its teacher's."""

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch

from pclora_lab.data.splits import example_text
from pclora_lab.plots.examples.masks import painted_masks
from pclora_lab.plots.examples.spoken import HOW_TO_READ, spoken_html
from pclora_lab.plots.layers import examples_figure, verdict_texts
from pclora_lab.runs.replay import Predictions, Replay
from pclora_lab.runs.snapshots import list_snapshots
from pclora_lab.ui.html import picture_html

__all__ = ["ExamplesView"]

_MOST = 8


_LONGEST = 160


Maps = tuple[np.ndarray, np.ndarray]


class ExamplesView:
    """Made once; drawn from snapshots.

    Args:
        on_change: called when other examples are asked for, so they have to be drawn.

    Attributes:
        numbers: which validation examples, as text.
        widget: to display.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.numbers = widgets.Text(
            value="0, 1, 2, 3, 4, 5",
            description="examples",
            tooltip=f"numbers of validation examples, at most {_MOST}",
            continuous_update=False,
            style={"description_width": "70px"},
            layout=widgets.Layout(width="330px"),
        )
        self.numbers.observe(lambda _: on_change(), "value")
        self.shown = widgets.HTML()
        self.shown.add_class("pclora-examples")
        self.note = widgets.HTML()
        self.note.add_class("pclora-examples-note")
        self._drawn: object = None
        self.widget = widgets.VBox([self.numbers, self.note, self.shown])
        self.clear()

    def clear(self) -> None:
        """Forget the last run."""
        self._drawn = None
        self.note.value = self.shown.value = ""

    def indices(self) -> list[int]:
        """The chosen examples.

        Raises:
            ValueError: something that is no number, or too many.
        """
        parts = [part.strip() for part in self.numbers.value.split(",") if part.strip()]
        wrong = next((part for part in parts if not part.isdigit()), None)
        if wrong is not None or not parts:
            given = "nothing" if wrong is None else repr(wrong)
            raise ValueError(f"examples: {given} is no list of numbers; write for example 0, 3, 17")
        if len(parts) > _MOST:
            raise ValueError(f"{len(parts)} examples do not fit: choose at most {_MOST}")
        return [int(part) for part in parts]

    def show(self, replay: Replay, step: int, *, again: bool = False) -> None:
        """Draw the examples at a kept step.

        Args:
            replay: of the run.
            step: one of its steps.
            again: draw even if nothing has changed (another theme).
        """
        indices = self.indices()
        kept = list_snapshots(replay.folder)
        state = (id(replay), step, tuple(indices), len(kept))
        if state == self._drawn and not again:
            return
        predictions = replay.predictions(step, indices)
        note = html.escape(_kept(step, kept, replay))
        if not hasattr(replay.examples, "raw"):
            self.shown.value, self.note.value = _texts(replay, indices, predictions), note
            self._drawn = state
            return
        maps, how = _maps(replay, step, indices, predictions)
        self.note.value = f"{note} {html.escape(how)}"
        images = replay.examples.raw(torch.as_tensor(indices, device="cpu")).numpy()
        figure = examples_figure(images, predictions, replay.class_names, maps)
        self.shown.value = picture_html(
            figure.png(scale=1.0), _description(replay, indices, predictions)
        )
        self._drawn = state


def _description(replay: Replay, indices: list[int], predictions: Predictions) -> str:
    """The same as in the picture."""
    parts = []
    for i, index in enumerate(indices):
        names = replay.class_names
        teacher, student = verdict_texts(predictions, i, names)
        label = predictions.task.label(predictions.labels[i], names)
        name = f"example {index}, {label}" if label else f"example {index}"
        parts.append(f"{name}: teacher {teacher}, student {student}")
    return "; ".join(parts)


def _maps(
    replay: Replay, step: int, indices: list[int], predictions: Predictions
) -> tuple[Maps | None, str]:
    """Where both models look, if that is drawn, and a sentence about the picture."""
    if painted_masks(predictions, 0) is not None:
        return None, "White has no label; the last row is orange where the two differ."
    try:
        teacher, student = replay.attention(step, indices)
    except ValueError as error:
        return None, f"No attention maps: {error}"
    return (teacher.numpy(), student.numpy()), "Attention: last block, mean of all heads."


def _kept(step: int, kept: dict[int, Any], replay: Replay) -> str:
    size = sum(path.stat().st_size for path in kept.values()) / 1e6
    config = replay.config
    return (
        f"Step {step}, from {len(kept)} snapshots of what is trained ({size:.1f} MB; at most "
        f"{config.snapshots} and {config.snapshot_mb:g} MB)."
        + ("" if replay.has_teacher else " The teacher's head is new: what it says is chance.")
    )


def _texts(replay: Replay, indices: list[int], predictions: Predictions) -> str:
    lines = []
    for i, index in enumerate(indices):
        text = example_text(replay.raw[index])
        text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        names = replay.class_names
        label = predictions.task.label(predictions.labels[i], names)
        verdicts = map(html.escape, verdict_texts(predictions, i, names))
        said = zip(verdicts, spoken_html(predictions, i), strict=True)
        cells = (
            html.escape(text),
            html.escape(label),
            *("<br>".join(filter(None, s)) for s in said),
        )
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("text", "class" if replay.class_names else "", "teacher", "student")
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in heads)
    read = f"<p>{HOW_TO_READ}</p>" if predictions.continuations else ""
    return f"<table style='line-height:1.4'><tr>{head}</tr>{''.join(lines)}</table>{read}"

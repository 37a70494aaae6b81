"""Some predictions of the finished model, beside its teacher's."""

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import example_text
from pclora_lab.models.serialization import from_pretrained, low_rank_layers
from pclora_lab.plots.examples.masks import MASK_SIDES, painted_masks, shown_classes
from pclora_lab.plots.examples.spoken import HOW_TO_READ, spoken_html
from pclora_lab.plots.report.units import percent
from pclora_lab.runs.reader import Run
from pclora_lab.runs.replay import Predictions, RunBasis, read_basis, said_by
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.metrics import Verdict
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import brief

__all__ = ["Examples", "examples_html", "read_examples"]

_LONGEST_TEXT = 150
_LARGEST_SIDE = 160
_LONGEST_CLASS = 20


@dataclass(frozen=True)
class Examples:
    """Validation examples and what both models say about them.

    Attributes:
        predictions: of both.
        has_teacher: False where the dense model's head was new and says nothing.
        class_names: what the outputs stand for; empty where they are no classes.
        pictures: uint8 ``(examples, channels, height, width)``, as the model takes them; None
            of texts.
        raw: the examples as they were read.
        rows: how many examples every split has, by its name.
        replaced: names of the layers that the finished model has in low rank.
        task: says what the answers mean.
    """

    predictions: Predictions
    has_teacher: bool
    class_names: tuple[str, ...]
    pictures: Tensor | None
    raw: tuple[Any, ...]
    rows: Mapping[str, int]
    replaced: tuple[str, ...] = ()
    task: Task = IMAGE_CLASSIFICATION

    @property
    def is_paired(self) -> bool:
        """Whether an example is a pair of texts."""
        return isinstance(next(iter(self.raw), None), tuple)


def read_examples(run: Run, count: int, cache: DataCache) -> Examples:
    """Ask the finished model and its teacher about a few validation examples that the task chooses.

    Args:
        run: finished.
        count: how many examples.
        cache: data of earlier runs in this process.

    Raises:
        ValueError: model, data or teacher can't be read any more.
        OSError: a file may not be read.
    """
    config = RunConfig.from_dict(run.config)
    basis = read_basis(run.folder, config, cache)
    task, data = task_and_data(config, cache, is_begun=True)
    student = from_pretrained(run.folder / "compressed")
    indices = task.shown_examples(basis.validation, count)
    said = said_by(task, (basis.teacher, student), basis.validation, indices)
    raw = tuple(basis.raw[index] for index in indices)
    rows = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    pictures, replaced = _pictures(basis, indices), tuple(low_rank_layers(student))
    facts = (basis.class_names, pictures, raw, rows, replaced, task)
    return Examples(said, basis.has_teacher, *facts)


def _pictures(basis: RunBasis, indices: list[int]) -> Tensor | None:
    raw = getattr(basis.validation, "raw", None)
    return None if raw is None else raw(torch.as_tensor(indices, device="cpu"))


def examples_html(examples: Examples) -> str:
    """Pictures in a row, or a table of texts, and how they were chosen."""
    pictures = examples.pictures
    shown = _table(examples) if pictures is None else _figures(examples, pictures)
    read = f" {HOW_TO_READ}" if examples.predictions.continuations else ""
    return f'{shown}<p class="caption">{_chosen(examples)} {_score(examples)}{read}</p>'


def _chosen(examples: Examples) -> str:
    count, classes = len(examples.raw), len(examples.class_names)
    begin = f"{count:,} of {examples.rows['validation']:,} validation {_things(examples)}"
    if not examples.task.shows_each_class:
        return f"{begin}, not chosen by how they turned out."
    different = len({_label(examples, index) for index in range(count)})
    which = (
        f"first {different} of {classes} classes" if different < classes else f"{classes} classes"
    )
    rest = ", then others in their order" if different < count else ""
    return (
        f"{begin}: the first of each of the {which}{rest}, not chosen by how it turned out. "
        "✓ right, ✗ wrong; the number is how sure the model is."
    )


def _things(examples: Examples) -> str:
    return "texts" if examples.pictures is None else "images"


def _score(examples: Examples) -> str:
    """So that one that is wrong is not taken for more than it is."""
    count = len(examples.raw)
    student, teacher = (
        [_verdict(examples, answers, index).is_right for index in range(count)]
        for answers in (examples.predictions.student, examples.predictions.teacher)
    )
    if None in student:
        metric = html.escape(examples.task.ranking.label)
        return f"Too few to judge it by: the {metric} above is of the whole split."
    beside = f", the teacher {sum(map(bool, teacher))}" if examples.has_teacher else ""
    return (
        f"The student has {sum(map(bool, student))} of these {count} right{beside}: too few to "
        f"judge it by. The {html.escape(examples.task.ranking.label)} above is of the whole split."
    )


def _verdict(examples: Examples, answers: Tensor, index: int) -> Verdict:
    target = examples.predictions.labels[index]
    return examples.task.verdict(answers[index], target, examples.class_names)


def _said(examples: Examples, index: int) -> list[tuple[str, str]]:
    """Who says what about an example, as HTML."""
    said = (examples.predictions.teacher, examples.predictions.student)
    told = [_verdict_html(_verdict(examples, answers, index)) for answers in said]
    spoken = spoken_html(examples.predictions, index)
    cells = [
        f'{verdict}<div class="spoken">{words}</div>' if words else verdict
        for verdict, words in zip(told, spoken, strict=True)
    ]
    both = [*zip(("teacher", "student"), cells, strict=True)]
    return both if examples.has_teacher else both[1:]


def _verdict_html(verdict: Verdict) -> str:
    """What it says, whether that is right, and how sure the model is."""
    text = f"<bdi>{html.escape(brief(verdict.text, _LONGEST_CLASS))}</bdi>"
    sure = "" if verdict.sure is None else f" <small>{percent(verdict.sure, 0)}</small>"
    if verdict.is_right is None:
        return f"<b>{text}</b>{sure}"
    kind, mark = ("right", "✓") if verdict.is_right else ("wrong", "✗")
    return f'<b class="{kind}">{text} {mark}</b>{sure}'


def _label(examples: Examples, index: int) -> str:
    return examples.task.label(examples.predictions.labels[index], examples.class_names)


def _labels(examples: Examples, index: int) -> list[tuple[str, str]]:
    """What is right, where that is a class; nothing of another task."""
    if not (label := _label(examples, index)):
        return []
    return [("label", f"<bdi>{html.escape(brief(label, _LONGEST_CLASS))}</bdi>")]


def _figures(examples: Examples, pictures: Tensor) -> str:
    figures = []
    for index, picture in enumerate(pictures):
        lines = [*_labels(examples, index), *_said(examples, index)]
        caption = "".join(f"<span><small>{who}</small> {what}</span>" for who, what in lines)
        image = f'<img src="{_source(_array(picture))}" alt="example {index + 1}">'
        masks = _masks(examples, index)
        figures.append(f"<figure>{image}{masks}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="examples">{"".join(figures)}</div>{_legend(examples)}'


def _legend(examples: Examples) -> str:
    """Which color is which class, where the classes of pixels are drawn."""
    count, names = len(examples.raw), examples.class_names
    marks = [
        f'<span><i style="background:rgb{color}"></i>'
        f"<bdi>{html.escape(brief(name, _LONGEST_CLASS))}</bdi></span>"
        for name, color in shown_classes(examples.predictions, range(count), names).items()
    ]
    return f'<p class="caption classes">{"".join(marks)}</p>' if marks else ""


def _masks(examples: Examples, index: int) -> str:
    """The classes of its pixels as pictures, where a task has some."""
    painted = painted_masks(examples.predictions, index)
    if not painted:
        return ""
    told = [
        (side, picture)
        for side, picture in zip(MASK_SIDES, painted, strict=True)
        if examples.has_teacher or side in ("truth", "student")
    ]
    return "".join(
        f'<small>{side}</small><img src="{_source(picture)}" alt="{side}">'
        for side, picture in told
    )


def _array(picture: Tensor) -> np.ndarray:
    values = picture.permute(1, 2, 0).numpy()
    return values[..., 0] if values.shape[2] == 1 else values


def _source(values: np.ndarray) -> str:
    """A picture as an address that holds it."""
    image = Image.fromarray(values)
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    data = io.BytesIO()
    image.save(data, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _table(examples: Examples) -> str:
    lines = [[*_labels(examples, i), *_said(examples, i)] for i in range(len(examples.raw))]
    heads = ["text", *(who for who, _ in lines[0])]
    rows = []
    for raw, told in zip(examples.raw, lines, strict=True):
        text = example_text(raw)
        text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
        cells = [f"<bdi>{html.escape(text)}</bdi>", *(what for _, what in told)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<table class="texts"><thead><tr>{head}</tr></thead>{"".join(rows)}</table>'

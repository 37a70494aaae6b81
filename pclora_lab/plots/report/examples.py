"""Some predictions of the finished model, beside its teacher's."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import example_text
from pclora_lab.models.serialization import from_pretrained, low_rank_layers
from pclora_lab.plots.report.units import percent
from pclora_lab.runs.reader import Run
from pclora_lab.runs.replay import Predictions, RunBasis, probabilities, read_basis
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import brief

__all__ = ["Examples", "examples_html", "first_of_each_class", "read_examples"]

_LONGEST_TEXT = 150
_LARGEST_SIDE = 160
_LONGEST_CLASS = 20


@dataclass(frozen=True)
class Examples:
    """Validation examples and what both models say about them.

    Attributes:
        predictions: of both.
        has_teacher: False where the dense model's head was new and says nothing.
        class_names: of the data.
        pictures: uint8 ``(examples, channels, height, width)``, as the model takes them; None
            where texts are classified.
        raw: the examples as they were read.
        rows: how many examples every split has, by its name.
        replaced: names of the layers that the finished model has in low rank.
    """

    predictions: Predictions
    has_teacher: bool
    class_names: tuple[str, ...]
    pictures: Tensor | None
    raw: tuple[Any, ...]
    rows: Mapping[str, int]
    replaced: tuple[str, ...] = ()

    @property
    def is_paired(self) -> bool:
        """Whether an example is a pair of texts."""
        return isinstance(next(iter(self.raw), None), tuple)


def read_examples(run: Run, count: int, cache: DataCache) -> Examples:
    """Ask the finished model and its teacher about the first validation example of each class.

    Args:
        run: finished.
        count: how many examples.
        cache: data of earlier runs in this process.

    Raises:
        ValueError: model, data or teacher can't be read any more.
        OSError: a file may not be read.
    """
    config = RunConfig.from_dict(run.config)
    basis, data = read_basis(run.folder, config, cache), cache.data(config)
    student = from_pretrained(run.folder / "compressed")
    indices = first_of_each_class(basis.validation.labels, count)
    inputs, labels = basis.validation.batch(torch.as_tensor(indices, device="cpu"))
    said = Predictions(labels, probabilities(basis.teacher, inputs), probabilities(student, inputs))
    raw = tuple(basis.raw[index] for index in indices)
    rows = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    pictures, replaced = _pictures(basis, indices), tuple(low_rank_layers(student))
    return Examples(said, basis.has_teacher, basis.class_names, pictures, raw, rows, replaced)


def first_of_each_class(labels: Tensor, count: int) -> list[int]:
    """Where every class comes first, class by class; then whatever else comes first.

    Example:
        >>> first_of_each_class(torch.tensor([1, 1, 0, 2, 1]), 4)
        [2, 0, 3, 1]
    """
    found = labels.tolist()
    firsts = [found.index(label) for label in sorted(set(found))][:count]
    others = [index for index in range(len(found)) if index not in firsts]
    return firsts + others[: count - len(firsts)]


def _pictures(basis: RunBasis, indices: list[int]) -> Tensor | None:
    raw = getattr(basis.validation, "raw", None)
    return None if raw is None else raw(torch.as_tensor(indices, device="cpu"))


def examples_html(examples: Examples) -> str:
    """Pictures in a row, or a table of texts, and how they were chosen."""
    pictures = examples.pictures
    shown = _table(examples) if pictures is None else _figures(examples, pictures)
    return f'{shown}<p class="caption">{_chosen(examples)} {_score(examples)}</p>'


def _chosen(examples: Examples) -> str:
    labels, classes = examples.predictions.labels.tolist(), len(examples.class_names)
    shown, different = len(labels), len(set(labels))
    which = (
        f"first {different} of {classes} classes" if different < classes else f"{classes} classes"
    )
    rest = ", then others in their order" if different < shown else ""
    return (
        f"{shown:,} of {examples.rows['validation']:,} validation {_things(examples)}: the first "
        f"of each of the {which}{rest}, not chosen by how it turned out. ✓ right, ✗ wrong; the "
        "number is how sure the model is."
    )


def _things(examples: Examples) -> str:
    return "texts" if examples.pictures is None else "images"


def _score(examples: Examples) -> str:
    """So that one that is wrong is not taken for more than it is."""
    said = examples.predictions
    right = int((said.student.argmax(-1) == said.labels).sum())
    teacher = int((said.teacher.argmax(-1) == said.labels).sum())
    beside = f", the teacher {teacher}" if examples.has_teacher else ""
    return (
        f"The student has {right} of these {len(said.labels)} right{beside}: too few to judge it "
        "by. The accuracy above is of the whole split."
    )


def _said(examples: Examples, index: int) -> list[tuple[str, str]]:
    """Who says what about an example, as HTML."""
    label, names = int(examples.predictions.labels[index]), examples.class_names
    who = [("student", examples.predictions.student)]
    if examples.has_teacher:
        who.insert(0, ("teacher", examples.predictions.teacher))
    return [(name, _verdict(said[index], names, label)) for name, said in who]


def _verdict(probabilities: Tensor, names: Sequence[str], label: int) -> str:
    """The most likely class, whether it is right, and how sure the model is."""
    best = int(probabilities.argmax())
    kind, mark = ("right", "✓") if best == label else ("wrong", "✗")
    sure = percent(float(probabilities[best]), 0)
    return f'<b class="{kind}">{_class_html(names, best)} {mark}</b> <small>{sure}</small>'


def _class_html(names: Sequence[str], number: int) -> str:
    name = names[number] if number < len(names) else str(number)
    return f"<bdi>{html.escape(brief(name, _LONGEST_CLASS))}</bdi>"


def _label(examples: Examples, index: int) -> str:
    return _class_html(examples.class_names, int(examples.predictions.labels[index]))


def _figures(examples: Examples, pictures: Tensor) -> str:
    figures = []
    for index, picture in enumerate(pictures):
        lines = [("label", _label(examples, index)), *_said(examples, index)]
        caption = "".join(f"<span><small>{who}</small> {what}</span>" for who, what in lines)
        figures.append(
            f'<figure><img src="{_source(picture)}" alt="example {index + 1}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="examples">{"".join(figures)}</div>'


def _source(picture: Tensor) -> str:
    """A picture as an address that holds it."""
    values = picture.permute(1, 2, 0).numpy()
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    data = io.BytesIO()
    image.save(data, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _table(examples: Examples) -> str:
    heads = ["text", "label", *(who for who, _ in _said(examples, 0))]
    rows = []
    for index, raw in enumerate(examples.raw):
        text = example_text(raw)
        text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
        cells = [f"<bdi>{html.escape(text)}</bdi>", _label(examples, index)]
        cells += [said for _, said in _said(examples, index)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<table class="texts"><thead><tr>{head}</tr></thead>{"".join(rows)}</table>'

"""What is in the chosen data, and what is left out of it, as soon as they are chosen."""

import html
from collections.abc import Callable
from functools import partial

import ipywidgets as widgets
import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.data.loading import EMBEDDED_DATA
from pclora_lab.data.sources import local_path, refuse_vague
from pclora_lab.data.splits import LabeledData, example_text
from pclora_lab.fields import FieldError, nearest, options_of
from pclora_lab.plots.examples.sample import sample_png
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.guessing import guessed_because, pinned_name, task_and_data
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.background import run_once
from pclora_lab.ui.html import SMALL, message_html, picture_html
from pclora_lab.wording import explained

__all__ = ["DataPreview"]

_CSS = f"{SMALL};overflow-wrap:anywhere"

_MOST_NOTES = 3
_MOST_TEXTS, _LONGEST_TEXT = 2, 90


class DataPreview:
    """Task, sizes, account and first examples of a data set on this machine, without a download.

    Args:
        cache: that runs read their data from; None shows nothing.
        on_problem: told what is wrong with the data, or None; perhaps from a thread.
        on_task: called when another task than before is guessed from them; perhaps from a thread.

    Attributes:
        widget: to display.
        problem: what is wrong with the data that were shown last.
        task: name of the task that they are for, where they alone say so; None for classification.
    """

    def __init__(
        self,
        cache: DataCache | None,
        on_problem: Callable[[Exception | None], object] = lambda _: None,
        on_task: Callable[[], object] = lambda: None,
    ) -> None:
        self._cache, self._on_problem, self._on_task = cache, on_problem, on_task
        self._asked = 0
        self.problem: Exception | None = None
        self.task: str | None = None
        self.widget = widgets.HTML(tooltip="")
        self.widget.add_class("pclora-data-account")

    def show(self, config: RunConfig) -> None:
        """Read the config's data in the background, and say what is in them.

        Args:
            config: only what determines its data counts, and its task and model, which may
                contradict them.
        """
        if self._cache is None:
            return
        self._asked += 1
        is_here = _is_here(config.data)
        text = "reading …" if is_here else _elsewhere(config.data)
        self._put(self._asked, message_html(text, css=_CSS))
        if not is_here:
            self._take(self._asked, None)
        else:
            run_once(partial(self._read, config, self._asked), partial(self._refuse, self._asked))

    def require(self, config: RunConfig) -> None:
        """Look again whether the data are still wrong, if they were.

        Raises:
            FieldError: they are, or nothing is named.
        """
        try:
            refuse_vague(config.data)
            if self.problem is not None and self._cache is not None and _is_here(config.data):
                self._read(config, self._asked)
        except Exception as error:
            self._refuse(self._asked, error)
            raise FieldError("data", explained(error) or type(error).__name__) from error

    def _read(self, config: RunConfig, asked: int) -> None:
        if self._cache is None:
            return
        task, data = task_and_data(config, self._cache)
        told = guessed_because(task) if config.task is None else f"task: {task.title}"
        self._put(asked, account_html(data, told) + examples_html(data, task))
        self._take(asked, pinned_name(task) if config.task is None else None)

    def _take(self, asked: int, task: str | None) -> None:
        if asked == self._asked and task != self.task:
            self.task = task
            self._on_task()

    def _refuse(self, asked: int, error: Exception) -> None:
        self._put(asked, "", error)
        self._take(asked, None)

    def _put(self, asked: int, value: str, problem: Exception | None = None) -> None:
        """Unless other data were chosen in the meantime."""
        if asked == self._asked:
            self.problem, self.widget.value = problem, value
            self._on_problem(problem)


def _elsewhere(name: str) -> str:
    if not name.strip():
        return "name a folder, a table (CSV, JSON lines, parquet) or a data set on the hub"
    near = nearest(name, options_of(RunConfig)["data"].suggestions)
    is_known = name in options_of(RunConfig)["data"].suggestions
    return f"not on this machine: read from the hub when a run begins{'' if is_known else near}"


def _is_here(name: str) -> bool:
    path = local_path(name)
    is_path = name.startswith((".", "/", "~"))
    return name in EMBEDDED_DATA or is_path or (path is not None and path.exists())


def account_html(data: LabeledData, told: str = "") -> str:
    """Sizes, account and notes as lines that can't be taken for markup.

    Args:
        data: that were read.
        told: what stands above.

    Example:
        >>> from pclora_lab.data import load_data
        >>> "rows: 1,797 found, 1,797 used" in account_html(load_data("digits"))
        True
    """
    lines = [*([told] if told else []), data.summary().partition(": ")[2]]
    lines += data.account.lines() if data.account else ()
    notes = [*data.notes[:_MOST_NOTES], *(["…"] if len(data.notes) > _MOST_NOTES else ())]
    text = "<br>".join(html.escape(line) for line in (*lines, *notes))
    return f'<div role="status" style="{_CSS}">{text}</div>'


def examples_html(data: LabeledData, task: Task) -> str:
    """The first training examples: pictures with their masks, or texts with what is right.

    Args:
        data: that were read.
        task: says what is right for an example in a few words, where that can be said.
    """
    words = f"the first {task.things} to train on"
    if data.kind == "image":
        masks = ", below each its mask" if data.has_masks else ""
        return picture_html(sample_png(data.train), f"{words}{masks}")
    names, lines = task.class_names(data), []
    rights = data.train.labels if data.train.targets is None else data.train.targets
    for index in range(min(_MOST_TEXTS, len(data.train))):
        text = example_text(data.train.examples[index])
        text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
        right = task.label(torch.as_tensor(rights[index], device="cpu"), names)
        lines.append(f"“{text}”" + (f" → {right}" if right else ""))
    shown = "<br>".join(html.escape(line) for line in lines)
    return f'<div role="note" aria-label="{words}" style="{_CSS}">{shown}</div>'

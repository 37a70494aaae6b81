"""Data whose examples say who they are, and a spy that reads it off whatever a model is given."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from pclora_lab import load_data
from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData, Split

SPLITS = ("train", "validation", "test")
_CODES = dict(zip(SPLITS, (10, 120, 250), strict=True))
_BASE = 250


def marked_digits(**sizes: int) -> LabeledData:
    """The embedded digits; the first three pixels of each are its split and its number.

    Args:
        sizes: examples of a split; all without one.
    """
    digits = load_data("digits")

    def mark(name: str) -> Split:
        split = getattr(digits, name)
        count = sizes.get(name, len(split))
        images = []
        for i in range(count):
            pixels = np.asarray(split.examples[i]).copy()
            pixels[0, :3] = _CODES[name], i // _BASE, i % _BASE
            images.append(Image.fromarray(pixels))
        return Split(images, split.labels[:count])

    return LabeledData("digits", "image", *map(mark, SPLITS), digits.class_names)


class MarkedCache(DataCache):
    """Gives these data for every config."""

    def __init__(self, data: LabeledData) -> None:
        super().__init__()
        self.marked = data

    def data(self, config: object) -> LabeledData:
        """The marked data."""
        return self.marked


@dataclass(frozen=True)
class Pass:
    """One forward pass of a whole model on marked examples.

    Attributes:
        phase: of the run; see :class:`Spy`.
        split: of the examples.
        numbers: which examples.
        trains: whether the model and all of its parts are in training mode.
        evaluates: whether all are in eval mode.
        grad: whether gradients are recorded.
        model: which one.
    """

    phase: str
    split: str
    numbers: tuple[int, ...]
    trains: bool
    evaluates: bool
    grad: bool
    model: int


class Spy:
    """Collects passes; whoever runs the package sets :attr:`phase`."""

    def __init__(self) -> None:
        self.phase, self.passes = "", []
        self._depth = threading.local()

    @contextmanager
    def watching(self) -> Iterator["Spy"]:
        """Inside, every pass of a module that no other module called is noted."""
        before = register_module_forward_pre_hook(self._enter)
        after = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield self
        finally:
            before.remove()
            after.remove()

    def of(self, *phases: str) -> list[Pass]:
        """The passes of some phases."""
        return [p for p in self.passes if p.phase in phases]

    def _enter(self, module: nn.Module, args: tuple) -> None:
        depth = getattr(self._depth, "value", 0)
        self._depth.value = depth + 1
        if depth == 0 and args and isinstance(args[0], torch.Tensor):
            self._note(module, args[0])

    def _leave(self, module: nn.Module, args: tuple, output: object) -> None:
        self._depth.value -= 1

    def _note(self, module: nn.Module, x: torch.Tensor) -> None:
        if x.is_meta or x.shape[1:] != (1, 8, 8):
            return
        marks = ((x[:, 0, 0, :3] * 0.5 + 0.5) * 255).round().int().tolist()
        splits = {code: name for name, code in _CODES.items()}
        if {m[0] for m in marks} - set(splits):
            return  # an example that the package made up
        modes = {m.training for m in module.modules()}
        assert len({m[0] for m in marks}) == 1, "a batch of two splits"
        self.passes.append(
            Pass(
                self.phase,
                splits[marks[0][0]],
                tuple(_BASE * high + low for _, high, low in marks),
                modes == {True},
                modes == {False},
                torch.is_grad_enabled(),
                id(module),
            )
        )

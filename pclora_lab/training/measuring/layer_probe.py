"""Per layer, on a fixed probe batch: what comes from the base, and how far it is from the teacher.

The teacher's answers on the probe never change, so they are computed once; the student's come
from the forward pass that measures the base's share anyway.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.methods.base import Method
from pclora_lab.nn.forward import Inputs, call_model, eval_mode, forward_hooks, token_mask

__all__ = ["LAYER_METRICS", "LayerProbe", "linear_cka"]

LAYER_METRICS = ("layer_base_share", "layer_mse", "layer_cka")


_TOKENS = 256


_DIGITS = 6


def centered_gram(features: Tensor) -> Tensor:
    """``K = X Xᵀ`` of the centered rows, scaled to norm 1; ``(rows, rows)``."""
    # In half precision, equal representations would look different.
    with torch.autocast(features.device.type, enabled=False):
        centered = features - features.mean(0)
        gram = centered @ centered.T
        return gram / gram.norm().clamp_min(1e-12)


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Similarity of two representations of the same rows, 1 if they are equal up to rotation.

    ``CKA = ‖Yᵀ X‖²_F / (‖Xᵀ X‖_F · ‖Yᵀ Y‖_F)`` with centered columns. Source: Kornblith et al.,
    arXiv:1905.00414, linear kernel.

    Args:
        x: ``(rows, features)``.
        y: ``(rows, other features)``.

    Example:
        >>> x = torch.eye(4)[:, :3]
        >>> round(linear_cka(x, 2 * x.flip(1)), 4)
        1.0
    """
    return (centered_gram(x) * centered_gram(y)).sum().item()


class LayerProbe:
    """Measures the layers of a student on one batch, again and again.

    Args:
        method: knows the share of the base, if it has one.
        student: what is trained.
        teacher: the dense model; its features are read here, once.
        names: layers to look at; those that the student has under the same name count.
        inputs: the fixed batch, on the models' device.

    Attributes:
        seconds: what measuring has cost so far.
    """

    def __init__(
        self,
        method: Method,
        student: nn.Module,
        teacher: nn.Module,
        names: Iterable[str],
        inputs: Inputs,
    ) -> None:
        self.method, self.student, self.inputs = method, student, inputs
        there = dict(student.named_modules())
        self.names = [name for name in names if name in there]
        began = time.perf_counter()
        # And the last of them: asking the device for it would wait for every layer.
        self._rows: tuple[Tensor, int] | None = None
        with self._picked(teacher) as self._teacher, eval_mode(teacher):
            call_model(teacher, inputs)
        self._grams = {n: centered_gram(x) for n, x in self._teacher.items()}
        self.seconds = time.perf_counter() - began

    @contextmanager
    def _picked(self, model: nn.Module, wanted: bool = True) -> Iterator[dict[str, Tensor]]:
        """A few tokens of every layer's output; whole ones could take more than training."""
        found: dict[str, Tensor] = {}

        def keep(name: str, _: Tensor, output: Tensor | tuple) -> None:
            part = self._pick(output[0] if isinstance(output, tuple) else output)
            # A layer that runs several times is as far from the teacher's in all of them.
            found[name] = torch.cat([found[name], part]) if name in found else part

        names = self.names if wanted else []
        with forward_hooks({name: model.get_submodule(name) for name in names}, keep):
            yield found

    def _pick(self, output: Tensor) -> Tensor:
        """The same few tokens every time, padding left out: ``(rows, features)``."""
        features = output.detach().float().reshape(-1, output.shape[-1])
        if self._rows is None:
            chosen = self._chosen(len(features))
            self._rows = chosen.to(features.device), int(chosen.max())
        rows, last = self._rows
        return features[rows] if last < len(features) else features[:_TOKENS]

    def _chosen(self, count: int) -> Tensor:
        """Rows of so many, evenly spread over those that are no padding."""
        real = token_mask(self.inputs)
        places = torch.arange(count, device="cpu")
        if real is not None and real.numel() == count:
            places = places[real.flatten().cpu()]
        few = min(len(places), _TOKENS)
        return places[torch.linspace(0, len(places) - 1, few, device="cpu").long()]

    def measure(self, *, distances: bool = True) -> dict[str, Any]:
        """Facts for a history row: the method's own and, if asked, distances by layer."""
        began = time.perf_counter()
        with self._picked(self.student, distances) as picked:
            facts = self.method.measure(self.student, self.inputs)
            if distances and self.names and not picked:
                with eval_mode(self.student):
                    call_model(self.student, self.inputs)
        facts |= self._distances(picked)
        self.seconds += time.perf_counter() - began
        return {name: _rounded(value) for name, value in facts.items()}

    def _distances(self, student: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        names = [n for n, x in student.items() if x.shape == self._teacher[n].shape]
        if not names:
            return {}
        gaps = [(student[n] - self._teacher[n]).square().mean() for n in names]
        likeness = [(centered_gram(student[n]) * self._grams[n]).sum() for n in names]
        # One transfer from the device for both.
        mse, cka = torch.stack([torch.stack(gaps), torch.stack(likeness)]).tolist()
        return {
            "layer_mse": {name: mse[place] for place, name in enumerate(names)},
            "layer_cka": {name: cka[place] for place, name in enumerate(names)},
        }


def _rounded(value: Any) -> Any:
    """Layer facts fill the history; six significant digits are more than a plot shows."""
    if not isinstance(value, dict):
        return value
    return {name: float(f"{number:.{_DIGITS}g}") for name, number in value.items()}

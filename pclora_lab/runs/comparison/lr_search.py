"""The learning rate of each method in a comparison: chosen on validation data, then kept.

The search starts from a method's own few values and goes on outwards while the best is at an edge,
because a fixed pair favors the methods that it happens to suit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pclora_lab.files import make_folder
from pclora_lab.json_files import write_json
from pclora_lab.methods.base import LARGEST_LR, SMALLEST_LR
from pclora_lab.methods.registry import method_class
from pclora_lab.remarks import remark
from pclora_lab.runs.durable.stored import read_tuning
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.wording import explained

__all__ = ["FACTOR", "REACH", "LRSearch"]

FACTOR = 2.0


# How many steps the search may go beyond a method's own values.
REACH = 3


class LRSearch:
    """What was tried and what was chosen, by method.

    Args:
        folder: choices are kept in ``folder/<method>.json``, so that another grid in the same
            comparison does not choose anew and make finished runs stale.
        given: the only learning rates to try; None takes each method's own and goes on from there.
        metric: of the task, that the trials are ranked by.

    Attributes:
        column: of a trial's number on validation data, such as ``validation_accuracy``.
        tried: one record per trial, with ``method``, ``lr``, ``error`` and that number.
        chosen: learning rate by method, once its search is over.
    """

    def __init__(
        self, folder: Path, given: Sequence[float] | None, metric: TaskMetric = ACCURACY
    ) -> None:
        self.folder, self.given, self.metric = folder, given, metric
        self.column = f"validation_{metric.key}"
        self.tried: list[dict[str, Any]] = []
        self.chosen: dict[str, float] = {}

    def first(self, name: str) -> tuple[float, ...]:
        """What is tried first; nothing where there is no choice or the method only cuts."""
        rates = self._own(name)
        return rates if len(rates) > 1 and method_class(name).trains else ()

    def _own(self, name: str) -> tuple[float, ...]:
        return tuple(self.given) if self.given else method_class(name).lr_grid

    def begin(self, name: str) -> None:
        """Forget the trials of a search that was not finished."""
        self.tried = [trial for trial in self.tried if trial["method"] != name]

    def note(self, trial: Mapping[str, Any]) -> None:
        """Keep what came out of a trial."""
        self.tried.append(dict(trial))

    def sort(self, names: Sequence[str]) -> None:
        """Put the trials in the order of the methods; each method's keep theirs."""
        order = {name: place for place, name in enumerate(names)}
        self.tried.sort(key=lambda trial: order.get(trial["method"], len(order)))

    def further(self, name: str) -> float | None:
        """The next value outwards, if the best so far is at an edge and not at the limit."""
        good = [trial["lr"] for trial in self._good(name)]
        if self.given or not good:
            return None
        best = self.best(name)
        if best == max(good):
            rate = float(f"{best * FACTOR:.2g}")
        elif best == min(good):
            rate = float(f"{best / FACTOR:.2g}")
        else:
            return None
        low, high = min(self._own(name)), max(self._own(name))
        in_reach = low / FACTOR**REACH * 0.95 <= rate <= high * FACTOR**REACH * 1.05
        in_reach = in_reach and SMALLEST_LR <= rate <= LARGEST_LR
        # One that failed is no reason to try it for ever.
        is_tried = any(t["method"] == name and t["lr"] == rate for t in self.tried)
        return rate if in_reach and not is_tried else None

    def best(self, name: str) -> float:
        """The choice, or the best so far, or the first value where nothing is known."""
        if name in self.chosen:
            return self.chosen[name]
        good = self._good(name)
        if not good:
            return self._own(name)[0]
        rank = self.metric.rank
        return max(good, key=lambda trial: (rank(trial[self.column]), trial["lr"]))["lr"]

    def _good(self, name: str) -> list[dict[str, Any]]:
        return [trial for trial in self.tried if trial["method"] == name and not trial["error"]]

    def choose(self, name: str) -> None:
        """End a search."""
        self.chosen[name] = self.best(name)
        if self._good(name):
            try:
                self._keep(name)
            except OSError as error:
                remark(
                    f"the learning rate of {name} can't be kept ({explained(error)}): another "
                    "comparison in this folder chooses it anew"
                )

    def _keep(self, name: str) -> None:
        make_folder(self.folder)
        tried = [trial for trial in self.tried if trial["method"] == name]
        write_json(self._file(name), {"lr": self.chosen[name], "tried": tried})

    def recall(self, name: str) -> None:
        """Take over an earlier choice, if there is one that can be believed."""
        try:
            known = read_tuning(self._file(name), name, self.metric)
        except (OSError, ValueError) as error:
            remark(f"the choice in {self._file(name)} can't be used: {error}. It is made again")
            return
        if known is not None:
            self.chosen[name] = known["lr"]
            self.tried += known["tried"]

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

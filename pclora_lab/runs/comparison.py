"""Every method at every budget and seed, on the same data and steps: one table.

The steps are the method's own. Compressors start from a teacher that fits the data, which may have
been fine-tuned before; ``starts_from`` says so in every row.

A comparison is a folder of runs, one per cell. A cell that is finished is not run again; one that
fails is a row with its reason, and the rest goes on.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pclora_lab.data.cache import DataCache
from pclora_lab.fields import Part, present_names, values_of
from pclora_lab.files import write_json
from pclora_lab.methods.base import Method, MethodConfig
from pclora_lab.methods.registry import compared_methods, make_method, method_class
from pclora_lab.runs import result_columns
from pclora_lab.runs.execution import execute
from pclora_lab.runs.folder import delete_run
from pclora_lab.runs.lr_search import LRSearch
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import StepEnd

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cell", "Comparison", "Step", "compare", "summarize"]


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        name: of its folder.
        budget: None for methods that have no size to choose.
        config: what is run.
    """

    name: str
    method: str
    budget: float | None
    seed: int
    config: RunConfig

    @property
    def steps(self) -> int:
        """Optimizer steps, at least 1."""
        return self.config.steps if method_class(self.method).trains else 1


@dataclass(frozen=True)
class Step:
    """Progress of a whole comparison, in optimizer steps; ``ends_cell`` where a run is over."""

    cell: Cell
    done: int
    total: int
    ends_cell: bool = False


class Comparison:
    """A grid of methods, budgets and seeds in a folder.

    Args:
        base: model, data, steps and machine of every run; its method and seed are not used.
        methods: names; None takes those that say they belong to a comparison.
        budgets: shares of the replaced layers' parameters that are kept, or trained by methods
            that do not compress.
        seeds: of new weights and batches.
        out: the folder; fine-tuned teachers are kept in ``out/teachers``.
        options: configs by method name, where the usual ones are not wanted.
        lrs: learning rates tried for every method; with one there is nothing to choose. None
            starts from each method's own few and goes on outwards while the best is at the edge.

    Raises:
        ValueError: unknown method, a budget outside (0, 1], nothing to compare, or a folder that
            holds a comparison with another configuration.
    """

    def __init__(
        self,
        base: RunConfig | None = None,
        *,
        methods: Sequence[str] | None = None,
        budgets: Sequence[float] = (0.05, 0.1, 0.2),
        seeds: Sequence[int] = (0, 1, 2),
        out: Path | str = "runs/comparison",
        options: Mapping[str, MethodConfig] | None = None,
        lrs: Sequence[float] | None = None,
    ) -> None:
        methods = compared_methods() if methods is None else methods
        for name, values in (("methods", methods), ("budgets", budgets), ("seeds", seeds)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} is {list(values)}: name at least one, and each once")
        self.base = base if base is not None else RunConfig(evaluations=4)
        self.methods, self.budgets, self.seeds = tuple(methods), tuple(budgets), tuple(seeds)
        self.out, self.search = Path(out), LRSearch(Path(out) / "tuning", lrs)
        options = options or {}
        self.configs = {m: options.get(m) or method_class(m).default_config() for m in methods}
        _check_options(options, self.configs)
        for name in self.methods:
            self._cells_to_come(name)  # refuses bad budgets, seeds and learning rates
        self._claim_folder()
        for name in self.methods:
            self.search.recall(name)
        self.errors: dict[str, str] = {}

    def _claim_folder(self) -> None:
        """Refuse to mix: the folder belongs to one base configuration."""
        axes = values_of(self.base, Part.AXIS)
        facts = {k: v for k, v in _plain(self.base.to_dict()).items() if k not in axes}
        facts |= {"lrs": list(self.search.given) if self.search.given else None}
        path = self.out / "comparison.json"
        known = json.loads(path.read_text(encoding="utf8")) if path.is_file() else None
        if known is not None:
            known["base"] = present_names(RunConfig, known["base"])
            known["methods"] = {
                m: present_names(method_class(m).Config, c) for m, c in known["methods"].items()
            }
            methods = {**known["methods"], **{m: c.to_dict() for m, c in self.configs.items()}}
            # What an older version did not know was as it is by default now.
            default_config = _plain(RunConfig().to_dict())
            different = [
                k for k in facts if known["base"].get(k, default_config.get(k)) != facts[k]
            ]
            for m, c in known["methods"].items():
                if _plain(methods[m]) != {**_plain(method_class(m).Config().to_dict()), **c}:
                    different.append(m)
            # Where nothing has come out yet there is nothing to mix, only a mistake to mend.
            if different and any(self.out.glob("cells/*/result.json")):
                raise ValueError(
                    f"{self.out} holds a comparison with another configuration (it differs in "
                    f"{', '.join(different)}): choose another folder"
                )
            if different:
                methods = {m: c.to_dict() for m, c in self.configs.items()}
        else:
            methods = {m: c.to_dict() for m, c in self.configs.items()}
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(path, {"base": facts, "methods": methods})

    def _method(self, name: str, budget: float) -> Method:
        return make_method(self.configs[name]).with_budget(budget)

    def _cell(self, name: str, budget: float, seed: int, lr: float, split: str) -> Cell:
        method = self._method(name, budget)
        sized = hasattr(method.config, "budget")
        # What draws nothing gives the same for every seed, so it is run for the first one only.
        seed = seed if method.trains else self.seeds[0]
        parts = [name, *([f"b{budget:g}"] if sized else []), f"s{seed}"]
        if split != "test":
            parts += [f"lr{lr:g}", split]
        # Nobody looks into the layers of so many runs, and their time is compared.
        config = dataclasses.replace(
            self.base, method=method.config, seed=seed, lr=lr, report_on=split,
            layer_metrics=False, snapshots=0,
        )  # fmt: skip
        return Cell("-".join(parts), name, budget if sized else None, seed, config)

    @property
    def tuning(self) -> list[dict[str, Any]]:
        """What was tried to choose the learning rates."""
        return self.search.tried

    def trials(self, name: str) -> list[Cell]:
        """Runs that choose a method's learning rate: first seed, middle budget, validation."""
        return [self._trial(name, lr) for lr in self.search.first(name)]

    def _trial(self, name: str, lr: float) -> Cell:
        budget = sorted(self.budgets)[len(self.budgets) // 2]
        return self._cell(name, budget, self.seeds[0], lr, "validation")

    def cells(self, name: str) -> list[Cell]:
        """A method's runs at its chosen learning rate, each once."""
        lr = self.search.best(name)
        grid = [self._cell(name, b, s, lr, "test") for b in self.budgets for s in self.seeds]
        return list({cell.name: cell for cell in grid}.values())

    def run(self) -> Iterator[Step]:
        """Run what is not finished yet, one cell after the other."""
        self._done, self._cache = 0, DataCache()
        self._total = sum(c.steps for n in self.methods for c in self._cells_to_come(n))
        for name in self.methods:
            yield from self._tune(name)
            for cell in self.cells(name):
                yield from self._steps(cell)

    def _cells_to_come(self, name: str) -> list[Cell]:
        return ([] if name in self.search.chosen else self.trials(name)) + self.cells(name)

    def _tune(self, name: str) -> Iterator[Step]:
        if name in self.search.chosen:
            return
        self.search.begin(name)
        trials = self.trials(name)
        for cell in trials:  # grows while the best learning rate is at the edge
            yield from self._steps(cell)
            self._note_trial(name, cell)
            further = self.search.further(name) if cell is trials[-1] else None
            if further is not None:
                trials.append(self._trial(name, further))
                self._total += cell.steps
        self.search.choose(name)

    def _steps(self, cell: Cell) -> Iterator[Step]:
        for step in self._run_cell(cell, self._cache):
            yield Step(cell, self._done + step, self._total)
        self._done += cell.steps
        yield Step(cell, self._done, self._total, ends_cell=True)

    def _run_cell(self, cell: Cell, cache: DataCache) -> Iterator[int]:
        folder = self._folder(cell)
        if self._result(cell) is not None:
            return
        if (folder / "versions.json").is_file():
            delete_run(folder)
        run = execute(cell.config, folder.parent, name=cell.name, teachers=self.out, cache=cache)
        try:
            with closing(run) as events:
                for event in events:
                    if isinstance(event, StepEnd) and event.phase == "fade":
                        yield event.step
        except Exception as error:  # noqa: BLE001 - becomes a row; the other cells go on
            self.errors[cell.name] = f"{type(error).__name__}: {error}"

    def _folder(self, cell: Cell) -> Path:
        return self.out / "cells" / cell.name

    def _note_trial(self, name: str, cell: Cell) -> None:
        """Keep what was tried."""
        result = self._result(cell)
        facts = {"method": name, "budget": cell.budget, "seed": cell.seed}
        facts |= {"lr": cell.config.lr, "error": self._error(cell)}
        self.search.note({**facts, "validation_accuracy": result and result["accuracy"]})

    def _result(self, cell: Cell) -> dict[str, Any] | None:
        path = self._folder(cell) / "result.json"
        result = json.loads(path.read_text(encoding="utf8")) if path.is_file() else None
        # One at another learning rate is left over from before the choice changed.
        trained = method_class(cell.method).trains
        stale = result is not None and trained and result["lr"] != cell.config.lr
        return None if stale else result

    def _error(self, cell: Cell) -> str | None:
        if self._result(cell) is not None:
            return None
        if cell.name in self.errors:
            return self.errors[cell.name]
        folder = self._folder(cell)
        return load_run(folder).error if folder.is_dir() else "not run yet"

    def rows(self) -> list[dict[str, Any]]:
        """One row per method, budget and seed; plain types only.

        A method without a size to choose is run once per seed and stands at every budget; one
        that trains nothing is run once per budget and stands at every seed.
        """
        return [
            self._row(name, budget, seed)
            for name in self.methods
            for budget in self.budgets
            for seed in self.seeds
        ]

    def _row(self, name: str, budget: float, seed: int) -> dict[str, Any]:
        lr = self.search.best(name)
        cell = self._cell(name, budget, seed, lr, "test")
        result = self._result(cell) or {}
        facts = {key: result.get(key) for key in _compared()}
        return {
            "method": name,
            "budget": budget,
            "seed": seed,
            **facts,
            "uses_budget": cell.budget is not None,
            "starts_from": make_method(self.configs[name]).starts_from,
            "steps": self.base.steps if method_class(name).trains else 0,
            "error": self._error(cell),
        }


def _check_options(
    options: Mapping[str, MethodConfig], compared: Mapping[str, MethodConfig]
) -> None:
    for name, config in options.items():
        if name not in compared:
            raise ValueError(
                f"there are options for {name!r}, which is not compared: the methods are "
                f"{', '.join(compared)}"
            )
        if config.name != name:
            raise ValueError(f"the options for {name!r} are of {config.name!r}: pass its own")


def _plain(value: Any) -> Any:
    """As it would come back from JSON."""
    return json.loads(json.dumps(value))


def compare(base: RunConfig | None = None, *, bar: bool = False, **grid: Any) -> "pd.DataFrame":
    """Run a comparison to its end and return one tidy table.

    Args:
        base: model, data, steps and machine of every run.
        bar: show a progress bar with the time left on stderr.
        grid: see :class:`Comparison`.

    Returns:
        A row per method, budget and seed: accuracy on the test split, parameters, bytes on disk,
        MACs, latency, seconds, peak memory, and the reason where a run failed.
    """
    import pandas as pd
    from tqdm import tqdm

    comparison = Comparison(base, **grid)
    with tqdm(disable=not bar, unit="step", dynamic_ncols=True) as shown:
        for step in comparison.run():
            shown.total = step.total
            shown.set_description(step.cell.name, refresh=False)
            shown.update(step.done - shown.n)
    return pd.DataFrame(comparison.rows())


def _compared() -> list[str]:
    """Keys of a result that the rows of a comparison hold."""
    return [column.key for column in result_columns.RESULT_COLUMNS if column.compared]


def summarize(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Mean and standard deviation over seeds, per method and budget; failed runs are left out.

    Example:
        >>> facts = {"method": "svd", "budget": 0.1, "params_before": 10, "params_after": 2}
        >>> rows = [{**facts, "seed": s, "accuracy": a} for s, a in ((0, 0.4), (1, 0.6))]
        >>> float(summarize(rows).loc[0, "accuracy_mean"])
        0.5
    """
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame = frame[frame["accuracy"].notna()]
    others = [c for c in _compared() if c in frame and pd.api.types.is_numeric_dtype(frame[c])]
    others = [c for c in others if c != "accuracy"]
    groups = frame.groupby(["method", "budget"], sort=False)
    table = groups["accuracy"].agg(accuracy_mean="mean", accuracy_std="std", seeds="count")
    return table.join(groups[others].mean()).reset_index()

"""The runs that a comparison is made of: one per method, budget and seed."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import compared_methods, make_method, method_class
from pclora_lab.training.config import RunConfig

__all__ = ["Cell", "Grid"]


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


class Grid:
    """Methods, budgets and seeds around one configuration.

    Args:
        base: model, data, steps and machine of every run; its method and seed are not used.
        methods: names; None takes those that say they belong to a comparison.
        budgets: shares of the replaced layers' parameters that are kept or trained.
        seeds: of new weights and batches.
        options: configs by method name, where the usual ones are not wanted.

    Attributes:
        configs: one per method; the budget in it is not used.

    Raises:
        ValueError: unknown method, or nothing to compare.
    """

    def __init__(
        self,
        base: RunConfig,
        methods: Sequence[str] | None,
        budgets: Sequence[float],
        seeds: Sequence[int],
        options: Mapping[str, MethodConfig],
    ) -> None:
        methods = compared_methods() if methods is None else methods
        for name, values in (("methods", methods), ("budgets", budgets), ("seeds", seeds)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} is {list(values)}: name at least one, and each once")
        self.base = base
        self.methods, self.budgets, self.seeds = tuple(methods), tuple(budgets), tuple(seeds)
        self.configs = {m: options.get(m) or method_class(m).default_config() for m in methods}
        _check_options(options, self.configs)

    def cell(self, name: str, budget: float, seed: int, lr: float, split: str = "test") -> Cell:
        """The run of a method at a budget and seed.

        Raises:
            ValueError: a budget outside (0, 1], or a bad seed or learning rate.
        """
        method = make_method(self.configs[name]).with_budget(budget)
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

    def cells(self, name: str, lr: float) -> list[Cell]:
        """A method's runs, each once."""
        grid = [self.cell(name, b, s, lr) for b in self.budgets for s in self.seeds]
        return list({cell.name: cell for cell in grid}.values())

    def trial(self, name: str, lr: float) -> Cell:
        """A run that helps to choose a learning rate: first seed, middle budget, validation."""
        budget = sorted(self.budgets)[len(self.budgets) // 2]
        return self.cell(name, budget, self.seeds[0], lr, "validation")


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

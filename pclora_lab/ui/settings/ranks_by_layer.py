"""A rank for each layer in place of one for all."""

from collections.abc import Mapping

from pclora_lab.methods.base import MethodConfig

__all__ = ["RanksByLayer"]


class RanksByLayer:
    """Ranks that were chosen layer by layer; none while one rank is for all.

    Args:
        config: a method's options, which may have such ranks.

    Example:
        >>> from pclora_lab import PCLoRAConfig
        >>> ranks = RanksByLayer(PCLoRAConfig(rank={"fc1": 4, "fc2": 8}))
        >>> str(ranks), ranks.values()
        ('2 layers, rank 4 to 8', {'rank': {'fc1': 4, 'fc2': 8}})
    """

    def __init__(self, config: MethodConfig) -> None:
        self._ranks: dict[str, int | str] | None = None
        self.show(config)

    def show(self, config: MethodConfig) -> None:
        """Take the ranks of a method's options, if it has such."""
        rank = getattr(config, "rank", None)
        self.use(dict(rank) if isinstance(rank, tuple) else None)

    def use(self, ranks: Mapping[str, int | str] | None) -> None:
        """Take a rank for each layer; None takes one for all again."""
        self._ranks = None if ranks is None else dict(ranks)

    @property
    def given(self) -> bool:
        """Whether there is a rank for each layer."""
        return self._ranks is not None

    def values(self) -> dict[str, dict[str, int | str]]:
        """The ``rank`` of a method's options, if it is given by layer."""
        return {} if self._ranks is None else {"rank": self._ranks}

    def __str__(self) -> str:
        ranks = self._ranks or {}
        whole = sorted(rank for rank in ranks.values() if isinstance(rank, int))
        said = f"rank {whole[0]} to {whole[-1]}" if whole else "shares of break-even"
        return f"{len(ranks)} layers, {said}" if ranks else "one rank for all layers"

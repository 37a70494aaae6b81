"""What a method makes of a layer that it replaces: a picture of it asks for no method's name."""

from dataclasses import dataclass

__all__ = ["LayerParts"]


@dataclass(frozen=True, kw_only=True)
class LayerParts:
    """What adds up to the output of a replaced layer while its method trains.

    Attributes:
        formula: how, with W ``(out, in)`` and b of the dense layer; empty where no layer is
            replaced.
        base: whether W is there, frozen, at least in the beginning.
        factors: whether A ``(rank, in)`` and B ``(out, rank)`` are there.
        offset: whether C ``(out,)`` stands beside the factors, also where the dense layer has no b.
        changes: whether ΔW, of which few entries may be other than 0, is added to W.

    Example:
        >>> LayerParts(formula="y = Wx + b + s·B(Ax)", base=True, factors=True).offset
        False
        >>> LayerParts().replaces
        False
    """

    formula: str = ""
    base: bool = False
    factors: bool = False
    offset: bool = False
    changes: bool = False

    @property
    def replaces(self) -> bool:
        """Whether there is a layer of the method's own at all."""
        return self.base or self.factors

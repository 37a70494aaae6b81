"""The names that can be chosen, and the error for others."""

__all__ = ["KERNELS", "SPARSIFIERS", "check_choice"]

KERNELS = ("piecewise_linear", "mixed", "linear", "rbf", "sigmoid")
SPARSIFIERS = ("squared", "soft", "mask")


def check_choice(what: str, name: str, names: tuple[str, ...]) -> None:
    """Raise unless the name is one of the names."""
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}: use one of {', '.join(names)}")

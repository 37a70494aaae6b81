"""Whether a class from another package is a method that can be run, shown and compared."""

import dataclasses

from pclora_lab.fields import KINDS, options_of
from pclora_lab.methods.base import Method, MethodConfig, check_lr
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.metrics import Metric
from pclora_lab.plugins import PluginError, require_class, require_defined

__all__ = ["check_method"]

_VERBS = ("apply", "finalize")
_STARTS = ("teacher", "pretrained", "nothing")


def check_method(name: str, loaded: object) -> type[Method]:
    """What an entry point gave, if it is a method that can be run, shown and compared.

    Args:
        name: the entry point's name.
        loaded: what it points to.

    Raises:
        PluginError: what is missing, and what to add.
    """
    method = require_class(loaded, Method, "method", example="TopK")
    require_defined(name, method, Method, _VERBS)
    _check_config(name, method)
    _check_description(method)
    return method


def _check_config(name: str, method: type[Method]) -> None:
    config = getattr(method, "Config", None)
    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        raise PluginError(
            f"{method.__name__} lacks Config",
            "Give it a subclass of pclora_lab.methods.MethodConfig",
        )
    if config.name != name:
        raise PluginError(
            f"{config.__name__}.name is {config.name!r}, the method's is {name!r}",
            "Give both the same name",
        )
    try:
        config()
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"{config.__name__}() fails with {type(error).__name__}: {error}",
            "Make it a frozen dataclass in which every field has a default that is allowed",
        ) from error
    described = options_of(config)
    bare = [f.name for f in dataclasses.fields(config) if f.name not in described]
    wrong = [field for field, option in described.items() if option.kind not in KINDS]
    if bare or wrong:
        raise PluginError(
            f"{', '.join(bare + wrong)} of {config.__name__} can't be shown as a flag or a control",
            "Describe every field with pclora_lab.fields.option",
        )


def _check_description(method: type[Method]) -> None:
    texts = [what for what in ("title", "summary") if not getattr(method, what, None)]
    if texts:
        raise PluginError(f"{method.__name__} lacks {', '.join(texts)}", "Add a short text")
    if not all(isinstance(metric, Metric) for metric in method.metrics):
        raise PluginError(
            f"metrics of {method.__name__} are {method.metrics!r}",
            "Describe each with pclora_lab.methods.Metric",
        )
    if not isinstance(method.layer_parts, LayerParts | None):
        raise PluginError(
            f"layer_parts of {method.__name__} are {method.layer_parts!r}",
            "Describe them with pclora_lab.methods.layer_parts.LayerParts, or leave them out",
        )
    _check_rates(method)
    if isinstance(method.starts_from, str) and method.starts_from not in _STARTS:
        raise PluginError(
            f"starts_from of {method.__name__} is {method.starts_from!r}",
            f"Use one of {', '.join(_STARTS)}",
        )


def _check_rates(method: type[Method]) -> None:
    cure = "Give one learning rate or more, such as (1e-3, 2e-3)"
    if not isinstance(method.lr_grid, tuple | list) or not method.lr_grid:
        raise PluginError(f"lr_grid of {method.__name__} is {method.lr_grid!r}", cure)
    try:
        for rate in method.lr_grid:
            check_lr(f"a rate in lr_grid of {method.__name__}", rate)
        check_lr(f"default_lr of {method.Config.__name__}", method.Config.default_lr)
    except ValueError as error:
        raise PluginError(str(error), cure) from error

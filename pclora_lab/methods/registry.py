"""Which methods there are: those of this package, and those that other packages add.

A new one here is a folder of its own and a name in :data:`METHODS`; elsewhere it is an entry point
of the group ``pclora_lab.methods``.
"""

from collections.abc import Mapping
from typing import Any

from pclora_lab.fields import known_fields
from pclora_lab.methods.base import Method, MethodConfig
from pclora_lab.methods.full import Full
from pclora_lab.methods.lora import LoRA
from pclora_lab.methods.method_checks import check_method
from pclora_lab.methods.pclora.method import PCLoRA
from pclora_lab.methods.pela.method import PELA
from pclora_lab.methods.small import SmallFromScratch
from pclora_lab.methods.snella.method import SNELLA
from pclora_lab.methods.svd import SVD, SVDKD, ActivationSVD
from pclora_lab.plugins import Registry

__all__ = ["METHODS", "compared_methods", "config_from_dict", "make_method", "method_class"]

METHODS: Registry[type[Method]] = Registry(
    "pclora_lab.methods",
    "method",
    {
        method.name: method
        for method in (
            PCLoRA, PELA, SNELLA, LoRA, SVDKD, SVD, ActivationSVD, Full, SmallFromScratch,
        )
    },
    check_method,
)  # fmt: skip


def method_class(name: object) -> type[Method]:
    """The class of a method.

    Raises:
        ValueError: unknown name; lists those there are, or says why it was left out.

    Example:
        >>> method_class("full").title
        'full fine-tuning'
    """
    return METHODS.require(name)


def compared_methods() -> tuple[str, ...]:
    """What a comparison takes unless told otherwise.

    Example:
        >>> "pclora" in compared_methods()
        True
    """
    return tuple(name for name, method in METHODS.items() if method.in_default_comparison)


def make_method(config: MethodConfig) -> Method:
    """The method that a config belongs to, bound to it.

    Example:
        >>> from pclora_lab.methods import PCLoRAConfig
        >>> make_method(PCLoRAConfig(rank=4)).config.rank
        4
    """
    return method_class(config.name)(config)


def config_from_dict(values: Mapping[str, Any]) -> MethodConfig:
    """The inverse of :meth:`MethodConfig.to_dict`; without a name it is PC-LoRA's.

    Raises:
        ValueError: unknown method or field.
    """
    values = dict(values)
    config = method_class(values.pop("name", PCLoRA.name)).Config
    return config(**known_fields(config, values))

"""Which methods there are. A new one is a folder of its own and a line in :data:`METHODS`."""

from collections.abc import Mapping
from typing import Any

from pclora_lab.fields import known_fields
from pclora_lab.methods.base import Method, MethodConfig
from pclora_lab.methods.full import Full
from pclora_lab.methods.lora import LoRA
from pclora_lab.methods.pclora.method import PCLoRA
from pclora_lab.methods.pela.method import PELA
from pclora_lab.methods.small import SmallFromScratch
from pclora_lab.methods.snella.method import SNELLA
from pclora_lab.methods.svd import SVD, SVDKD, ActivationSVD

__all__ = ["METHODS", "Method", "config_from_dict", "make_method", "method_class"]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (PCLoRA, PELA, SNELLA, LoRA, SVDKD, SVD, ActivationSVD, Full, SmallFromScratch)
}


def method_class(name: object) -> type[Method]:
    """The class of a method.

    Raises:
        ValueError: unknown name; lists those there are.

    Example:
        >>> method_class("full").title
        'full fine-tuning'
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: use one of {', '.join(METHODS)}")
    return METHODS[name]


def make_method(config: MethodConfig) -> Method:
    """The method that a config belongs to, bound to it.

    Example:
        >>> from pclora_lab.methods.pclora.config import PCLoRAConfig
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

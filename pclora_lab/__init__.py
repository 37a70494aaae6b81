"""PC-LoRA: fade a transformer's frozen base weights out until only low-rank adapters are left.

Importing this costs little more than importing torch: whatever needs timm, datasets, accelerate
or widgets is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

from pclora_lab.accounting import ModelCounts, Plan, Size, count_model, plan
from pclora_lab.config import PCLoRAConfig, RunConfig
from pclora_lab.layers import LowRankLinear, PCLoRALinear
from pclora_lab.losses import Distiller, total_loss
from pclora_lab.methods.pclora import (
    base_removed,
    base_share,
    compress,
    drop_base,
    get_pclora_model,
    set_base_weight_factor,
    set_progress,
)
from pclora_lab.schedules import SCHEDULES, base_weight_factor

__version__ = "0.1.0"

_LATER = {
    "Comparison": "comparing",
    "DistillationLoss": "trainer",
    "PCLoRACallback": "trainer",
    "Session": "session",
    "compare": "comparing",
    "count_flops": "flops",
    "export_run": "deploy",
    "from_pretrained": "export",
    "load_compressed": "export",
    "load_data": "data",
    "load_model": "models",
    "load_run": "runs",
    "push_to_hub": "deploy",
    "resume": "resuming",
    "save_compressed": "export",
    "save_pretrained": "export",
    "train": "training",
}

__all__ = [
    "SCHEDULES",
    "Distiller",
    "LowRankLinear",
    "ModelCounts",
    "PCLoRAConfig",
    "PCLoRALinear",
    "Plan",
    "RunConfig",
    "Size",
    "base_removed",
    "base_share",
    "base_weight_factor",
    "compress",
    "count_model",
    "drop_base",
    "get_pclora_model",
    "plan",
    "set_base_weight_factor",
    "set_progress",
    "total_loss",
    *_LATER,
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'pclora_lab' has no attribute {name!r}")
    return getattr(import_module(f"pclora_lab.{_LATER[name]}"), name)

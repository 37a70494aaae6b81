"""PC-LoRA: fade a transformer's frozen base weights out until only low-rank adapters are left.

Importing this costs little more than importing torch: whatever needs timm, datasets, accelerate
or widgets is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.layers import PCLoRALinear
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import (
    base_removed,
    base_share,
    compress,
    drop_base,
    get_pclora_model,
    set_base_weight_factor,
    set_progress,
)
from pclora_lab.methods.pclora.schedules import SCHEDULES, base_weight_factor
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.sizes import Plan, Size, plan
from pclora_lab.training.config import RunConfig

__version__ = "0.1.0"

_LATER = {
    "Comparison": "runs.comparison",
    "DistillationLoss": "methods.pclora.hf_trainer",
    "PCLoRACallback": "methods.pclora.hf_trainer",
    "Session": "runs.session",
    "compare": "runs.comparison",
    "count_flops": "nn.flops",
    "export_run": "export.run",
    "from_pretrained": "models.serialization",
    "load_compressed": "models.serialization",
    "load_data": "data.loading",
    "load_model": "models.loading",
    "load_run": "runs.reader",
    "push_to_hub": "export.hub",
    "resume": "runs.resuming",
    "save_compressed": "models.serialization",
    "save_pretrained": "models.serialization",
    "train": "training.loop",
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

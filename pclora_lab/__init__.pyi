from . import course, data, export, methods, models, nn, plots, runs, tasks, training, ui
from .data.loading import load_data
from .export.hub import push_to_hub
from .export.run import export_run
from .methods.pclora.config import PCLoRAConfig
from .methods.pclora.hf_trainer import DistillationLoss, PCLoRACallback
from .methods.pclora.layers import PCLoRALinear
from .methods.pclora.losses import Distiller, total_loss
from .methods.pclora.model import get_pclora_model, set_base_weight_factor, set_progress
from .methods.pclora.removal import base_removed, base_share, compress, drop_base
from .methods.pclora.schedules import SCHEDULES, base_weight_factor
from .models.loading import load_model
from .models.serialization import from_pretrained, load_compressed, save_compressed, save_pretrained
from .nn.counting import ModelCounts, count_model
from .nn.flops import count_flops
from .nn.low_rank import LowRankLinear
from .nn.sizes import Plan, Size, plan
from .runs.comparison import Comparison, compare
from .runs.reader import load_run
from .runs.resuming import resume
from .runs.session import Session
from .training.config import RunConfig
from .training.loop import train

__version__: str

__all__ = [
    "SCHEDULES",
    "Comparison",
    "DistillationLoss",
    "Distiller",
    "LowRankLinear",
    "ModelCounts",
    "PCLoRACallback",
    "PCLoRAConfig",
    "PCLoRALinear",
    "Plan",
    "RunConfig",
    "Session",
    "Size",
    "base_removed",
    "base_share",
    "base_weight_factor",
    "compare",
    "compress",
    "count_flops",
    "count_model",
    "course",
    "data",
    "drop_base",
    "export",
    "export_run",
    "from_pretrained",
    "get_pclora_model",
    "load_compressed",
    "load_data",
    "load_model",
    "load_run",
    "methods",
    "models",
    "nn",
    "plan",
    "plots",
    "push_to_hub",
    "resume",
    "runs",
    "save_compressed",
    "save_pretrained",
    "set_base_weight_factor",
    "set_progress",
    "tasks",
    "total_loss",
    "train",
    "training",
    "ui",
]

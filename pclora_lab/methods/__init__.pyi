from .base import LossTerms, Method, MethodConfig, MethodContext
from .distillation.losses import feature_loss, logit_loss
from .distillation.taps import FeatureTaps
from .factorization import (
    activation_svd_factors,
    affine_factors,
    cholesky_factor,
    factorize,
    singular_values,
    svd_factors,
    truncation_error,
    weight_spectra,
)
from .full import Full, FullConfig
from .input_moments import InputMoments, measure_inputs
from .lora import LoRA, LoRAConfig
from .metrics import LR_SHARE, TASK, Metric, Panel
from .pclora.config import PCLoRAConfig
from .pclora.hf_trainer import DistillationLoss, PCLoRACallback
from .pclora.layers import PCLoRAEmbedding, PCLoRALinear
from .pclora.losses import Distiller, total_loss
from .pclora.method import PCLoRA
from .pclora.model import (
    get_pclora_model,
    pclora_layers,
    set_base_weight_factor,
    set_progress,
)
from .pclora.removal import base_removed, base_share, base_shares, compress, drop_base
from .pclora.schedules import SCHEDULES, base_weight_factor, check_schedule, schedule_points
from .pclora.theory import PredictedErrors, best_fit_error, predicted_errors
from .pela.config import PELAConfig
from .pela.losses import feature_distillation, weight_perturbation
from .pela.method import PELA
from .pela.model import factorize_model
from .pela.ranks import exclusions, pela_rank, pela_ranks
from .promises import BrokenPromises, check
from .rank_budget import ranks_for_budget
from .rank_selection import LowRankConfig, budget_option, chosen_ranks, lora_rank, planned_ranks
from .registry import METHODS, compared_methods, config_from_dict, make_method, method_class
from .small import SmallFromScratch, SmallFromScratchConfig
from .snella.allocation import BudgetAllocator
from .snella.budget import allocate, budget_at
from .snella.config import SNELLAConfig
from .snella.kernels import KERNELS, merge_factors
from .snella.layers import KernelSparseLinear
from .snella.method import SNELLA
from .snella.model import get_snella_model, merge
from .snella.sparsifiers import SPARSIFIERS, kept_entries, sparsify
from .svd import SVD, SVDKD, ActivationSVD, ActivationSVDConfig, SVDConfig, SVDKDConfig

__all__ = [
    "KERNELS",
    "LR_SHARE",
    "METHODS",
    "TASK",
    "PELA",
    "SCHEDULES",
    "SNELLA",
    "SPARSIFIERS",
    "SVD",
    "SVDKD",
    "ActivationSVD",
    "ActivationSVDConfig",
    "BrokenPromises",
    "BudgetAllocator",
    "DistillationLoss",
    "Distiller",
    "FeatureTaps",
    "Full",
    "FullConfig",
    "InputMoments",
    "KernelSparseLinear",
    "LoRA",
    "LoRAConfig",
    "LossTerms",
    "LowRankConfig",
    "Method",
    "Metric",
    "Panel",
    "compared_methods",
    "MethodConfig",
    "MethodContext",
    "PCLoRA",
    "PCLoRACallback",
    "PCLoRAConfig",
    "PCLoRAEmbedding",
    "PCLoRALinear",
    "PELAConfig",
    "PredictedErrors",
    "SNELLAConfig",
    "SVDConfig",
    "SVDKDConfig",
    "SmallFromScratch",
    "SmallFromScratchConfig",
    "activation_svd_factors",
    "affine_factors",
    "allocate",
    "base_removed",
    "base_share",
    "base_shares",
    "base_weight_factor",
    "best_fit_error",
    "budget_at",
    "budget_option",
    "check",
    "check_schedule",
    "cholesky_factor",
    "chosen_ranks",
    "compress",
    "config_from_dict",
    "drop_base",
    "exclusions",
    "factorize",
    "factorize_model",
    "feature_distillation",
    "feature_loss",
    "get_pclora_model",
    "get_snella_model",
    "kept_entries",
    "logit_loss",
    "lora_rank",
    "make_method",
    "measure_inputs",
    "merge",
    "merge_factors",
    "method_class",
    "pclora_layers",
    "pela_rank",
    "pela_ranks",
    "planned_ranks",
    "predicted_errors",
    "ranks_for_budget",
    "schedule_points",
    "set_base_weight_factor",
    "set_progress",
    "singular_values",
    "sparsify",
    "svd_factors",
    "total_loss",
    "truncation_error",
    "weight_perturbation",
    "weight_spectra",
]

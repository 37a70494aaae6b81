from .attention import attention_maps
from .counting import LayerCount, ModelCounts, count_macs, count_model
from .flops import Flops, count_flops
from .forward import Inputs, call_model, eval_mode, example_input, token_mask
from .latency import latency_ms
from .low_rank import LowRankEmbedding, LowRankLinear
from .ranks import check_rank, check_ranks, resolve_ranks
from .sizes import Plan, Size, dense_plan, plan
from .surgery import (
    block_names,
    deepcopy_sharing,
    find_embeddings,
    find_targets,
    meta_copy,
    replace_modules,
)

__all__ = [
    "Flops",
    "Inputs",
    "LayerCount",
    "LowRankEmbedding",
    "LowRankLinear",
    "ModelCounts",
    "Plan",
    "Size",
    "attention_maps",
    "block_names",
    "call_model",
    "check_rank",
    "check_ranks",
    "count_flops",
    "count_macs",
    "count_model",
    "deepcopy_sharing",
    "dense_plan",
    "eval_mode",
    "example_input",
    "find_embeddings",
    "find_targets",
    "latency_ms",
    "meta_copy",
    "plan",
    "replace_modules",
    "resolve_ranks",
    "token_mask",
]

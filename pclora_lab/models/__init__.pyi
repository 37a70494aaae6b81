from .adapting import head_is_new, head_matches, input_kind, preprocessing_of, reset_head
from .embedded import EMBEDDED
from .loading import describe_model, load_model
from .recipes import build_from_recipe, dense_twin, model_recipe
from .serialization import (
    from_pretrained,
    is_compressed,
    load_compressed,
    low_rank_layers,
    save_compressed,
    save_pretrained,
)

__all__ = [
    "EMBEDDED",
    "build_from_recipe",
    "dense_twin",
    "describe_model",
    "from_pretrained",
    "head_is_new",
    "head_matches",
    "input_kind",
    "is_compressed",
    "load_compressed",
    "load_model",
    "low_rank_layers",
    "model_recipe",
    "preprocessing_of",
    "reset_head",
    "save_compressed",
    "save_pretrained",
]

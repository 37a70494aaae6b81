"""Sizes at which every architecture is tried: two layers or stages, some ten channels."""

WORDS, TOKENS = 99, 12
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": WORDS,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 16,
    "patch_size": 8,
}
# Positions begin behind the padding's number.
_ROBERTA = {**TEXT, "max_position_embeddings": 18, "pad_token_id": 1}
_STAGES = {"image_size": 32, "patch_size": 4, "num_channels": 3, "depths": (2, 2)}
_SWIN = {**_STAGES, "embed_dim": 16, "num_heads": (2, 4), "window_size": 4}
_CONVNEXT = {**_STAGES, "num_stages": 2, "hidden_sizes": (16, 32), "image_size": 16}
_TWO_SIDES = {
    "text_config": {**TEXT, "bos_token_id": 97, "eos_token_id": 98},
    "vision_config": {**VISION, "num_channels": 3},
}
TEXTS = {
    "bert": TEXT,
    "roberta": _ROBERTA,
    "distilbert": {**TEXT, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {**TEXT, "embedding_size": 16},
    "albert": {**TEXT, "embedding_size": 16},
    "deberta": {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {**TEXT, "pooler_hidden_size": 32},
    "deberta-v3": {**TEXT, "pooler_hidden_size": 32, "relative_attention": True,
                   "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm",
                   "share_att_key": True, "position_buckets": 8, "position_biased_input": False},
    "modernbert": {**TEXT, "global_attn_every_n_layers": 2, "local_attention": 4,
                   "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2},
    "mpnet": {**_ROBERTA, "bos_token_id": 3, "eos_token_id": 2},
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "xlnet": {"vocab_size": WORDS, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "bart": {"vocab_size": WORDS, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
             "decoder_ffn_dim": 64, "max_position_embeddings": 16, "eos_token_id": 3,
             "forced_eos_token_id": 3, "decoder_start_token_id": 3},
    "t5": {"vocab_size": WORDS, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2,
           "num_heads": 2, "decoder_start_token_id": 0, "eos_token_id": 3},
    "t5_gated": {"vocab_size": WORDS, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2,
                 "num_heads": 2, "decoder_start_token_id": 0, "eos_token_id": 3,
                 "feed_forward_proj": "gated-gelu"},
    "roformer": {**TEXT, "embedding_size": 32},
    "convbert": {**_ROBERTA, "embedding_size": 16, "conv_kernel_size": 3},
    "big_bird": {**TEXT, "max_position_embeddings": 64, "block_size": 4, "num_random_blocks": 1},
    "longformer": {**_ROBERTA, "attention_window": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": WORDS,
             "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "llama": {**TEXT, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2},
}  # fmt: skip
IMAGES = {
    "vit": {**VISION, "num_channels": 3},
    "deit": VISION,
    "beit": {**VISION, "use_relative_position_bias": True},
    "dinov2": {**VISION, "mlp_ratio": 2},
    "dinov2_with_registers": {**VISION, "mlp_ratio": 2},
    "siglip": _TWO_SIDES,
    "clip": {**_TWO_SIDES, "projection_dim": 16},
    "swin": _SWIN,
    "swinv2": {**_SWIN, "embed_dim": 64},
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "hiera": {"image_size": (32, 32), "embed_dim": 16, "depths": (1, 2), "num_heads": (1, 2),
              "patch_size": (7, 7), "num_query_pool": 1, "masked_unit_size": (4, 4),
              "masked_unit_attention": (True, False)},
    "levit": {"image_size": 32, "hidden_sizes": (16, 24, 32), "num_attention_heads": (1, 2, 2),
              "depths": (1, 1, 1), "key_dim": (8, 8, 8)},
    "segformer": {"num_encoder_blocks": 2, "depths": (1, 2), "sr_ratios": (2, 1),
                  "hidden_sizes": (16, 32), "patch_sizes": (7, 3), "strides": (4, 2),
                  "num_attention_heads": (1, 2), "mlp_ratios": (2, 2)},
}  # fmt: skip
IMAGES["deit_distilled"] = {
    **IMAGES["deit"],
    "architectures": ["DeiTForImageClassificationWithTeacher"],
}
IMAGES["levit_distilled"] = {
    **IMAGES["levit"],
    "architectures": ["LevitForImageClassificationWithTeacher"],
}
# Of rows that are named otherwise.
MODEL_TYPES = {"deberta-v3": "deberta-v2", "t5_gated": "t5", "deit_distilled": "deit",
               "levit_distilled": "levit"}  # fmt: skip

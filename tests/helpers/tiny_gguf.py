"""Tiny GGUF files: a header by hand, and a Llama as llama.cpp's converter writes it."""

import struct
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

TEXT, ARRAY, WHOLE = 8, 9, 4
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
}  # fmt: skip
# Those of a byte-level vocabulary, then merges, then what stands for no letter.
LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)] + ["Ġ", "Ċ"]
MERGED = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "n")]
SPECIAL = ["<s>", "</s>"]
WORDS = SPECIAL + LETTERS + ["".join(pair) for pair in MERGED]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(
    values: dict[str, bytes], tensors: dict[str, tuple[int, ...]], version: int = 3
) -> bytes:
    """A file of the given values and of float32 tensors of zeros."""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(values))]
    parts += [text(key) + value for key, value in values.items()]
    offset = 0
    for name, shape in tensors.items():
        parts.append(text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1]))
        parts.append(struct.pack("<IQ", 0, offset))
        offset += 4 * int(np.prod(shape))
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % 32) + bytes(offset)


def said(value: str | int | list[str]) -> bytes:
    """A value with its kind in front."""
    if isinstance(value, str):
        return struct.pack("<I", TEXT) + text(value)
    if isinstance(value, int):
        return struct.pack("<II", WHOLE, value)
    return struct.pack("<IIQ", ARRAY, TEXT, len(value)) + b"".join(map(text, value))


def tiny_llama(*, tied: bool = True) -> LlamaForCausalLM:
    """Untrained, with weights that are not all small."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **SIZES, vocab_size=len(WORDS), bos_token_id=0, eos_token_id=1, tie_word_embeddings=tied
    )
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2)
    return model


def write_gguf(file: Path, model: LlamaForCausalLM, *, kind: str = "F32", **changes: int) -> Path:
    """The model and its vocabulary by the package gguf, which must be installed.

    Args:
        file: to be written.
        model: from :func:`tiny_llama`.
        kind: of its matrices, such as ``Q8_0``.
        changes: other numbers than the model's own, by key without its architecture.
    """
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    numbers = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
        "rope.dimension_count": config.hidden_size // config.num_attention_heads,
        **changes,
    }
    writer.add_name("tiny")
    for key, number in numbers.items():
        writer.add_uint32(f"llama.{key}", number)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(WORDS) - len(SPECIAL)))
    writer.add_token_merges([" ".join(pair) for pair in MERGED])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    quantized = gguf.GGMLQuantizationType[kind]
    for name, tensor in _tensors(model).items():
        packed = quantized if tensor.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(tensor, packed), raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def _tensors(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    """By llama.cpp's names, and in its order of rows where it turns halves into pairs."""
    state, config = model.state_dict(), model.config
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    if not config.tie_word_embeddings:
        found["output.weight"] = state["lm_head.weight"]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for block in range(config.num_hidden_layers):
        for theirs, name in _NAMES.items():
            weight = state[f"model.layers.{block}.{theirs}.weight"]
            if name in heads:
                halves = weight.unflatten(0, (heads[name], 2, -1))
                weight = halves.transpose(1, 2).reshape(weight.shape)
            found[f"blk.{block}.{name}.weight"] = weight
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in found.items()}

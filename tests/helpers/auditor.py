"""Computes the numbers of a run folder again, from its files and the data, in plain torch.

Nothing of the package's evaluation, counting, layers or schedules is used: the model is
:func:`digits_vit`, a function of a state dict. It fits the embedded model of digits, with full or
factorized layers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

HEADS, DEPTH = 3, 4
LAYERS = [
    f"blocks.{i}.{part}"
    for i in range(DEPTH)
    for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
]
State = Mapping[str, Tensor]


@dataclass
class Tally:
    """What a pass noted: multiplications, and what entered and left every layer."""

    macs: int = 0
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


def factors(state: State, name: str) -> tuple[Tensor, Tensor] | None:
    """A and B of a layer that is two matrices, whatever the format calls them."""
    for a, b in ((".A", ".B"), (".down.weight", ".up.weight")):
        if name + a in state:
            return state[name + a], state[name + b]
    return None


def bias_of(state: State, name: str) -> Tensor:
    """What is added at the end of a layer."""
    names = (".C", ".bias", ".up.bias")
    return next(state[name + end] for end in names if name + end in state)


def linear(state: State, name: str, x: Tensor, tally: Tally) -> Tensor:
    """``B(A x) + C`` or ``W x + b``."""
    rows = x.numel() // x.shape[-1]
    tally.inputs[name] = x
    pair = factors(state, name)
    matrices = [state[name + ".weight"]] if pair is None else list(pair)
    for matrix in matrices:
        x = x @ matrix.T
        tally.macs += rows * matrix.numel()
    tally.outputs[name] = x + bias_of(state, name)
    return tally.outputs[name]


def digits_vit(state: State, images: Tensor) -> tuple[Tensor, Tally]:
    """Logits ``(batch, classes)`` of a pre-norm vision transformer with 2 × 2 patches."""
    tally = Tally()
    kernel = state["patch_embed.proj.weight"]
    patches = F.conv2d(images, kernel, state["patch_embed.proj.bias"], stride=2)
    x = patches.flatten(2).transpose(1, 2)
    tally.macs += x.shape[0] * x.shape[1] * kernel.numel()
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], dim=1) + state["pos_embed"]
    for i in range(DEPTH):
        block = f"blocks.{i}"
        x = x + _attention(state, f"{block}.attn", _norm(state, f"{block}.norm1", x), tally)
        hidden = linear(state, f"{block}.mlp.fc1", _norm(state, f"{block}.norm2", x), tally)
        x = tally.outputs[block] = x + linear(state, f"{block}.mlp.fc2", F.gelu(hidden), tally)
    return linear(state, "head", _norm(state, "norm", x)[:, 0], tally), tally


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def _attention(state: State, name: str, x: Tensor, tally: Tally) -> Tensor:
    batch, tokens, width = x.shape
    qkv = linear(state, f"{name}.qkv", x, tally).reshape(batch, tokens, 3, HEADS, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    tally.macs += 2 * batch * tokens * tokens * width
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
    return linear(state, f"{name}.proj", mixed, tally)


def pixels(examples: Sequence[Any], numbers: Sequence[int] | None = None) -> Tensor:
    """Images as the model takes them: ``(x/255 − 0.5) / 0.5``."""
    chosen = examples if numbers is None else [examples[n] for n in numbers]
    return (torch.tensor(np.stack([np.asarray(e) for e in chosen]))[:, None] / 255 - 0.5) / 0.5


def top1(state: State, split: Any, limit: int | None = None) -> float:
    """Share of right answers, on all examples or on some that are evenly spread."""
    numbers = spread(len(split), limit or len(split))
    logits, _ = digits_vit(state, pixels(split.examples, numbers))
    return float((logits.argmax(1) == torch.as_tensor(split.labels[numbers])).float().mean())


def spread(count: int, limit: int) -> list[int]:
    """Evenly spread numbers; the first and the last are among them."""
    return [round(x) for x in np.linspace(0, count - 1, min(limit, count))]


def sine(step: int, steps: int, fade_end: float) -> float:
    """λ(n) = 1 − sin(πn/2q), 0 from q on."""
    q = fade_end * steps
    return 0.0 if step >= q else 1 - math.sin(math.pi * step / (2 * q))


def student(dense: State, first: State, now: State, lam: float) -> dict[str, Tensor]:
    """The student as one full matrix per layer: ``λ(W − B₀A₀) + BA`` and ``λ(b − C₀) + C``."""
    state = dict(dense) | {n: x for n, x in now.items() if n in dense}
    for name in LAYERS:
        A0, B0, C0 = (first[f"{name}.{part}"] for part in "ABC")
        A, B, C = (now[f"{name}.{part}"] for part in "ABC")
        state[f"{name}.weight"] = lam * (dense[f"{name}.weight"] - B0 @ A0) + B @ A
        state[f"{name}.bias"] = lam * (dense[f"{name}.bias"] - C0) + C
    return state


def audit(folder: Path, data: Any, dense: State) -> dict[str, float]:
    """What ``result.json`` should say.

    Args:
        folder: of a finished run.
        data: that it was trained on.
        dense: the state of its teacher.
    """
    config = json.loads((folder / "config.json").read_text())
    small = load_file(folder / "compressed" / "model.safetensors")
    split = getattr(data, config["report_on"])
    before, after = (_sizes(state) for state in (dense, small))
    return {
        "accuracy": top1(small, split),
        "accuracy_if_base_removed": top1(small, split),
        "teacher_accuracy": top1(dense, split),
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "params_removed_whole": 1 - after["params"] / before["params"],
        "macs_removed_whole": 1 - after["macs"] / before["macs"],
        "params_removed_replaced": 1 - _in_layers(small) / _in_layers(dense),
        "bytes_on_disk": sum(p.stat().st_size for p in (folder / "compressed").iterdir()),
    }


def _sizes(state: State) -> dict[str, int]:
    _, tally = digits_vit(state, torch.zeros(1, 1, 8, 8))
    return {
        "params": sum(x.numel() for x in state.values()),
        "macs": tally.macs,
        "bytes": sum(x.numel() * x.element_size() for x in state.values()),
    }


def _in_layers(state: State) -> int:
    return sum(x.numel() for n, x in state.items() if n.startswith(tuple(f"{m}." for m in LAYERS)))


def audit_rows(folder: Path, data: Any, dense: State) -> list[dict[str, Any]]:
    """What the rows of a run that fades should say at the steps whose adapters were kept."""
    config = json.loads((folder / "config.json").read_text())
    kept = {int(p.stem): load_file(p) for p in (folder / "snapshots").glob("*.safetensors")}
    limit, rows = config["eval_images"], []
    probe = pixels(data.train.examples, spread(len(data.train), 32))
    for step, now in sorted(kept.items()):
        fade_end = config["method"].get("fade_end", 0.0)
        lam = sine(step, config["steps"], fade_end) if fade_end else 0.0
        whole, without = (student(dense, kept[0], now, value) for value in (lam, 0.0))
        rows.append(
            {
                "step": step,
                "lam": lam,
                "accuracy": top1(whole, data.validation, limit),
                "accuracy_if_base_removed": top1(without, data.validation, limit),
                "teacher_accuracy": top1(dense, data.validation, limit),
                "layer_base_share": _base_shares(whole, dense, kept[0], now, lam, probe),
            }
        )
    return rows


def _base_shares(
    whole: State, dense: State, first: State, now: State, lam: float, probe: Tensor
) -> dict[str, float]:
    _, tally = digits_vit(whole, probe)
    shares = {}
    for name in LAYERS:
        x = tally.inputs[name]
        A0, B0, C0 = (first[f"{name}.{part}"] for part in "ABC")
        base = x @ (dense[f"{name}.weight"] - B0 @ A0).T + dense[f"{name}.bias"] - C0
        A, B, C = (now[f"{name}.{part}"] for part in "ABC")
        fading, adapter = (lam * base).norm(), (x @ A.T @ B.T + C).norm()
        shares[name] = float(fading / (fading + adapter))
    return shares

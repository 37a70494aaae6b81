"""The smallest runs that have every phase: teacher, start, fade, drop, result; and their likeness.

Every method, with pictures and with texts, on data of a few dozen examples."""

import csv
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["KINDS", "METHODS", "facts", "hurry", "write_config", "write_data"]

METHODS = ("pclora", "pela", "snella", "lora", "svd_kd", "svd", "activation_svd", "full", "small")
KINDS = ("pictures", "texts")
_EXAMPLES, _SIDE = 36, 8
# What depends on the clock, on the place, or on remarks about what happened.
_TIMES = {
    "seconds", "step_ms", "memory_mb", "peak_memory_mb", "run_dir", "latency_ms",
    "teacher_latency_ms", "probe_percent", "notes", "bytes_on_disk",
    "latency_ms_before", "latency_ms_after", "base_share",
}  # fmt: skip


def write_data(folder: Path) -> None:
    """Pictures as folders of classes, and a table of texts."""
    for split, count in (("train", _EXAMPLES), ("test", _EXAMPLES // 3)):
        for number in range(count):
            label, start = number % 3, 7 * number + len(split)
            path = folder / "pictures" / split / "abc"[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = bytes((start * (i + 3) + 60 * label) % 256 for i in range(_SIDE**2))
            Image.frombytes("L", (_SIDE, _SIDE), pixels).save(path)
    words = ("a small grey bird", "an old stone house", "to run with the wind")
    with (folder / "texts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([f"{words[n % 3]} {n}", "abc"[n % 3]] for n in range(2 * _EXAMPLES))


def write_config(folder: Path, method: str, kind: str) -> Path:
    """A config file of a tiny run whose data stand in the folder.

    ``small`` builds a narrower model of timm, so it has pictures only.
    """
    is_text = kind == "texts" and method != "small"
    values = {
        "model": "bert_glosses" if is_text else "vit_digits",
        "data": str(folder / ("texts.csv" if is_text else "pictures")),
        "max_tokens": 8 if is_text else None,
        "method": {"name": method, **_options(method)},
        "steps": 6, "batch_size": 8, "teacher": "finetune", "teacher_steps": 4, "evaluations": 2,
        "eval_images": 8, "eval_batch_size": 16, "snapshots": 2, "layer_metrics": False,
        "device": "cpu", "max_overlap": 1.0,
    }  # fmt: skip
    path = folder / f"{method}_{kind}.json"
    path.write_text(json.dumps(values))
    return path


def _options(method: str) -> dict[str, Any]:
    ranked = ("pclora", "svd_kd", "svd", "activation_svd", "lora", "snella")
    more: dict[str, dict[str, Any]] = {
        "pclora": {"init": "activation_svd", "fade_end": 0.6},
        "snella": {"allocations": 2},
    }
    return {**({"rank": 4} if method in ranked else {}), **more.get(method, {})}


def facts(folder: Path) -> dict[str, Any]:
    """What two runs of one config must share: weights, history and result.

    Raises:
        OSError: a file is missing.
        ValueError: a file holds no JSON.
    """
    from safetensors.torch import load_file

    tensors = load_file(folder / "compressed" / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    lines = (folder / "history.jsonl").read_text(encoding="utf8").splitlines()
    result = json.loads((folder / "result.json").read_text(encoding="utf8"))
    return {
        "weights": digest.hexdigest(),
        "rows": [_timeless(json.loads(line)) for line in lines],
        "result": _timeless(result),
    }


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _TIMES}


def hurry(work: Callable[[], int]) -> Callable[[], int]:
    """The same, with a checkpoint after every step instead of one every few seconds."""
    now = {"SECONDS_BETWEEN": 0.0, "SHARE_FOR_WRITING": 1e9}
    now |= {f"_{name}": value for name, value in now.items()}  # as earlier versions call them

    def hurried() -> int:
        for name, module in list(sys.modules.items()):
            if name.startswith("pclora_lab."):
                vars(module).update({key: now[key] for key in now if key in vars(module)})
        return work()

    return hurried

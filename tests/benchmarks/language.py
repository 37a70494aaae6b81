"""The built-in language model with its base faded out: how well do three seeds speak?

``python tests/benchmarks/language.py --result data/results/language.json`` trains
``RunConfig(model="llama_glosses", data="gloss_texts")`` with the package's defaults (``--configs
logits``: imitating the teacher's next-token distribution as well), exports each run, and writes
what was measured.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import torch

from pclora_lab.cli.progress import run_to_end
from pclora_lab.data.cache import DataCache
from pclora_lab.export.run import export_run
from pclora_lab.json_files import write_json
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.tasks.language.continuation import continue_texts
from pclora_lab.training.config import RunConfig

DEFAULT = RunConfig(model="llama_glosses", data="gloss_texts")
LOGITS = RunConfig(
    model="llama_glosses", data="gloss_texts",
    method=PCLoRAConfig(
        rank=8, init="activation_svd", alpha=0.5, logit_weight=1.0, temperature=1.0
    ),
)  # fmt: skip
CONFIGS = {"defaults": DEFAULT, "logits": LOGITS}
PROMPTS = ("a small bird", "a person who", "the act of")
KEYS = (
    "perplexity", "teacher_perplexity", "bits_per_byte", "teacher_bits_per_byte",
    "next_token_accuracy", "teacher_next_token_accuracy", "perplexity_examples",
    "params_removed_replaced", "params_removed_whole", "macs_removed_whole", "steps", "lr",
)  # fmt: skip


def row(name: str, config: RunConfig, cache: DataCache) -> dict[str, object]:
    """One run from the first step to its export."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        end = run_to_end(config, Path(folder) / "runs", cache)
        export_run(end.result["run_dir"], Path(folder) / "export")
    found = {key: end.result[key] for key in KEYS}
    ratio = end.result["perplexity"] / end.result["teacher_perplexity"]
    spoken = {said.prompt: said.text for said in continue_texts(end.model, PROMPTS)}
    seconds = round(time.perf_counter() - began, 1)
    return {
        "config": name, "seed": config.seed, "perplexity_ratio": ratio, **found,
        "seconds": seconds, "continuations": spoken,
    }  # fmt: skip


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--configs", nargs="+", choices=[*CONFIGS], default=["defaults"])
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    cache, rows = DataCache(), []
    for name in args.configs:
        for seed in args.seeds:
            values = {**CONFIGS[name].to_dict(), "seed": seed}
            rows.append(row(name, RunConfig.from_dict(values), cache))
            print({key: rows[-1][key] for key in ("config", "seed", *KEYS[:3], "seconds")})
    record = {
        "command": f"python tests/benchmarks/language.py --configs {' '.join(args.configs)} "
        f"--seeds {' '.join(map(str, args.seeds))} --result data/results/language.json",
        "seeds": args.seeds,
        "configs": {name: CONFIGS[name].to_dict() for name in args.configs},
        "torch": torch.__version__,
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, shared machine",
        "rows": rows,
    }
    if args.result:
        write_json(args.result, record)


if __name__ == "__main__":
    main()

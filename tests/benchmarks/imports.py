"""How much longer ``import pclora_lab`` takes than ``import torch``: fastest of seven each.

python tests/benchmarks/imports.py
"""

import json
import subprocess
import sys
import time


def seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    # Alternating, so that a busy moment of the machine hits both.
    pairs = [(seconds("import torch"), seconds("import pclora_lab")) for _ in range(7)]
    torch_s, ours_s = (min(times) for times in zip(*pairs, strict=True))
    print(json.dumps({"torch_s": torch_s, "pclora_lab_s": ours_s, "ratio": ours_s / torch_s}))


if __name__ == "__main__":
    main()

"""A command loads the libraries that it needs, and no others: they take seconds each."""

import json
import subprocess
import sys

# Each command in one process, the one that needs least first; what was loaded stays.
SCRIPT = """
import contextlib, io, json, sys
from pclora_lab.cli.main import main

for argv in (["--help"], ["doctor"], ["plan", "vit_digits"], ["plan", "bert_glosses"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(argv)
    print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
"""
LIBRARIES = (
    "torch", "accelerate", "timm", "transformers", "datasets", "sklearn", "pandas", "matplotlib",
    "plotly", "ipywidgets", "peft", "scipy", "onnx",
)  # fmt: skip


def test_a_command_loads_no_more_than_it_needs():
    child = [sys.executable, "-c", SCRIPT, *LIBRARIES]
    out = subprocess.run(child, capture_output=True, text=True, check=True).stdout
    helped, examined, of_timm, of_transformers = map(json.loads, out.splitlines())
    assert helped == ["torch"]
    assert set(examined) == {"torch", "accelerate"}
    assert set(of_timm) == {"torch", "accelerate", "timm"}
    assert "transformers" in of_transformers
    assert not {"datasets", "sklearn", "pandas", "matplotlib", "peft"} & set(of_transformers)

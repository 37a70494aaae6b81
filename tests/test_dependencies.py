"""A default works where the README installs it: nothing that it imports is in an extra."""

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from installed import ROOT, closure, declared, link_farm, name_of, python
from packaging.utils import canonicalize_name

PACKAGE = ROOT / "pclora_lab"

DEFAULTS = """
import sys
sys.prefix = sys.argv[2]
import importlib.util, json
for hidden in ("peft", "onnx", "voila", "pytest"):
    assert hidden in sys.argv[3] or importlib.util.find_spec(hidden) is None, hidden
from pathlib import Path
import pclora_lab, torch
torch.set_num_threads(1)
from pclora_lab import Comparison, RunConfig, export_run, load_model, save_pretrained, ui
from pclora_lab.cli.doctor import examine
from pclora_lab.cli.main import main
from pclora_lab.methods import SVD, SVDConfig
from pclora_lab.methods.registry import METHODS, compared_methods
from pclora_lab.plots import pareto_figure, write_report
from pclora_lab.runs import execute

root = Path(sys.argv[1])
few = {"steps": 1, "teacher_steps": 1, "evaluations": 1, "eval_images": 16, "device": "cpu"}

def run(**changes):
    *_, end = execute(RunConfig(**{**few, **changes}), root / "runs")
    return end.result["run_dir"]

try:
    main(["--help"])
except SystemExit as left:
    assert left.code == 0
comparison = Comparison(RunConfig(**few), budgets=[0.1], seeds=[0], lrs=[1e-3], out=root / "c")
for step in comparison.run():
    pass
rows = comparison.rows()
assert [row for row in rows if row["error"]] == [], rows
pareto_figure(rows)
for name in METHODS:
    if name not in compared_methods():
        folder = run(method=METHODS[name].default_config())
text = load_model("bert_glosses")
assert text.pclora_text.encode(["a bird"])["input_ids"].shape[0] == 1
save_pretrained(SVD(SVDConfig(rank=4)).apply(text), root / "text")
from transformers import AutoModelForSequenceClassification  # which this package waits for
opened = AutoModelForSequenceClassification.from_pretrained(root / "text")
assert "LowRankLinear" in str(opened)
export_run(folder, root / "exported")
write_report(folder)
ui.Lab(root=root / "runs").close()
assert main(["plan", "vit_digits", "--rank", "4"]) == 0
print(json.dumps(examine()["problems"]))
for command in (["export", folder, "--formats", "onnx", "--out", str(root / "o")],
                ["app", "--no-browser"]):
    assert main(command) == 2
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """What pip installs for this project without any extra."""
    return link_farm(tmp_path_factory.mktemp("bare") / "packages", closure(declared()))


@pytest.mark.slow
def test_every_default_works_without_what_only_the_extras_install(bare, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{bare}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = python("-c", DEFAULTS, str(tmp_path), sys.prefix, ",".join(os.listdir(bare)))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "[]"
    assert "pip install 'pclora-lab[onnx]'" in done.stderr
    assert "pip install 'pclora-lab[app]'" in done.stderr


def third_party(path: Path) -> dict[str, int]:
    """What a file imports from other packages, anywhere in it, and in which line."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        found |= {name.partition(".")[0]: node.lineno for name in names}
    known = {*sys.stdlib_module_names, "pclora_lab"}
    return {name: line for name, line in found.items() if name not in known}


# Imported where the format or the command is asked for, behind an error that names the extra.
OPTIONAL = {
    "onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx", "voila": "app", "tornado": "app",
    "ray": "cluster", "distributed": "dask", "gguf": "gguf",
}  # fmt: skip


def test_what_the_package_imports_it_declares():
    owners = packages_distributions()
    names = {name_of(text) for text in declared()}
    undeclared = {
        f"{path.relative_to(PACKAGE)}:{line}": module
        for path in sorted(PACKAGE.rglob("*.py"))
        for module, line in third_party(path).items()
        if module not in OPTIONAL
        and not names & {canonicalize_name(owner) for owner in owners.get(module, [module])}
    }
    assert undeclared == {}


def test_an_optional_import_is_declared_by_the_extra_that_it_names():
    for module, extra in OPTIONAL.items():
        assert module in closure(declared(extra))

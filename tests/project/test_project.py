"""The project's own files agree with each other and keep their promises."""

import ast
import importlib
import json
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
PACKAGE = ROOT / "pclora_lab"
ROOMS = (
    *("nn", "data", "models", "tasks", "methods", "training", "runs"),
    *("plots", "course", "export", "ui", "cli"),
)
HEAVY = (
    "torch",
    "triton",
    "timm",
    "transformers",
    "plotly",
    "ipywidgets",
    "accelerate",
    "datasets",
    "pandas",
)


def test_environment_takes_every_package_from_pyproject():
    lines = (ROOT / "environment.yml").read_text().split("dependencies:")[1]
    entries = [line.strip().removeprefix("- ") for line in lines.splitlines() if line.strip()]
    assert entries == ["python>=3.11", "pip", "pip:", "-e .[test]"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


def test_importing_the_core_loads_nothing_heavy():
    code = f"import sys, pclora_lab; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_never_imports_the_widgets():
    core = [p for p in (ROOT / "pclora_lab").rglob("*.py") if "ui" not in p.parts]
    assert [p.name for p in core if "pclora_lab.ui" in p.read_text()] == []


@pytest.mark.parametrize("name", ["pclora_lab", *(f"pclora_lab.{room}" for room in ROOMS)])
def test_every_name_of_a_face_is_there_and_offered(name):
    face = importlib.import_module(name)
    offered = dir(face)
    assert [public for public in face.__all__ if not hasattr(face, public)] == []
    assert [public for public in face.__all__ if public not in offered] == []


def test_tab_offers_what_a_newcomer_looks_for():
    import pclora_lab

    assert {"load_model", "Session", "train", "compare"} <= set(dir(pclora_lab))


def test_every_package_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    found = {".".join(folder.parts) for folder in folders} | {"pclora_lab.embedded_data"}
    assert sorted(listed) == sorted(found)


def test_the_version_stands_in_one_place():
    import pclora_lab

    version = re.compile(rf"""["']{re.escape(pclora_lab.__version__)}["']|^version: """, re.M)
    files = [*PACKAGE.rglob("*.py"), *(ROOT / name for name in ("pyproject.toml", "CITATION.cff"))]
    holders = [path.relative_to(ROOT) for path in files if version.search(path.read_text())]
    assert holders == [Path("pclora_lab/__init__.py")]


def test_rooms_and_files_keep_their_size():
    """The numbers of the plan: what a newcomer can look over."""
    files = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    modules = {path: lines for path, lines in files.items() if path.name != "__init__.py"}
    folders = [path for path in PACKAGE.rglob("*") if path.is_dir()]
    crowded = {
        folder.relative_to(ROOT).as_posix(): count
        for folder in folders
        if (count := len(list(folder.glob("*.py")))) > 16
    }
    assert crowded == {}
    assert statistics.median(modules.values()) <= 160
    assert [path.name for path, lines in modules.items() if lines > 350] == []


def test_no_class_is_too_large_to_look_over():
    large = [
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 > 200
    ]
    assert large == []


def _without_signatures_imports_and_docstrings(path):
    """The lines that say what is done; a list of names or of arguments may well stand twice."""
    text = path.read_text()
    left_out = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= {*range(node.lineno, node.end_lineno + 1)}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            left_out |= {*range(node.lineno, node.body[0].lineno)}
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out |= {*range(node.lineno, node.end_lineno + 1)}
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return [line for n, line in lines if line and n not in left_out and line[0] != "#"]


def test_no_block_of_six_lines_stands_twice():
    places = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = _without_signatures_imports_and_docstrings(path)
        for start in range(len(lines) - 5):
            block = tuple(lines[start : start + 6])
            places.setdefault(block, []).append(path.relative_to(PACKAGE).as_posix())
    assert {block: files for block, files in places.items() if len(files) > 1} == {}


def test_few_functions_are_long():
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert sum(length > 40 for length in lengths) <= 0.02 * len(lengths)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_committed(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in code]
    assert "widgets" not in notebook["metadata"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < 600_000
    assert 8 <= len(code) <= 30
    assert not any(source.startswith("class ") for source in sources)
    # As tags, which readers do not see.
    assert not any("NBVAL" in source for source in sources)
    compared = [c for c in code if "nbval-check-output" in c["metadata"].get("tags", ())]
    assert compared and all(cell["outputs"] for cell in compared)


def test_the_readme_gives_the_recorded_accuracies():
    readme = (ROOT / "README.md").read_text()
    lines = {
        line.split("|")[1].strip(): line
        for line in readme.splitlines()
        if "± " in line[1:] and line[0] == "|"
    }
    for start in ("zeros", "svd", "activation_svd"):
        line = next(text for name, text in lines.items() if f"`{start}`" in name)
        for record in ("starts_digits", "starts_deit_tiny_cifar10"):
            facts = json.loads((ROOT / f"data/results/{record}.json").read_text())["summary"][start]
            mean, std = 100 * facts["accuracy_mean"], 100 * facts["accuracy_std"]
            assert f"{mean:.1f} ± {std:.1f}%" in line


@pytest.mark.parametrize("path", sorted(ROOT.glob("data/results/*.json")), ids=lambda p: p.stem)
def test_every_record_names_the_command_that_made_it(path):
    program, script, *_ = json.loads(path.read_text())["command"].split()
    if program == "pclora-lab":
        assert script == "compare"
        return
    assert re.match("tests/(benchmarks|faults|mutants)/", script) and (ROOT / script).is_file()


def test_the_comparison_in_the_readme_is_the_record():
    from pclora_lab.runs.comparison import summarize

    readme = (ROOT / "README.md").read_text()
    rows = json.loads((ROOT / "data/results/compare_deit_tiny_cifar10.json").read_text())["rows"]
    assert len(rows) == 9 * 3 * 3 and not any(row["error"] for row in rows)
    for _, group in summarize(rows).groupby("method"):
        means, spreads = 100 * group["accuracy_mean"], 100 * group["accuracy_std"]
        pairs = list(zip(means, spreads, strict=True))
        cells = [f"{m:.1f} ± {s:.1f}" if s > 1e-9 else f"{m:.1f}" for m, s in pairs]
        line = " | ".join(cells[:1] if len(set(means)) == 1 else cells)
        assert f"| {line} |" in readme


def test_the_text_table_in_the_readme_is_the_record():
    readme = (ROOT / "README.md").read_text()
    record = json.loads((ROOT / "data/results/text_table.json").read_text())
    cells: dict[tuple, list[float]] = {}
    for row in record["rows"]:
        cells.setdefault((row["data"], row["method"], row["rank"]), []).append(row["accuracy"])
    assert len(cells) == 8 and all(len(values) == 2 for values in cells.values())
    for method in ("pclora", "svd_kd"):
        line = " | ".join(
            f"{100 * statistics.mean(v):.1f} ± {100 * statistics.stdev(v):.1f}"
            for v in (cells[data, method, rank] for data in ("sst2", "imdb") for rank in (16, 8))
        )
        assert f"| {line} |" in readme


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/benchmarks/*.py")), ids=lambda p: p.stem)
def test_a_benchmark_reads_the_flags_that_it_has(path):
    text = path.read_text()
    shared = re.search(r"^from (\w+) import .*\barguments\b", text, re.M)
    parser = path.with_name(f"{shared[1]}.py").read_text() if shared else text
    flags = re.findall(r'add_argument\(\s*"--([a-z-]+)"', parser)
    assert set(re.findall(r"\bargs\.([a-z_]+)", text)) <= {flag.replace("-", "_") for flag in flags}


# They collect rows and files while a folder is read.
CHANGES = {"RowWriter", "_Known", "FoundFiles"}


def test_what_describes_something_can_not_be_changed():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for made in getattr(node, "decorator_list", ()):
                text = ast.unparse(made)
                if text.startswith("dataclass") and "frozen=True" not in text:
                    found.add(node.name)
    assert found == CHANGES


def test_the_kernel_handles_a_page_s_messages_in_their_order():
    """A release sorted them into threads by widget: Train could start before a number arrived."""
    from ipykernel.comm.comm import BaseComm

    assert not hasattr(BaseComm, "_reply_subshell_for")

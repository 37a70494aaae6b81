"""A method of another package, really installed: flags, run, comparison, export, run folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.report import write_report
from pclora_lab.runs.reader import list_runs, load_run
from pclora_lab.training.config import RunConfig

PLUGIN = Path(__file__).parent / "plugin"
ROOT = Path(__file__).parents[2]
QUICK = ["--steps", "6", "--device", "cpu"]
ONE_RUN = [*QUICK, "--evaluations", "1", "--eval-images", "40", "--json"]

SCRIPT = """
import contextlib, glob, io, json, sys
from pclora_lab.cli import main

def form(name):
    from pclora_lab.ui.settings.form import Controls
    controls = Controls()
    controls.method.value = name
    print(controls.config().method)
    return 0

answers = []
for argv in json.loads(sys.argv[1]):
    argv = [glob.glob(text)[0] if "*" in text else text for text in argv]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = form(argv[1]) if argv[0] == "form" else main(argv)
        except SystemExit as end:
            code = end.code
    answers.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
print(json.dumps(answers))
"""


def commands(site: Path, *argvs: list[str]) -> list[dict]:
    """Runs commands one after the other in a process that has the folder's packages."""
    path = os.pathsep.join((str(site), str(ROOT)))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", SCRIPT, json.dumps(argvs)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which pip has installed the package."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    pip += ["--no-index", "--disable-pip-version-check", "--target", str(folder / "site")]
    subprocess.run([*pip, str(folder / "source")], check=True, timeout=300)
    return folder / "site"


@pytest.mark.slow
def test_an_installed_method_trains_compares_exports_and_is_read_without_it(site, tmp_path):
    runs, grid, to = tmp_path / "runs", tmp_path / "grid", tmp_path / "exported"
    train = ["train", *ONE_RUN, "--out", str(runs)]
    compared = ["--methods", "topk_rows,svd", "--budgets", "0.5", "--seeds", "0", "--lrs", "1e-3"]
    texts, form, trained, faded, table, export, doctor = commands(
        site,
        ["train", "--help"],
        ["form", "topk_rows"],
        [*train, "--method", "topk_rows", "--budget", "0.6"],
        [*train, "--schedule", "squared_cosine"],
        ["compare", *compared, *QUICK, "--out", str(grid), "--json"],
        ["export", f"{runs}/*topk_rows*", "--out", str(to), "--json"],
        ["doctor"],
    )  # fmt: skip
    assert "topk_rows" in texts["out"] and "--prune-end" in texts["out"]
    assert "TopKRowsConfig" in form["out"] and "budget=0.5" in form["out"]
    assert trained["code"] == 0, trained["err"]
    assert faded["code"] == 0, faded["err"]
    assert table["code"] == 0, table["err"]
    rows = json.loads(table["out"].splitlines()[-1])
    assert [(row["method"], row["error"]) for row in rows] == [("topk_rows", None), ("svd", None)]
    assert (grid / "pareto.png").is_file()
    assert export["code"] == 0, export["err"]
    assert (to / "standalone" / "load.py").is_file()
    assert "topk_rows" in doctor["out"] and "squared_cosine" in doctor["out"]
    _check_run_folder(runs)


def _check_run_folder(runs: Path) -> None:
    """Here, where the package is not installed."""
    assert "topk_rows" not in METHODS
    (folder,) = runs.glob("*topk_rows*")
    run = load_run(folder)
    assert run.status == "finished" and run.config["method"]["budget"] == 0.6
    kept = [row["rows_kept"] for row in run.rows if row["phase"] == "fade"]
    assert kept[0] == 1 and kept[-1] == pytest.approx(0.6)
    assert len(list_runs(runs)) == 2
    report = write_report(folder).read_text(encoding="utf8")
    assert "With topk_rows, " in report and f"{run.result['accuracy']:.1%}" in report
    with pytest.raises(ValueError, match="unknown method 'topk_rows': use one of pclora"):
        RunConfig.from_dict(run.config)


BROKEN = {
    "torn": ("torn_method", "raise OSError('no such library')", "OSError: no such library"),
    "half": (
        "half_method",
        "from pclora_lab.methods import FullConfig, Method\n"
        "class Half(Method):\n    name, Config = 'half', FullConfig\nVALUE = Half\n",
        "Half lacks apply, finalize",
    ),
    "svd": ("taken_method", "VALUE = 1", "this package has a method of that name"),
    "number": ("number_method", "VALUE = 7", "7 is no subclass of pclora_lab.methods.Method"),
}


@pytest.mark.slow
def test_methods_that_cannot_be_used_are_named_and_the_rest_works(tmp_path):
    for name, (module, text, _) in BROKEN.items():
        (tmp_path / f"{module}.py").write_text(text, encoding="utf8")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        points = f"[pclora_lab.methods]\n{name} = {module}:VALUE\n"
        (info / "entry_points.txt").write_text(points)
    doctor, plan, asked = commands(
        tmp_path,
        ["doctor", "--json"],
        ["plan", "vit_digits", "--method", "svd", "--rank", "4"],
        ["plan", "vit_digits", "--method", "torn"],
    )
    assert doctor["code"] == 1
    problems = json.loads(doctor["out"].splitlines()[-1])["problems"]
    for name, (module, _, reason) in BROKEN.items():
        (found,) = [text for text in problems if module in text]
        assert reason in found and f"{name} = {module}:VALUE" in found
    assert plan["code"] == 0, plan["err"]
    assert asked["code"] == 2 and "OSError: no such library" in asked["err"]

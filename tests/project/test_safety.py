"""What never runs: code that comes with a model or with data, and pickles."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pclora_lab"
SOURCES = {
    p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text()) for p in PACKAGE.rglob("*.py")
}
CALLS = [(p, n) for p, tree in SOURCES.items() for n in ast.walk(tree) if isinstance(n, ast.Call)]


def given(call: ast.Call, name: str) -> list[object]:
    """The value of a keyword, if it is a plain one."""
    return [getattr(k.value, "value", "no constant") for k in call.keywords if k.arg == name]


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_whoever_loads_by_name_says_that_no_code_may_come_along():
    loads = [
        (p, c) for p, c in CALLS if called(c).startswith("Auto") and "from_pretrained" in called(c)
    ]
    assert loads and all(given(call, "trust_remote_code") == [False] for _, call in loads)


def test_nobody_trusts_code_from_elsewhere():
    said = [(p, value) for p, call in CALLS for value in given(call, "trust_remote_code")]
    assert len(said) >= 5 and [s for s in said if s[1] is not False] == []


# joblib's worker processes, which exchange objects with their parent only.
_OPENS_NO_FILE = {"joblib.externals.loky", "joblib.parallel"}


@pytest.mark.parametrize("name", ["pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal"])
def test_nothing_that_reads_pickles_is_imported(name):
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            read = {module.partition(".")[0] for module in modules if module not in _OPENS_NO_FILE}
            assert name not in read, path


def test_no_file_is_read_as_a_pickle():
    assert [p for p, c in CALLS if called(c) in ("torch.load", "np.load", "numpy.load")] == []
    assert [p for p, c in CALLS if called(c).endswith("read_pickle")] == []
    assert [p for p, c in CALLS if any(given(c, "allow_pickle"))] == []


def test_no_record_and_no_lesson_names_a_folder_of_somebodys_machine():
    root = Path(__file__).parents[2]
    places = re.compile(r"(?<![\w.])/(?:tmp|root|work|home|Users)/\w+")
    shared = [*root.glob("data/results/*.json"), *root.glob("notebooks/**/*.ipynb")]
    assert len(shared) > 30
    named = {path.name: places.findall(path.read_text(encoding="utf8")) for path in shared}
    assert {name: found[:3] for name, found in named.items() if found} == {}

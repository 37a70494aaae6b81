"""Puts small faults into the rooms that decide numbers, one at a time, and counts what is noticed.

``make mutants`` runs it in three steps, each of which can be taken up where it was left:

1. every fast test once, to learn which lines it reaches and how long it takes;
2. a sample of faults with a fixed seed, as many in every room (cosmic-ray makes them);
3. for each, in a copy of the repository, the tests that reach its line until one fails.

``--again tests/…`` tries those that survived once more, with tests that were written since.

A fault is *noticed* if a test fails or takes far too long. Survivors stand in the result with their
difference; those that change nothing that anybody could see are listed in ``equivalent.toml``.
"""

import argparse
import ast
import functools
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from difflib import unified_diff
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[2]
ROOMS = ("nn", "data", "models", "tasks", "methods", "training", "runs", "export")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
# Of cosmic-ray's operators, those whose fault is another answer and not another kind of value.
SWAPS = (
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_FloorDiv", "Pow_Mul",
    "BitOr_BitAnd", "BitAnd_BitOr", "MatMult_Mul", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE",
    "Gt_LtE", "GtE_Gt", "GtE_Lt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "In_NotIn",
    "NotIn_In",
)  # fmt: skip
OPERATORS = (
    "AddNot", "NumberReplacer", "RemoveDecorator", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak", "ZeroIterationForLoop", "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    *(f"ReplaceBinaryOperator_{swap}" for swap in SWAPS),
    *(f"ReplaceComparisonOperator_{swap}" for swap in SWAPS),
)  # fmt: skip
# Measured with coverage, so about half as long without.
MOST_SECONDS = 90.0
# A test that fails by chance beside a busy neighbor is left out; more of them are a fault.
MOST_FAILED = 5
# Reads the source, so that it reaches no line.
ALWAYS = "tests/project/test_safety.py"
# Read what stands outside of all functions, which a test reaches that imported it first by chance.
DECLARED = (
    "tests/test_settings.py", "tests/methods/test_registry.py", "tests/methods/test_options.py",
    "tests/runs/test_result_columns.py",
)  # fmt: skip
WARM = "import pclora_lab.cli.main, pclora_lab.runs.session, pclora_lab.export.run"


@dataclass(frozen=True)
class Mutant:
    """One fault: an operator of cosmic-ray at a place of a file."""

    path: str
    line: int
    operator: str
    occurrence: int

    @property
    def room(self) -> str:
        return self.path.split("/")[1]


@functools.cache
def operators() -> dict[str, object]:
    """Those that are tried, by name."""
    from cosmic_ray import plugins

    names = (name for name in plugins.operator_names() if name.partition("/")[2] in OPERATORS)
    return {name: plugins.get_operator(name)() for name in sorted(names)}


def hints(source: str) -> set[int]:
    """Lines that hold nothing but annotations, overloads and the like: they decide no number."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for part in filter(None, parts):
            lines |= set(range(part.lineno, part.end_lineno + 1))
    return lines


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every fault that can be put into a file."""
    from cosmic_ray.ast import ast_nodes, get_ast

    source = path.read_text()
    annotated, tree = hints(source), get_ast(source)
    name = path.relative_to(ROOT).as_posix()
    for operator_name, operator in operators().items():
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, ((line, _), _) in enumerate(places):
            # A lone * in a signature is no product.
            if line not in annotated and source.splitlines()[line - 1].strip() != "*,":
                yield Mutant(name, line, operator_name, occurrence)


def sample(seed: int, each: int, rooms: Sequence[str] = ROOMS) -> list[Mutant]:
    """As many of every room: first a file by its lines, then a line, then a fault."""
    chosen = []
    for room in rooms:
        drawn = random.Random(f"{seed} {room}")
        by_line: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
        for path in sorted((ROOT / "pclora_lab" / room).rglob("*.py")):
            for mutant in mutants_of(path):
                by_line[mutant.path, mutant.line].append(mutant)
        lines = drawn.sample(sorted(by_line), min(each, len(by_line)))
        chosen += [drawn.choice(by_line[line]) for line in lines]
    return chosen


def cover(work: Path) -> None:
    """Run every fast test once, with the lines that it reaches."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COVERAGE_FILE": str(work / "coverage")}
    command = [
        sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not browser",
        "--ignore=tests/project", "--cov=pclora_lab", "--cov-context=test", "--cov-report=",
        f"--junitxml={work / 'tests.xml'}", "-o", "junit_family=xunit1", "tests", "pclora_lab",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, env=env)
    _, failed = seconds_by_test(work)
    print("failed without any fault, so not used:", *sorted(failed), sep="\n")
    if len(failed) > MOST_FAILED:
        sys.exit("the tests fail without any fault in them: mend that first")


def seconds_by_test(work: Path) -> tuple[dict[str, float], set[str]]:
    """How long every test took, by its name for pytest, and those that failed."""
    found, failed = {}, set()
    for case in ET.parse(work / "tests.xml").iter("testcase"):
        name = f"{case.get('file')}::{case.get('name')}"
        found[name] = float(case.get("time") or 0)
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
    return found, failed


def tests_by_line(work: Path) -> dict[tuple[str, int], set[str]]:
    """Which tests reach a line."""
    from coverage.numbits import numbits_to_nums

    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    with sqlite3.connect(work / "coverage") as data:
        rows = data.execute(
            "select path, context, numbits from line_bits join file on file.id = file_id "
            "join context on context.id = context_id where context != ''"
        )
        for path, context, bits in rows:
            name = Path(path).relative_to(ROOT).as_posix()
            for line in numbits_to_nums(bits):
                found[name, line].add(context.rpartition("|")[0])
    return found


@functools.cache
def called_lines(path: str) -> set[int]:
    """Lines inside functions; all others run once, at the import."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines |= set(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    return lines


def is_called(mutant: Mutant, reach: dict[tuple[str, int], set[str]]) -> bool:
    """Whether tests run its line, and not the import of its file."""
    is_reached = bool(reach.get((mutant.path, mutant.line)))
    return is_reached and mutant.line in called_lines(mutant.path)


def reaching(mutant: Mutant, reach: dict[tuple[str, int], set[str]]) -> set[str]:
    """The tests that reach its line; of what runs at the import, those that reach its file.

    A line that runs at the import is reached by the test that happened to import it first. Of a
    file that has nothing but fields, those that reach its room.
    """
    if is_called(mutant, reach):
        return reach[mutant.path, mutant.line]
    room = f"pclora_lab/{mutant.room}/"
    for is_near in (mutant.path.__eq__, lambda path: path.startswith(room)):
        found = (tests for (path, _), tests in reach.items() if is_near(path))
        if near := set().union(*found):
            return near
    return set()


def order(mutant: Mutant, tests: set[str], seconds: dict[str, float]) -> list[str]:
    """Those named like the file first, then the room's own, the quick before the slow.

    Test files take turns: many tests of one file say much the same about a line.
    """
    own, named = f"tests/{mutant.room}/", f"/test_{Path(mutant.path).stem}"
    turn, by_file = {}, Counter()
    for test in sorted(tests, key=lambda t: (seconds.get(t, 9.0), t)):
        turn[test] = by_file[test.partition("::")[0]]
        by_file[test.partition("::")[0]] += 1
    ranked = sorted(
        tests, key=lambda t: (named not in t, turn[t], not t.startswith(own), seconds.get(t, 9.0))
    )
    chosen, left = [], MOST_SECONDS
    for test in ranked:
        left -= 0.05 + seconds.get(test, 9.0)
        if left < 0 and chosen:
            break
        chosen.append(test)
    return [*chosen, ALWAYS] if tests else chosen


def difference(mutant: Mutant) -> tuple[str, str] | None:
    """The file with the fault in it, and what is different; None where nothing changed."""
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / mutant.path).read_text()
    code = mutate_code(source, operators()[mutant.operator], mutant.occurrence)
    if code is None or code == source:
        return None
    lines = unified_diff(source.splitlines(), code.splitlines(), lineterm="", n=0)
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return code, "\n".join(changed)


def tried(mutant: Mutant, tests: list[str], copy: Path) -> dict[str, object]:
    """Whether the tests notice a fault in a copy of the repository."""
    found = difference(mutant)
    if found is None:
        return {**asdict(mutant), "outcome": "nothing changed"}
    code, diff = found
    place = copy / mutant.path
    kept, began = place.read_text(), time.monotonic()
    try:
        place.write_text(code)
        outcome = _outcome(tests, copy) if tests else "survived"
    finally:
        place.write_text(kept)
    took = round(time.monotonic() - began, 1)
    how = {"outcome": outcome, "tests": len(tests), "seconds": took}
    return {**asdict(mutant), "diff": diff, **how}


def _outcome(tests: list[str], copy: Path) -> str:
    process = server().Process(target=run_tests, args=(tests, str(copy)))
    process.start()
    process.join(240)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return "took too long"
    return "survived" if process.exitcode == 0 else "noticed"


@functools.cache
def server() -> multiprocessing.context.ForkServerContext:
    """Gives processes that have imported all that the package imports, and nothing of it."""
    script = f"import sys; {WARM}; print(*(m for m in sys.modules if m[:6] != 'pclora'))"
    names = subprocess.check_output([sys.executable, "-c", script], text=True, cwd=ROOT).split()
    listed = Path(tempfile.mkdtemp()) / "modules.txt"
    listed.write_text("\n".join([*names, "pytest", "hypothesis", "peft"]))
    os.environ["WARM_MODULES"] = str(listed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm"])
    return context


def run_tests(tests: list[str], copy: str) -> None:
    """Run tests of a copy of the repository until one fails, without a word."""
    os.setpgrp()
    os.chdir(copy)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.environ |= {"PYTHONPATH": copy, "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path[0], sys.dont_write_bytecode = copy, True
    import pytest

    # What is warm can't be rewritten by pytest, which its plugins' packages (anyio) need not be.
    warm = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *warm, *tests]))


def copies(work: Path, count: int) -> list[Path]:
    """Copies of what is to be tested, one for each worker."""
    made = []
    for i in range(count):
        copy = work / f"copy{i}"
        shutil.rmtree(copy, ignore_errors=True)
        skipped = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", "runs_*")
        shutil.copytree(ROOT, copy, ignore=skipped)
        made.append(copy)
    if _outcome([ALWAYS], made[0]) != "survived":
        sys.exit(f"{ALWAYS} fails without any fault, so every fault would seem noticed")
    return made


def run(mutants: list[Mutant], work: Path, workers: int) -> list[dict[str, object]]:
    """Try them side by side; what was tried before is not tried again."""
    log = work / "tried.jsonl"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(r["path"], r["operator"], r["occurrence"]) for r in known}
    seconds, failed = seconds_by_test(work)
    reach = {place: tests - failed for place, tests in tests_by_line(work).items()}
    free: Queue[Path] = Queue()
    for copy in copies(work, workers):
        free.put(copy)

    def one(mutant: Mutant) -> dict[str, object]:
        copy = free.get()
        try:
            tests = order(mutant, reaching(mutant, reach), seconds)
            tests += () if is_called(mutant, reach) else DECLARED
            return tried(mutant, tests, copy)
        finally:
            free.put(copy)

    left = [m for m in mutants if (m.path, m.operator, m.occurrence) not in done]
    with ThreadPoolExecutor(workers) as pool, log.open("a") as out:
        for number, record in enumerate(pool.map(one, left), start=1):
            known.append(record)
            out.write(json.dumps(record) + "\n")
            out.flush()
            print(f"{number}/{len(left)} {record['outcome']:>9} {record['path']}:{record['line']}")
    return known


def run_again(records: list[dict[str, object]], tests: list[str], work: Path) -> None:
    """Try those that survived with other tests; those that are noticed now say so."""
    copy = copies(work, 1)[0]
    for record in records:
        if record["outcome"] == "survived":
            mutant = Mutant(*(record[f.name] for f in fields(Mutant)))
            outcome = tried(mutant, tests, copy)["outcome"]
            print(f"{outcome:>9} {mutant.path}:{mutant.line}")
            record |= {"outcome": outcome, "survived_first": True}


def summary(records: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """By room: how many were tried, noticed, and are known to change nothing."""
    known = tomllib.loads(EQUIVALENT.read_text()) if EQUIVALENT.is_file() else {}
    same = {(e["path"], e["diff"].strip()) for e in known.get("mutant", ())}
    table: dict[str, Counter] = {room: Counter() for room in ROOMS}
    for record in records:
        if record["outcome"] == "nothing changed":
            continue
        row = table[record["path"].split("/")[1]]
        if record["outcome"] == "survived" and (record["path"], record["diff"].strip()) in same:
            record["outcome"] = "equivalent"
        is_known = record["outcome"] in ("survived", "equivalent")
        row[record["outcome"] if is_known else "noticed"] += 1
    return {
        room: {**row, "share": row["noticed"] / max(1, row["noticed"] + row["survived"])}
        for room, row in table.items()
        if row
    }


def main() -> None:
    """Cover, sample, try, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=40, help="faults in every room")
    parser.add_argument("--rooms", nargs="+", default=ROOMS, choices=ROOMS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "mutants")
    parser.add_argument("--again", nargs="+", default=[], help="test files for the survivors")
    parser.add_argument("--result", type=Path, help="where the table and the survivors go")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    # As tests/conftest.py has it, before anything is imported that reads it.
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": tempfile.mkdtemp()}
    if not (args.work / "tests.xml").is_file():
        cover(args.work)
    records = run(sample(args.seed, args.each, args.rooms), args.work, args.workers)
    first = summary([dict(record) for record in records])
    if args.again:
        run_again(records, args.again, args.work)
    rooms = summary(records)
    survivors = [r for r in records if r["outcome"] == "survived"]
    for room, row in rooms.items():
        print(f"{room:>9}: {row}")
    result = {
        "command": "python tests/mutants/run.py " + " ".join(sys.argv[1:]),
        "hardware": f"{os.cpu_count()} {platform.machine()} cores, {platform.system()}",
        **{"seed": args.seed, "each": args.each, "rooms": rooms, "survivors": survivors},
    }
    if args.again:
        result["rooms_before_new_tests"] = first
    if args.result:
        args.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for record in survivors:
        print(f"\n{record['path']}:{record['line']}  {record['operator']}\n{record['diff']}")


if __name__ == "__main__":
    main()

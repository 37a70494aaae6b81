"""A sample of the campaign with a fixed seed; ``make faults`` runs all of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_configs import fuzz_configs
from run import PLAN

RUN = Path(__file__).with_name("run.py")
DOCS = Path(__file__).parents[2] / "docs" / "what_can_go_wrong.md"


def sample(*kinds: str) -> dict:
    """The counts of a kind's short form."""
    command = [sys.executable, RUN, "--short", "--kinds", ",".join(kinds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)["kinds"]


@pytest.mark.slow
def test_killed_runs_end_as_if_nothing_had_happened():
    kills = sample("kills")["kills"]
    assert kills["tried"] == 2
    wrong = ("lost", "unreadable", "different", "traceback", "hung", "unclear", "harmed")
    assert {verdict: kills[verdict] for verdict in wrong} == dict.fromkeys(wrong, 0), kills


def test_every_odd_value_of_a_config_is_refused_in_words_or_kept():
    wrong = [outcome for outcome in fuzz_configs(500, seed=0) if outcome.verdict != "kept"]
    assert wrong == []


def test_the_docs_say_what_happens_for_every_kind_of_fault():
    text = DOCS.read_text(encoding="utf8")
    assert re.findall(r"^\| `(.+?)` \|", text, re.M) == list(PLAN)

"""``pclora-lab data`` prints the account without training."""

import json
import re

import pytest

from pclora_lab.cli.main import main


@pytest.fixture
def mail(tmp_path):
    lines = [f"text {i},{('ham', 'spam')[i % 2]}" for i in range(400)]
    lines[7] = "no label,"
    path = tmp_path / "mail.csv"
    path.write_text("\n".join(["text,label", *lines]))
    return str(path)


def test_it_prints_account_splits_and_classes(mail, capsys):
    assert main(["data", mail, "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "mail.csv: 287 / 32 / 80 texts" in out[0]
    text = "\n".join(out)
    assert "rows: 400 found, 399 used, 1 left out: 1 without a label (row 7" in text
    facts = json.loads(out[-1])
    assert facts["account"]["rows"]["found"] == 400
    assert sum(map(sum, facts["examples"].values())) == 399
    assert "ham" in text and "note: no test split" in text


def test_a_refusal_names_the_flag_that_allows_it(mail, capsys):
    assert main(["data", mail, "--max-left-out", "0.001"]) == 2
    assert "1 of 400 rows" in capsys.readouterr().err
    assert main(["data", mail, "--max-left-out", "0.003"]) == 0


def test_it_takes_columns_and_names_those_that_are_there(mail, capsys):
    assert main(["data", mail, "--text-column", "label"]) == 2
    assert main(["data", mail, "--label-column", "nope"]) == 2
    assert "has no column 'nope': it has text, label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "task", "line"),
    [
        ("digit_turns", "regression", r"train +degrees: -[56]\d(\.\d+)? to [56]\d(\.\d+)?, mean"),
        ("scene_digits", "multi-label classification", r"label +train +validation +test"),
        ("gloss_typos", "classification of words", r"tag of words +train +validation +test"),
    ],
)
def test_it_says_what_targets_are_like(data, task, line, capsys):
    assert main(["data", data, "--json"]) == 0
    out = capsys.readouterr().out
    assert f"task: {task}, as the data hold " in out and re.search(line, out), out
    facts = json.loads(out.splitlines()[-1])
    counts = facts["examples"]["validation"]
    if data == "gloss_typos":
        assert counts[1] < counts[0] / 5 < sum(counts)
    elif data == "scene_digits":
        assert len(counts) == 10 and 10 < min(counts) <= max(counts) <= 150
    else:
        low, mean, high = counts["degrees"]
        assert -60 <= low < mean < high <= 60

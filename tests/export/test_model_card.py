"""The model card of a run: every number in it is the run's, and every name is only a name."""

import dataclasses
import json
from pathlib import Path

import pytest

from pclora_lab.data.account import Account, Tally
from pclora_lab.export.model_card import model_card
from pclora_lab.export.report import ExportReport
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.training.config import RunConfig

WRITTEN = Path(__file__).parents[1] / "fixtures" / "before_rooms" / "finished" / "result.json"
REPORT = ExportReport("onnx", "x", 10, 20, 0.1, 1.0, 2.0)


@pytest.fixture
def result():
    return json.loads(WRITTEN.read_text())


def section(card: str, title: str) -> list[str]:
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0].strip().splitlines()


def test_a_card_begins_with_what_the_hub_reads_and_what_was_done(result):
    card = model_card(result, RunConfig())
    assert card.splitlines()[:11] == [
        "---", "library_name: pclora-lab", "pipeline_tag: image-classification", "tags:",
        "- model-compression", "- low-rank", "- pclora", "---", "",
        "# vit_digits, compressed by PC-LoRA", "",
    ]  # fmt: skip
    assert card.splitlines()[11] == (
        "PC-LoRA on `digits`. 96.5% of the replaced layers' parameters are removed, 95.4% of the "
        "whole model's. Made with pclora_lab (PC-LoRA: arXiv:2406.09117)."
    )
    titles = [line for line in card.splitlines() if line.startswith("## ")]
    assert titles == ["## Sizes and accuracy", "## Data", "## Recipe", "## License"]
    assert "pipeline_tag: text-classification\n" in model_card(
        {**result, "input": "text"}, RunConfig()
    )
    assert "- full-fine-tuning\n" not in card


def test_sizes_come_before_accuracies_and_what_is_unknown_was_not_measured(result):
    rows = section(model_card(result, RunConfig()), "Sizes and accuracy")
    assert rows[:2] == ["| | dense | this model |", "|---|---|---|"]
    assert "| parameters | 450,730 | 20,650 |" in rows
    assert "| MACs per example | 7,749,312 | 437,952 |" in rows
    assert "| bytes of tensors | 1,802,920 | 82,600 |" in rows
    assert rows[-1].endswith("| 98.06% | 24.72% |") and "test" in rows[-1]
    del result["macs_before"]
    rows = section(model_card(result, RunConfig(report_on="validation")), "Sizes and accuracy")
    assert "| MACs per example | not measured | 437,952 |" in rows
    assert "validation" in rows[-1] and "test" not in rows[-1]


def test_data_and_recipe_are_told_line_by_line(result):
    account = Account(Tally(0, 0), Tally(0, 0), Tally(1797, 1797)).to_dict()
    result |= {"account": account, "notes": ["a note\nof `two` lines"]}
    card = model_card(result, RunConfig(method=SVDConfig(rank=3), seed=7))
    assert section(card, "Data") == [
        "`digits`; classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
        "* rows: 1,797 found, 1,797 used",
        "* a note of  two  lines",
    ]
    recipe = section(card, "Recipe")
    assert "* rank: 3" in recipe and not any(line.startswith("* name") for line in recipe)
    assert all(line.startswith("* ") for line in recipe)
    bare = model_card({**result, "class_names": None, "account": None, "notes": None}, RunConfig())
    assert section(bare, "Data") == ["`digits`."]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("/home/me/[x](y)", "x (y)"), ("/a/<b>`|", "b"), ("me/net", "me/net"), ("/a/b\nc", "b c")],
)
def test_a_name_is_a_word_and_no_markup(result, name, shown):
    card = model_card(result, RunConfig(model=name, data=name))
    assert f"# {shown}, compressed by" in card and f"on `{shown}`." in card


def test_exports_stand_in_a_section_of_their_own(result):
    other = dataclasses.replace(REPORT, format="standalone")
    assert section(model_card(result, RunConfig(), [REPORT, other]), "Exports") == [
        f"* {REPORT}", f"* {other}",
    ]  # fmt: skip


@pytest.mark.parametrize("lacking", ["method", "params_removed_replaced", "params_removed_whole"])
def test_a_result_that_lacks_what_a_card_says_is_refused(result, lacking):
    del result[lacking]
    with pytest.raises(ValueError, match=f"result.json lacks {lacking}"):
        model_card(result, RunConfig())
    with pytest.raises(ValueError, match=f"result.json: {lacking} is None"):
        model_card({**result, lacking: None}, RunConfig())

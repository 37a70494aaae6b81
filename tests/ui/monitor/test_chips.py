"""The settings of a run in one line."""

import html
import re

import pytest

from pclora_lab import PCLoRAConfig, RunConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.ui.monitor.chips import chips_html


def chips(config):
    return re.findall(r">([^<]+)</bdi>", chips_html(config))


def test_a_run_in_one_line():
    config = RunConfig(method=PCLoRAConfig(rank=4), steps=3000, seed=7)
    assert chips(config) == [
        "vit_digits", "digits", "PC-LoRA", "rank 4", "sine, q = 0.6", "3,000 steps", "seed 7",
    ]  # fmt: skip


def test_ranks_by_layer_budgets_and_drawn_schedules_are_named():
    points = ((0, 1), (0.5, 0))
    assert "drawn schedule" in chips(RunConfig(method=PCLoRAConfig(schedule=points)))
    assert "budget 10%" in chips(RunConfig(method=PCLoRAConfig(budget=0.1)))
    ranks = {"blocks.0.attn.qkv": 4}
    assert "a rank for each layer" in chips(RunConfig(method=PCLoRAConfig(rank=ranks)))


def test_a_size_that_takes_two_options_is_told_by_both():
    texts = chips(RunConfig(method=METHODS["snella"].Config(rank=4, sparsity=0.75)))
    assert {"rank 4", "sparsity 0.75"} <= set(texts)
    assert "width 24" in chips(RunConfig(method=METHODS["small"].Config(width=24)))


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_has_its_chips(name):
    assert METHODS[name].title in chips(RunConfig(method=METHODS[name].Config()))


def test_a_name_cannot_be_markup():
    assert "<b>" not in chips_html(RunConfig(data="<b>mine</b>.csv"))


def test_what_a_narrow_line_cuts_can_be_read_from_its_help():
    name = "صور" * 60 + "<b>"
    shown = chips_html(RunConfig(data=name))
    title = re.search(r'title="([^"]*)"', shown)[1]
    assert title.split(" · ")[1] == html.escape(name) and title.endswith("seed 0")
    assert "<b>" not in shown

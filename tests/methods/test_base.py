"""Learning rates have bounds, wherever one is taken."""

import math

import pytest
from transformers import BertForMaskedLM

from pclora_lab.methods.base import LARGEST_LR, MethodConfig, check_lr
from pclora_lab.methods.full import Full, FullConfig
from pclora_lab.methods.method_checks import check_method
from pclora_lab.methods.registry import METHODS
from pclora_lab.plugins import PluginError
from pclora_lab.runs.comparison.comparison import Comparison
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.training.config import RunConfig
from pclora_lab.training.masked_lm import learn_vocabulary, pretrain_masked, small_bert_config

HUGE = [1e31, 1e38, 1e300, 10**40]
ODD = [math.nan, math.inf, -1.0, 0.0, 1e-10, True, "fast", [1e-3]]


@pytest.mark.parametrize("value", HUGE + ODD)
@pytest.mark.parametrize("name", ["lr", "teacher_lr"])
def test_a_rate_without_bound_is_refused_before_a_run(name, value):
    reason = "single precision|too large" if value in HUGE else "must be a number of at least 1e-09"
    with pytest.raises(ValueError, match=rf"{name} is .*({reason})|{name}: .*({reason})"):
        RunConfig(**{name: value})
    assert getattr(RunConfig(**{name: LARGEST_LR}), name) == LARGEST_LR


def test_a_comparison_refuses_it_before_it_makes_a_folder(tmp_path):
    with pytest.raises(ValueError, match="lr is 1e.38"):
        Comparison(methods=["full"], lrs=(1e-3, 1e38), out=tmp_path / "compared")
    assert not (tmp_path / "compared").exists()


@pytest.mark.parametrize("edge", [3e29, 4e-9])
def test_a_search_stays_inside_the_bounds(tmp_path, monkeypatch, edge):
    monkeypatch.setattr(METHODS["full"], "lr_grid", (edge, 1.5 * edge))
    search = LRSearch(tmp_path, None)
    rates = [edge, 1.5 * edge]
    while rates:
        for rate in rates:
            score = rate if edge > 1 else -rate
            search.note({"method": "full", "lr": rate, "error": None, "validation_accuracy": score})
        rates = [further] if (further := search.further("full")) else []
    tried = [trial["lr"] for trial in search.tried]
    assert len(tried) > 2
    for rate in tried:
        RunConfig(lr=rate)


@pytest.mark.parametrize("rates", [(), (1e38,), (math.nan,), (0.0,), ("1e-3",), 1e-3, None])
def test_a_plugin_that_tries_such_a_rate_is_named(rates):
    odd = type("Odd", (Full,), {"name": "odd", "lr_grid": rates})
    odd.Config = type("OddConfig", (FullConfig,), {"name": "odd"})
    with pytest.raises(PluginError, match="lr_grid of Odd"):
        check_method("odd", odd)
    odd.lr_grid, odd.Config.default_lr = (1e-3, 2), 1e38
    with pytest.raises(PluginError, match="default_lr of OddConfig is 1e"):
        check_method("odd", odd)
    odd.Config.default_lr = MethodConfig.default_lr
    assert check_method("odd", odd) is odd


def test_masked_words_are_not_guessed_at_such_a_rate():
    texts = ["a small text of some words"] * 4
    tokenizer = learn_vocabulary(texts, 60, 12)
    config = small_bert_config(len(tokenizer), width=8, depth=1, heads=1, max_tokens=12)
    with pytest.raises(ValueError, match="lr is 1e.38: a learning rate of more than"):
        next(pretrain_masked(BertForMaskedLM(config), tokenizer, texts, steps=1, lr=1e38))


def test_every_method_s_own_rates_are_inside():
    for method in METHODS.values():
        for rate in (*method.lr_grid, method.Config.default_lr):
            check_lr(method.name, rate)

"""What a method need not say itself, what its options promise, and the bounds of a rate."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
import torch.nn.functional as F
from small_net import TARGETS, SmallNet, small_batch
from transformers import BertForMaskedLM

from pclora_lab.methods.base import (
    LARGEST_LR,
    SMALLEST_LR,
    Method,
    MethodConfig,
    MethodContext,
    TaskLoss,
    check_lr,
)
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


def test_the_smallest_and_the_largest_rate_can_be_taken():
    assert (SMALLEST_LR, LARGEST_LR) == (1e-9, 1e30)
    for rate in (SMALLEST_LR, LARGEST_LR, 1):
        check_lr("lr", rate)
    for rate in (0.99 * SMALLEST_LR, 1.01 * LARGEST_LR):
        with pytest.raises(ValueError, match="lr"):
            check_lr("lr", rate)


class Plain(Method[FullConfig]):
    """Says nothing of its own but its name."""

    name, title, Config = "plain", "a plain method", FullConfig


PLAIN = Plain(FullConfig())


def test_what_a_method_does_not_say_it_does_not_do():
    net = SmallNet()
    assert PLAIN.set_progress(net, 0.5) == {} == PLAIN.measure(net, small_batch())
    assert PLAIN.state_dict(net) == {} and PLAIN.notes(net) == []
    assert PLAIN.after_backward(net) is None is PLAIN.without_base(net)
    PLAIN.load_state_dict(net, {})
    with pytest.raises(ValueError, match="a plain method has no λ to hold: choose .* that fades"):
        PLAIN.override_lambda(net, 0.5)
    for verb in (PLAIN.apply, PLAIN.finalize):
        with pytest.raises(NotImplementedError):
            verb(net)


def test_a_method_is_taken_to_compress_and_to_train_and_for_nothing_more():
    assert Plain.compresses and Plain.trains and Plain.starts_from == "teacher"
    assert not (Plain.fades or Plain.supports_replay or Plain.in_default_comparison)
    assert Plain.default_config() == FullConfig()
    assert {metric.key for metric in Plain.metrics} == {"task", "lr_share"}


def test_without_a_loss_of_its_own_the_student_learns_the_labels_and_asks_no_teacher():
    student, labels = SmallNet(), torch.tensor([0, 2, 1, 1])
    terms = PLAIN.loss_terms(student, None)
    assert isinstance(terms, TaskLoss)
    found = terms(small_batch(), labels, 0.0)
    assert set(found) == {"loss", "task"} and found["loss"] is found["task"]
    torch.testing.assert_close(found["loss"], F.cross_entropy(student(small_batch()), labels))
    terms.close()
    assert not student._forward_hooks


def test_the_layers_that_are_counted_and_planned_are_the_targets(vit):
    for targets, count in (("blocks", 8), ("fc1", 2)):
        method = Plain(FullConfig(targets=targets))
        counts = method.count(vit)
        plan = method.plan(counts, vit)
        assert len(counts.layers) == count
        layers = [vit.get_submodule(layer.name) for layer in counts.layers]
        assert plan.replaced.params_before == sum(
            p.numel() for layer in layers for p in layer.parameters()
        )
        for size in (plan.whole_model, plan.replaced, plan.dense):
            assert size.params_after == size.params_before and size.params_removed == 0


def test_a_budget_is_another_method_of_the_same_options_where_there_is_such_an_option():
    method = METHODS["lora"](METHODS["lora"].Config(rank=3, alpha=5.0))
    other = method.with_budget(0.25)
    assert type(other) is type(method) and method.config.budget is None
    assert other.config == METHODS["lora"].Config(rank=3, alpha=5.0, budget=0.25)
    assert PLAIN.with_budget(0.25) is PLAIN


@pytest.mark.parametrize("name", METHODS)
def test_options_are_given_by_name_once_and_for_all(name):
    config = METHODS[name].Config
    with pytest.raises(TypeError, match="positional"):
        config("blocks")
    made = config()
    for field in made.to_dict().keys() - {"name"}:
        with pytest.raises(FrozenInstanceError):
            setattr(made, field, getattr(made, field))
    assert hash(made) == hash(config()) and made.to_dict()["name"] == name == config.name


def test_a_label_tells_what_is_not_at_its_default_and_fits_a_folder():
    config = METHODS["lora"].Config
    assert config().label() == "lora"
    assert config(rank=4, dropout=0.5).label() == "lora-rank4-dropout0.5"
    long = "|".join(TARGETS * 4)
    assert config(targets=long).label() == f"lora-targets{long}"[:60]


def test_a_context_is_given_by_name_and_has_the_generators_seed():
    generator = torch.Generator().manual_seed(41)
    torch.rand(3, generator=generator)
    assert MethodContext(generator=generator).seed == 41 and MethodContext().seed == 0
    with pytest.raises(TypeError, match="positional"):
        MethodContext([])
    with pytest.raises(FrozenInstanceError):
        MethodContext().counts = None
    empty = MethodContext()
    assert empty.example is None is empty.counts and not list(empty.calibration)

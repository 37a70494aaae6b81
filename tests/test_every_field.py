"""Every setting changes what it stands for, or is refused: one that changes nothing is a fault."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.fields import options_of
from pclora_lab.methods.base import Method, MethodConfig, MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.methods.svd import SVDKDConfig
from pclora_lab.models.loading import load_model
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.runtime.recompute import recomputed
from pclora_lab.training import optimizer, result
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, LogRow, RunEnd
from pclora_lab.training.loop import train

RISES = [(0, 1), (0.2, 0.3), (0.4, 0.6), (0.6, 0)]
LOW_RANK = {
    "targets": ({}, "fc1"),
    "rank": ({}, 5),
    "budget": ({}, 0.2),
    "budget_unit": ({"budget": 0.45, "targets": "qkv|patch_embed|fc1|head"}, "macs"),
    "rank_allocation": ({"budget": 0.45, "targets": "qkv|patch_embed|fc1|head"}, "energy"),
    "embeddings": ({}, "low_rank"),
}
DISTILLED = {
    "alpha": ({}, 0.9),
    "taps": ({}, "blocks"),
    "logit_weight": ({}, 1.0),
    "temperature": ({"logit_weight": 1.0}, 8.0),
}
# For each field of each method: what it needs beside it, and another value.
OTHER: dict[str, dict[str, tuple[dict[str, Any], Any]]] = {
    "pclora": {
        **LOW_RANK,
        **DISTILLED,
        "schedule": ({}, "linear"),
        "may_rise": ({"schedule": RISES}, True),
        "fade_end": ({}, 0.9),
        "init": ({}, "zeros"),
        "scale": ({}, 3.0),
        "train_norms": ({}, True),
        "reset_moments": ({"schedule": "identity", "init": "zeros"}, True),
    },
    "pela": {
        **{key: value for key, value in LOW_RANK.items() if key != "embeddings"},
        "ratio": ({"rank": None}, 3.0),
        "exclude": ({}, "fc1"),
        "repair": ({}, 0.2),
        "distil_weight": ({}, 9.0),
        "perturbation_weight": ({}, 9.0),
        "epsilon": ({}, 0.5),
    },
    "snella": {
        "targets": ({}, "fc1"),
        "rank": ({}, 6),
        "budget": ({}, 0.05),
        "sparsity": ({}, 0.5),
        "kernel": ({}, "linear"),
        "sparsifier": ({}, "soft"),
        "start_sparsity": ({}, 0.5),
        "allocations": ({}, 1),
        "floor": ({}, 200),
        "warmup": ({}, 0.4),
        "hold": ({}, 0.6),
        "dropout": ({}, 0.5),
    },
    "lora": {
        "targets": ({}, "fc1"),
        "rank": ({}, 5),
        "budget": ({}, 0.2),
        "alpha": ({}, 64.0),
        "dropout": ({}, 0.5),
    },
    "svd_kd": {**LOW_RANK, **DISTILLED, "init": ({}, "svd")},
    "svd": LOW_RANK,
    "activation_svd": LOW_RANK,
    "full": {"targets": ({}, "fc1")},
    "small": {"targets": ({"width": 12}, "fc1"), "budget": ({}, 0.3), "width": ({"width": 12}, 18)},
}


def outcome(measure, *arguments: Any) -> Any:
    """What comes out, or the sentence with which it is refused."""
    try:
        return measure(*arguments)
    except ValueError as error:
        return f"refused: {error}"


def differ(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return not torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() != second.keys() or any(differ(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) != len(second) or any(map(differ, first, second))
    return type(first) is not type(second) or first != second


COUNTS: dict[tuple, ModelCounts] = {}


def counted(method: Method, model: nn.Module) -> ModelCounts:
    """A model's counts, once for each choice of its layers."""
    fields = ("name", "targets", "exclude", "embeddings")
    key = (id(model), *(getattr(method.config, field, None) for field in fields))
    if key not in COUNTS:
        COUNTS[key] = method.count(model)
    return COUNTS[key]


def fitted(method: Method, model: nn.Module) -> dict[str, Any]:
    """Plan, losses and weights of a few steps, as the loop takes them."""
    torch.manual_seed(0)
    images, labels = torch.randn(12, 1, 8, 8), torch.arange(12) % 10
    counts = counted(method, model)
    context = MethodContext(
        calibration=[images], generator=torch.Generator().manual_seed(0), counts=counts
    )
    plan = dataclasses.asdict(method.plan(counts, model))
    student = method.apply(model, context)
    trained = [name for name, p in student.named_parameters() if p.requires_grad]
    losses = []
    if method.trains:
        terms = method.loss_terms(student, model)
        optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], 1e-2)
        student.train()
        for step in range(5):
            method.set_progress(student, step / 5)
            optimizer.zero_grad()
            found = terms(images, labels, step / 5)
            losses.append({name: value.item() for name, value in found.items()})
            found["loss"].backward()
            method.after_backward(student)
            optimizer.step()
        terms.close()
    method.set_progress(student, 1.0)
    weights = dict(method.finalize(student).state_dict())
    return {"plan": plan, "trained": trained, "losses": losses, "weights": weights}


@pytest.fixture(scope="module")
def digits() -> nn.Module:
    """The embedded model's architecture, a quarter as wide."""
    return load_model("vit_digits", pretrained=False, width=24, generator=torch.manual_seed(0))


def usual(name: str) -> MethodConfig:
    config = METHODS[name].default_config()
    return dataclasses.replace(config, **({"rank": 4} if "rank" in options_of(config) else {}))


@pytest.mark.parametrize("name", METHODS)
def test_every_option_of_a_method_changes_what_it_makes(name, digits, tmp_path):
    base = usual(name)
    assert OTHER[name].keys() == options_of(base).keys()
    bases: dict[str, Any] = {}
    silent = []
    for field, (given, value) in OTHER[name].items():
        measure = ended if field == "reset_moments" else made
        if str(given) not in bases:
            bases[str(given)] = outcome(measure, base, given, digits, tmp_path)
        before = bases[str(given)]
        assert field == "may_rise" or not isinstance(before, str), before
        if not differ(before, outcome(measure, base, {**given, field: value}, digits, tmp_path)):
            silent.append(field)
    assert silent == []


def made(base: MethodConfig, changes: dict[str, Any], digits: nn.Module, _: Path) -> Any:
    return fitted(make_method(dataclasses.replace(base, **changes)), digits)


METHOD = PCLoRAConfig(rank=4, init="svd")
QUICK = RunConfig(
    method=METHOD, steps=4, evaluations=2, eval_images=16, device="cpu", snapshots=2, batch_size=16,
    teacher_steps=2,
    layer_metrics=False,
)  # fmt: skip
TAUGHT = {"teacher": "finetune"}
FIELDS: dict[str, tuple[dict[str, Any], Any]] = {
    "model": ({}, "no_such_model"),
    "img_size": ({}, 16),
    "split_qkv": ({}, True),
    "method": ({}, SVDKDConfig(rank=4, init="svd")),
    "steps": ({}, 5),
    "lr": ({}, 1e-4),
    "batch_size": ({}, 8),
    "weight_decay": ({}, 0.5),
    "warmup": ({}, 0.9),
    "grad_clip": ({}, 1e-3),
    "seed": ({}, 1),
    "teacher": ({}, "finetune"),
    "teacher_steps": (TAUGHT, 3),
    "teacher_lr": (TAUGHT, 1e-3),
    "teacher_seed": (TAUGHT, 1),
    "device": ({}, "cuda:99"),
    "precision": ({}, "bfloat16"),
    "evaluations": ({}, 4),
    "eval_images": ({}, 200),
    "eval_batch_size": ({}, 8),
    "recompute": ({}, True),
    "task": ({}, "text-classification"),
    "report_on": ({}, "validation"),
    "layer_metrics": ({}, True),
    "snapshots": ({}, 3),
    "snapshot_mb": ({}, 0.001),
    "overrides": ({}, ((1, 0.5),)),
}
# These say which data are read; the fingerprint of the data tells them apart.
READ: dict[str, tuple[dict[str, Any], Any]] = {
    "data": ({}, "digits"),
    "image_column": ({"data": "pictures.parquet", "image_column": "front"}, "back"),
    "text_column": ({"text_column": "first"}, "second"),
    "text_columns": ({"text_column": None}, ("second", "first")),
    "label_column": ({"text_column": "first"}, "kind"),
    "max_left_out": ({"text_column": "first", "data": "gaps.csv"}, 0.5),
    "max_overlap": ({"text_column": "first", "data": "twice"}, 1.0),
}
# What a run on texts alone obeys.
WORDS = {"max_tokens": ({}, 4)}


def ended(base: MethodConfig, changes: dict[str, Any], _: nn.Module, folder: Path) -> Any:
    """A run of a method, for what the loop itself does."""
    return ran(dataclasses.replace(QUICK, method=dataclasses.replace(base, **changes)), folder)


KEPT = ("step", "phase", "lam", "loss", "task", "feature", "accuracy", "accuracy_if_base_removed")
CACHE = DataCache()


def ran(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Everything that a run yields but what it says about the machine and about its settings."""
    events = list(train(config, folder, cache=CACHE))
    end = events[-1]
    assert isinstance(end, RunEnd)
    rows = [event.values for event in events if isinstance(event, LogRow)]
    return {
        "rows": [{key: row.get(key) for key in KEPT} for row in rows],
        "keys": [sorted(row) for row in rows],
        "snapshots": [event.step for event in events if isinstance(event, AdapterSnapshot)],
        "accuracy": end.result["accuracy"],
        "weights": dict(end.model.state_dict()),
    }


@pytest.fixture
def largest_batch(monkeypatch) -> list[int]:
    """How many examples were at once in the model, in order; minus the blocks that run twice."""
    sizes: list[int] = []
    batch = Batches.batch

    def watched(self: Batches, indices: torch.Tensor, *more: Any, **named: Any) -> Any:
        sizes.append(len(indices))
        return batch(self, indices, *more, **named)

    def again(blocks: list[torch.nn.Module]) -> Any:
        sizes.append(-len(blocks))
        return recomputed(blocks)

    monkeypatch.setattr(Batches, "batch", watched)
    monkeypatch.setattr(optimizer, "recomputed", again)
    monkeypatch.setattr(result, "latency_ms", lambda *_: 1.0)
    monkeypatch.setattr(result, "count_macs", lambda _: 1)
    return sizes


@pytest.mark.slow
def test_every_setting_of_a_run_changes_what_it_does(tmp_path, largest_batch):
    told = {"log_with"}  # tells others and changes nothing: tests/runs/test_trackers.py
    assert FIELDS.keys() | READ.keys() | WORDS.keys() | told == options_of(QUICK).keys()
    bases: dict[str, Any] = {}
    silent = []
    for field, (given, value) in FIELDS.items():
        base = dataclasses.replace(QUICK, **given)
        before = bases.get(str(given))
        if before is None:
            largest_batch.clear()
            before = bases[str(given)] = {**ran(base, tmp_path / "a"), "sizes": [*largest_batch]}
        largest_batch.clear()
        after = outcome(ran, dataclasses.replace(base, **{field: value}), tmp_path / field)
        if field in ("eval_batch_size", "recompute"):  # change no number
            assert not differ({**before, "sizes": 0}, {**after, "sizes": 0})
            after = {**after, "sizes": [*largest_batch]}
        else:
            after = {**after, "sizes": before["sizes"]} if isinstance(after, dict) else after
        if not differ(before, after):
            silent.append(field)
    assert silent == []


@pytest.fixture
def tables(tmp_path, monkeypatch) -> None:
    """Small tables of every kind, in the folder where the test runs."""
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame(
        {
            "first": [f"a bird {n}" for n in range(60)],
            "second": [f"a stone {n}" for n in range(60)],
            "label": ["one", "two", "three"] * 20,
            "kind": ["left", "right"] * 30,
        }
    )
    rows.to_csv("texts.csv", index=False)
    gaps = rows.copy()
    gaps.loc[:5, "label"] = None
    gaps.to_csv("gaps.csv", index=False)
    Path("twice").mkdir()
    rows.to_csv("twice/train.csv", index=False)
    rows[:20].to_csv("twice/test.csv", index=False)
    pixels = torch.randint(0, 255, (60, 8, 8), dtype=torch.uint8).numpy()
    images = {"front": list(pixels), "back": list(pixels[::-1]), "label": [0, 1, 2] * 20}
    kinds = Features({"front": Image(), "back": Image(), "label": Value("int64")})
    Dataset.from_dict(images, features=kinds).to_parquet("pictures.parquet")


@pytest.mark.parametrize("field", READ)
def test_every_setting_of_the_data_changes_what_is_read(field, tables):
    given, value = READ[field]
    base = RunConfig(**{"data": "texts.csv", "label_column": "label", **given})
    other = dataclasses.replace(base, **{field: value})
    found = [outcome(lambda c: DataCache().data(c).fingerprint(), c) for c in (base, other)]
    assert found[0] != found[1]


def test_a_limit_of_tokens_changes_what_a_text_model_sees():
    texts = ["a large grey bird with a long tail"]
    sizes = [
        load_model("bert_glosses", max_tokens=n).pclora_text.encode(texts)["input_ids"].shape[1]
        for n in (None, WORDS["max_tokens"][1])
    ]
    assert sizes[0] > sizes[1] == 4

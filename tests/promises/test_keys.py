"""Whatever is kept and given again is given only to whom it belongs.

For every setting of a run, by what it does and not by how it is described: if changing it changes
what is kept, the key must change too; a key that changes for nothing costs a training.
"""

import dataclasses
import json

import pytest
import torch
from marked import MarkedCache, marked_digits

from pclora_lab.data import cache as data_cache
from pclora_lab.data.cache import DataCache
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import make_method, method_class
from pclora_lab.models.loading import load_model
from pclora_lab.runs.comparison.claim import claim_folder
from pclora_lab.runs.estimates import latency as latency
from pclora_lab.runs.estimates.accuracy import rank_points
from pclora_lab.training.config import RunConfig, write_config
from pclora_lab.training.setup import prepare
from pclora_lab.training.teacher import teacher_key, train_teacher

DATA = marked_digits(train=80, validation=30, test=20)
BASE = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=3, batch_size=16, evaluations=1, eval_images=10,
    teacher="finetune", teacher_steps=3, device="cpu", precision="float32",
)  # fmt: skip
# Another value of every setting but model and data, which have their own tests.
OTHER = {
    "image_column": "image", "text_column": "text", "text_columns": ("a", "b"),
    "label_column": "label", "max_left_out": 0.5, "max_overlap": 0.5, "img_size": 6,
    "max_tokens": 64, "split_qkv": True, "method": method_class("lora").Config(), "steps": 5,
    "lr": 1e-2, "batch_size": 8, "weight_decay": 0.5, "warmup": 0.9, "grad_clip": 0.01, "seed": 5,
    "teacher": "pretrained", "teacher_steps": 4, "teacher_lr": 1e-3, "teacher_seed": 3,
    "device": "auto", "precision": "bfloat16", "evaluations": 3, "eval_images": 25,
    "eval_batch_size": 7, "report_on": "validation", "layer_metrics": False, "snapshots": 3,
    "snapshot_mb": 1.0, "overrides": ((1, 0.5),), "recompute": True, "log_with": "tensorboard",
    "task": "image-classification",
}  # fmt: skip
# In the teacher's key for texts or by way of the data; they do nothing to these images.
IDLE = {"max_tokens"}
# What may differ between runs that are seeds or sizes of one experiment.
ONE_EXPERIMENT = {
    "seed", "eval_batch_size", "layer_metrics", "snapshots", "snapshot_mb", "recompute",
    "log_with", "task",
}  # fmt: skip
SIZES = {"rank": 9, "budget": 0.3}
# Refused for these data or this model before anything is kept.
REFUSED = {"img_size", "text_column", "text_columns"}


def other(name):
    changed = {name: OTHER[name]}
    # The learning rate follows the method where nobody gives one.
    return dataclasses.replace(BASE, **({"lr": None} if name == "method" else {}) | changed)


def test_every_setting_is_tried():
    assert set(OTHER) == {f.name for f in dataclasses.fields(RunConfig)} - {"model", "data"}


def test_another_side_is_another_teacher():
    model = load_model("vit_digits")
    assert teacher_key(model, DATA, BASE) != teacher_key(model, DATA, other("img_size"))


def taught(config, folder):
    """The key of a fine-tuned teacher, and its weights."""
    setup = prepare(config, make_method(config.method), MarkedCache(DATA), None)
    key = teacher_key(setup.model, setup.data, config)
    start = (setup.model, setup.data, setup.batches, config, setup.accelerator, folder)
    assert list(train_teacher(*start))
    return key, setup.model.state_dict()


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", [n for n in OTHER if n != "img_size"])
def test_a_teacher_is_shared_by_those_who_would_train_the_same(name, tmp_path):
    key, weights = taught(BASE, tmp_path / "a")
    other_key, others = taught(other(name), tmp_path / "b")
    same = equal(weights, others)
    if name not in IDLE:
        assert (key == other_key) == same
    assert same or key != other_key


def test_a_teacher_of_other_weights_or_data_has_another_key():
    model, keys = load_model("vit_digits"), set()
    for number in range(3):
        data = dataclasses.replace(DATA, train=dataclasses.replace(DATA.train))
        if number == 1:
            data.train.labels.setflags(write=True)
            labels = data.train.labels.copy()
            labels[-1] = (labels[-1] + 1) % 10
            data = dataclasses.replace(DATA, train=dataclasses.replace(DATA.train, labels=labels))
        if number == 2:
            with torch.no_grad():
                model.blocks[3].norm2.bias[7] += 1e-6
        keys.add(teacher_key(model, data, BASE))
    assert len(keys) == 3


def looked_up(config, cache):
    setup = prepare(config, make_method(config.method), cache, None)
    first = setup.batches["train"].inputs(torch.arange(4))
    return setup.teacher_scores(64), setup.teacher_scores(), first


def test_what_runs_share_in_a_process_is_never_another_one_s(monkeypatch):
    monkeypatch.setattr(data_cache, "load_data", lambda name, **how: DATA)
    shared = DataCache()
    names = [n for n in OTHER if n not in REFUSED]
    # The first ones again, when all the others have left something behind.
    for name in (*names, *names[:6]):
        config = dataclasses.replace(other(name), teacher="pretrained")
        *accuracies, pixels = looked_up(config, shared)
        *wanted, fresh = looked_up(config, DataCache())
        assert accuracies == wanted and torch.equal(pixels, fresh), name


def finished(folder, config):
    folder.mkdir()
    write_config(folder / "config.json", config)
    (folder / "result.json").write_text(json.dumps({"params_after": 10, "accuracy": 0.5}))
    (folder / "status.json").write_text(json.dumps({"status": "finished"}))


@pytest.mark.parametrize("name", OTHER)
def test_an_estimate_rests_on_runs_of_one_experiment_only(name, tmp_path):
    finished(tmp_path / "run", other(name))
    assert bool(rank_points(tmp_path, BASE)) == (name in ONE_EXPERIMENT)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(PCLoRAConfig)])
def test_an_estimate_rests_on_runs_of_one_method_in_other_sizes(name, tmp_path):
    given = {
        "targets": "fc1", "embeddings": "low_rank", "alpha": 0.5, "taps": "blocks",
        "logit_weight": 1.0, "temperature": 3.0, "schedule": "linear", "may_rise": True,
        "fade_end": 0.5, "init": "zeros", "scale": 2.0, "train_norms": True, "reset_moments": True,
        "budget_unit": "macs", "rank_allocation": "energy", **SIZES,
    }  # fmt: skip
    method = dataclasses.replace(BASE.method, **{name: given[name]})
    finished(tmp_path / "run", dataclasses.replace(BASE, method=method))
    assert bool(rank_points(tmp_path, BASE)) == (name in SIZES)


@pytest.mark.parametrize("name", [n for n in OTHER if n != "method"])
def test_a_comparison_takes_no_results_of_another_configuration(name, tmp_path):
    configs = {"pclora": BASE.method}
    claim_folder(tmp_path, BASE, configs, None)
    (tmp_path / "cells" / "a").mkdir(parents=True)
    (tmp_path / "cells" / "a" / "result.json").write_text("{}")
    if name in ("lr", "seed", "report_on"):  # it sets them for each of its runs
        claim_folder(tmp_path, other(name), configs, None)
        return
    with pytest.raises(ValueError, match=f"it differs in {name}"):
        claim_folder(tmp_path, other(name), configs, None)


def test_a_comparison_takes_no_results_of_other_options_or_learning_rates(tmp_path):
    claim_folder(tmp_path, BASE, {"pclora": BASE.method}, None)
    (tmp_path / "cells" / "a").mkdir(parents=True)
    (tmp_path / "cells" / "a" / "result.json").write_text("{}")
    for configs, lrs, what in (
        ({"pclora": PCLoRAConfig(rank=4, init="svd", alpha=0.5)}, None, "pclora"),
        ({"pclora": BASE.method}, [1e-3], "lrs"),
    ):
        with pytest.raises(ValueError, match=f"it differs in {what}"):
            claim_folder(tmp_path, BASE, configs, lrs)
    claim_folder(tmp_path, BASE, {"svd": method_class("svd").Config()}, None)


def test_a_latency_is_measured_anew_where_anything_differs(monkeypatch):
    measured = []
    monkeypatch.setattr(latency, "_measured", {})
    monkeypatch.setattr(latency, "_measure", lambda *given: measured.append(given) or len(measured))
    model, wider = load_model("vit_digits"), load_model("vit_digits", num_classes=3)
    ranks, usual = {"blocks.0.mlp.fc1": 4}, {"batch_size": 1, "turns": 5, "seconds": 1.0}
    calls = [
        (model, ranks, {}), (wider, ranks, {}), (model, {"blocks.0.mlp.fc1": 5}, {}),
        (model, ranks | {"blocks.0.mlp.fc2": 4}, {}), (model, ranks, {"batch_size": 2}),
        (model, ranks, {"turns": 6}), (model, ranks, {"seconds": 2.0}),
        (model, ranks, {"device": "meta"}),
    ]  # fmt: skip
    answers = [latency.latency_estimate(m, r, **usual | more) for m, r, more in calls]
    assert answers == [*range(1, len(calls) + 1)]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert latency.latency_estimate(model, ranks, **usual) == len(calls) + 1
    monkeypatch.undo()


@pytest.mark.parametrize("name", sorted(ONE_EXPERIMENT - {"seed"}))
def test_what_only_observes_changes_no_result(name, tmp_path):
    from pclora_lab.training.loop import train

    def ending(config):
        *_, end = train(config, tmp_path, cache=MarkedCache(DATA))
        return end.model.state_dict(), end.result["accuracy"]

    base = dataclasses.replace(BASE, teacher="pretrained")
    changed = dataclasses.replace(other(name), teacher="pretrained")
    (weights, accuracy), (others, again) = ending(base), ending(changed)
    assert equal(weights, others) and accuracy == again

"""Two runs are alike if nothing that reaches a number differs, but for what does not count."""

import dataclasses

import pytest

from pclora_lab.fields import Part, values_of
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.runs.estimates.alike import comparable
from pclora_lab.training.config import RunConfig

RUN = RunConfig(method=PCLoRAConfig(rank=8), precision="float32")
OTHER = {
    "steps": 7, "batch_size": 3, "warmup": 0.3, "weight_decay": 0.5, "teacher_steps": 3,
    "img_size": 16, "report_on": "validation", "overrides": ((1, 0.5),), "evaluations": 3,
    "eval_images": 5, "lr": 0.5, "grad_clip": 7.0,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_that_differs_counts_unless_it_is_named(name):
    other = dataclasses.replace(RUN, **{name: OTHER[name]})
    assert not comparable(other, RUN) and not comparable(RUN, other)
    assert comparable(other, RUN, name) and comparable(other, RUN, "rank", name)
    assert not comparable(other, RUN, "rank")


@pytest.mark.parametrize(("name", "value"), [("rank", 9), ("alpha", 0.5), ("schedule", "linear")])
def test_a_setting_of_the_method_that_differs_counts_unless_it_is_named(name, value):
    other = dataclasses.replace(RUN, method=dataclasses.replace(RUN.method, **{name: value}))
    assert not comparable(other, RUN)
    assert comparable(other, RUN, name) and not comparable(other, RUN, "steps")


def test_seed_and_what_only_observes_do_not_count():
    observing = {"eval_batch_size": 7, "snapshots": 9, "recompute": True, "layer_metrics": False}
    assert observing.keys() <= values_of(RUN, Part.OBSERVES).keys()
    assert comparable(dataclasses.replace(RUN, seed=5, **observing), RUN)


def test_runs_of_two_methods_are_never_alike():
    assert not comparable(dataclasses.replace(RUN, method=SVDConfig(rank=8), lr=RUN.lr), RUN, "lr")


def test_auto_may_have_become_any_precision_and_a_precision_no_other():
    auto = dataclasses.replace(RUN, precision="auto")
    assert comparable(RUN, auto) and comparable(auto, auto)
    assert not comparable(RUN, dataclasses.replace(RUN, precision="bfloat16"))


def test_one_model_or_data_set_may_be_named_from_two_folders(tmp_path, monkeypatch):
    for name in ("net", "pictures"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    whole = dataclasses.replace(RUN, model=str(tmp_path / "net"), data=str(tmp_path / "pictures"))
    assert comparable(whole, dataclasses.replace(RUN, model="./net", data="pictures"))
    for changes in ({"data": "digits"}, {"model": "vit_digits"}):
        assert not comparable(whole, dataclasses.replace(whole, **changes))

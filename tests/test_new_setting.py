"""A setting that is described once is a flag, a control, a line of the card, part of the keys."""

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from pclora_lab.data import cache as data_cache
from pclora_lab.data.cache import DataCache
from pclora_lab.export.model_card import model_card
from pclora_lab.fields import Part, option
from pclora_lab.training import teacher
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.form import Controls


def described(label, group, *parts):
    return option(0.5, "number", label, "of the test", low=0, high=1, group=group, parts=parts)


@dataclass(frozen=True, kw_only=True)
class Wider(RunConfig):
    crop: float = described("crop", "source", Part.DATA)
    noise: float = described("noise", "training", Part.TEACHER, Part.RECIPE)
    shade: float = option(
        0.5, "number", "shade", "of the test", hidden=True, parts=(Part.TEACHER,), since=2
    )


def changed(**values):
    return dataclasses.replace(Wider(), **values)


def test_it_has_a_control_in_the_form():
    controls = Controls(Wider(crop=0.25))
    slider = controls.training.fields["noise"]
    row = controls.training.rows["noise"]
    assert slider.description == "noise" and row.control is slider
    assert row in controls.column.advanced.content.children
    assert controls.source.fields["crop"].value == 0.25
    slider.value = 0.75
    assert controls.config() == Wider(crop=0.25, noise=0.75)
    controls.show(Wider(noise=0.1, shade=0.2))
    assert controls.config() == Wider(noise=0.1, shade=0.2)


def test_it_stands_in_the_model_card():
    numbers = ("params_before", "params_after", "macs_before", "macs_after", "bytes_before")
    numbers += ("bytes_after", "accuracy", "params_removed_replaced", "params_removed_whole")
    result = {"method": "pclora", **dict.fromkeys(numbers, 0)}
    card = model_card(result, Wider(noise=0.75))
    assert "* noise: 0.75" in card and "shade" not in card


def test_data_are_read_anew_where_it_differs(monkeypatch):
    read = []
    monkeypatch.setattr(data_cache, "load_data", lambda name, **how: read.append(how["crop"]))
    cache = DataCache()
    for config in (Wider(), Wider(noise=0.9), Wider(crop=0.25)):
        cache.data(config)
    assert read == [0.5, 0.25]


def key(config):
    torch.manual_seed(0)
    facts = SimpleNamespace(fingerprint=lambda: "abc")
    return teacher.teacher_key(torch.nn.Linear(2, 2), facts, config)


def test_a_teacher_is_another_one_where_it_differs():
    assert len({key(Wider()), key(changed(noise=0.9)), key(changed(shade=0.9))}) == 3
    assert key(changed(crop=0.9)) == key(Wider())  # the data's fingerprint tells


@dataclass(frozen=True, kw_only=True)
class Later(RunConfig):
    shade: float = option(
        0.5, "number", "shade", "of the test", hidden=True, parts=(Part.TEACHER,), since=2
    )


def test_a_setting_that_came_later_leaves_the_keys_on_disk_as_they_were():
    assert key(Later()) == key(RunConfig()) != key(Later(shade=0.9))


def test_the_dense_accuracy_is_measured_anew_where_it_differs(monkeypatch):
    measured = []
    monkeypatch.setattr(teacher, "evaluate", lambda *_, **__: measured.append(1) or {})
    cache, batches = DataCache(), {"validation": None}
    for config in (Wider(), Wider(seed=3, steps=5), Wider(noise=0.9), Wider(crop=0.1)):
        teacher.teacher_scores(cache, None, batches, config, limit=64)
    assert len(measured) == 3

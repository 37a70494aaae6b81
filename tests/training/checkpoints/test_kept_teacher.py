"""A kept teacher teaches only if it is what was written; any other is told, and made again."""

import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pclora_lab.training.checkpoints.kept_teacher import (
    KeptTeacherError,
    keep_teacher,
    load_kept_teacher,
    take_kept_teacher,
)
from pclora_lab.training.config import RunConfig

LOG = [{"phase": "teacher", "step": 2, "steps": 2, "accuracy": 0.5}]
WEIGHTS = "model.safetensors"


def layers(fill=0.25, bias=True):
    model = nn.Sequential(nn.Linear(3, 2, bias=bias), nn.BatchNorm1d(2))
    for parameter in model.parameters():
        nn.init.constant_(parameter, fill)
    return model


@pytest.fixture
def folder(tmp_path):
    keep_teacher(layers(), tmp_path / "kept", LOG, RunConfig())
    return tmp_path / "kept"


def test_it_comes_back_as_it_was(folder):
    model = layers(9.0)
    assert take_kept_teacher(model, folder) == LOG
    assert model[0].bias.tolist() == [0.25, 0.25]
    assert take_kept_teacher(model, folder / "other") is None


def test_tied_weights_are_kept_once_and_stay_tied(tmp_path):
    def tied(fill):
        model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
        model[1].weight = model[0].weight
        nn.init.constant_(model[0].weight, fill)
        return model

    keep_teacher(tied(0.5), tmp_path / "kept", LOG, RunConfig())
    assert [*load_file(tmp_path / "kept" / WEIGHTS)] == ["0.weight"]
    model = tied(9.0)
    assert load_kept_teacher(model, tmp_path / "kept") == LOG
    assert model[1].weight is model[0].weight and model[1].weight[0, 0] == 0.5
    with pytest.raises(KeptTeacherError, match="only one of the teacher and the model has 1.wei"):
        untied = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
        load_kept_teacher(untied, tmp_path / "kept")


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def edit(name, old, new):
    def edited(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edited


def weights(change):
    def changed(folder):
        tensors = load_file(folder / WEIGHTS)
        keep_teacher(_with(change(dict(tensors))), folder, LOG, RunConfig())

    return changed


class _with(nn.Module):
    """A model of any tensors."""

    def __init__(self, tensors):
        super().__init__()
        self.tensors = tensors

    def state_dict(self):
        return self.tensors


def resaved(folder):
    tensors = load_file(folder / WEIGHTS)
    save_file({**tensors, "0.bias": torch.zeros(2)}, folder / WEIGHTS)


def turned_into_a_folder(name):
    def turned(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return turned


DAMAGES = {
    "weights gone": lambda f: (f / WEIGHTS).unlink(),
    "history gone": lambda f: (f / "history.json").unlink(),
    "config gone": lambda f: (f / "config.json").unlink(),
    "weights empty": cut(WEIGHTS, 0),
    "weights cut": cut(WEIGHTS, -7),
    "history cut": cut("history.json", -5),
    "config cut": cut("config.json", 20),
    "history edited": edit("history.json", "0.5", "0.9"),
    "history of another kind": lambda f: (f / "history.json").write_text("{}"),
    "rows of another kind": lambda f: keep_teacher(layers(), f, [3], RunConfig()),
    "history too deep": lambda f: (f / "history.json").write_text("[" * 10**5),
    "history no text": lambda f: (f / "history.json").write_bytes(b"\xff\xfe\x00"),
    "config edited": edit("config.json", '"teacher_steps": 600', '"teacher_steps": 60'),
    "config of a newer version": edit("config.json", '"version": 2', '"version": 99'),
    "weights written by something else": resaved,
    "not finite": weights(lambda t: {**t, "0.bias": torch.tensor([1.0, float("nan")])}),
    "infinite buffer": weights(lambda t: {**t, "1.running_var": torch.full((2,), float("inf"))}),
    "another shape": weights(lambda t: {**t, "0.bias": torch.zeros(3)}),
    "another type": weights(lambda t: {**t, "0.bias": torch.zeros(2, dtype=torch.float64)}),
    "a tensor too few": weights(lambda t: {n: v for n, v in t.items() if n != "0.bias"}),
    "a tensor too many": weights(lambda t: {**t, "2.bias": torch.zeros(2)}),
    "weights are a folder": turned_into_a_folder(WEIGHTS),
    "history is a folder": turned_into_a_folder("history.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_as_it_was_written_is_told_and_leaves_the_model_alone(folder, damage):
    DAMAGES[damage](folder)
    model = layers(9.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="kept teacher .* can't be used: .*made again") as told:
        assert take_kept_teacher(model, folder) is None
    assert len(told) == 1
    with pytest.raises(KeptTeacherError):
        load_kept_teacher(model, folder)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # It can be made again in its place, unless somebody put a folder there.
    if "folder" not in damage:
        keep_teacher(layers(), folder, LOG, RunConfig())
        assert take_kept_teacher(model, folder) == LOG


def test_every_flip_of_a_byte_is_noticed(folder):
    content = (folder / WEIGHTS).read_bytes()
    for at in range(0, len(content), 11):
        spoiled = bytearray(content)
        spoiled[at] ^= 4
        (folder / WEIGHTS).write_bytes(spoiled)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            if take_kept_teacher(layers(9.0), folder) is not None:
                # Names of metadata that nobody reads.
                loaded = load_file(folder / WEIGHTS)
                assert torch.equal(loaded["0.bias"], layers()[0].bias)


def test_what_an_older_version_kept_is_taken_by_its_own_runs_only(folder, tmp_path):
    older = shutil.copytree(folder, tmp_path / "older")
    save_file(load_file(folder / WEIGHTS), older / WEIGHTS)
    with warnings.catch_warnings():
        # Its weights have no checksum, which is nothing to say of what is that old.
        warnings.simplefilter("error")
        assert load_kept_teacher(layers(), older, of_older_version=True) == LOG
    with pytest.raises(KeptTeacherError, match="no hash"):
        load_kept_teacher(layers(), older)
    (older / "history.json").write_text(json.dumps([3]))
    with pytest.warns(UserWarning, match="made again"):
        assert take_kept_teacher(layers(), older, of_older_version=True) is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [("a tensor too few", "only one of the teacher and the model has 0.bias$"),
     ("a tensor too many", "only one of the teacher and the model has 2.bias$"),
     ("another shape", r"0.bias is torch.float32 \(3,\), but the model's is torch.float32 \(2,\)"),
     ("another type", r"0.bias is torch.float64 \(2,\), but the model's is torch.float32 \(2,\)"),
     ("infinite buffer", "1.running_var is not finite"),
     ("history of another kind", "history.json holds no list of rows|changed since it was written"),
     ("history edited", "weights, history or config were changed since it was written"),
     ("weights written by something else", "its weights carry no hash")],
)  # fmt: skip
def test_it_is_said_what_is_not_as_it_was(folder, damage, words):
    DAMAGES[damage](folder)
    with pytest.raises(KeptTeacherError, match=words):
        load_kept_teacher(layers(), folder)


def test_where_there_is_no_teacher_nothing_is_said(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert take_kept_teacher(layers(), tmp_path) is None
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "checkpoint.safetensors").write_bytes(b"")
        assert take_kept_teacher(layers(), tmp_path) is None


def test_it_is_kept_without_the_paths_of_this_machine_and_not_if_it_is_not_finite(tmp_path):
    from pclora_lab.training.config import read_config

    config = RunConfig(model=str(tmp_path / "mine" / "net"), data=str(tmp_path / "pictures.csv"))
    keep_teacher(layers(), tmp_path / "kept", LOG, config)
    found = read_config(tmp_path / "kept" / "config.json")
    assert (found.model, found.data) == ("net", "pictures.csv")
    with pytest.raises(ValueError, match="not kept as a teacher; try a smaller teacher_lr"):
        keep_teacher(layers(float("nan")), tmp_path / "other", LOG, config)
    assert not (tmp_path / "other").exists()

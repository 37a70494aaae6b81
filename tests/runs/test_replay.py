"""Going back in time: the student that a snapshot gives is the one that was trained."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers
from pclora_lab.methods.registry import method_class
from pclora_lab.models.loading import load_model
from pclora_lab.nn.attention import attention_maps
from pclora_lab.nn.forward import call_model
from pclora_lab.runs import replay as module
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.replay import Replay, answers_of, read_basis
from pclora_lab.runs.snapshots import list_snapshots, save_snapshot
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, LogRow, RunEnd
from pclora_lab.training.loop import train
from pclora_lab.training.state import snapshot_note, snapshot_steps, trained_tensors

QUICK = {"steps": 6, "evaluations": 2, "eval_images": 40, "snapshots": 3}


def made(tmp_path, **changes):
    config = RunConfig(**{**QUICK, **changes})
    folder = new_run_folder(tmp_path, config)
    return folder, list(RunRecorder(folder).record(train(config, tmp_path)))


@pytest.mark.parametrize("init", ["zeros", "svd", "activation_svd"])
def test_the_first_snapshot_is_the_teacher_and_the_last_the_result(tmp_path, init):
    folder, events = made(tmp_path, method=PCLoRAConfig(rank=4, init=init))
    replay = Replay(folder)
    assert replay.steps == (0, 3, 6)
    assert [replay.nearest(step) for step in (0, 2, 3, 5, 6, 99)] == [0, 0, 3, 3, 6, 6]
    rows = [0, 5, 9]
    first, last = replay.predictions(0, rows), replay.predictions(6, rows)
    torch.testing.assert_close(first.student, first.teacher, atol=2e-5, rtol=1e-4)
    small = next(e.model for e in events if isinstance(e, RunEnd))
    inputs, labels = replay.examples.batch(torch.tensor(rows))
    with torch.no_grad():
        expected = call_model(small, inputs).softmax(-1)
    torch.testing.assert_close(last.student, expected, atol=1e-6, rtol=1e-5)
    assert last.labels.tolist() == labels.tolist()


def test_a_snapshot_in_the_middle_is_the_student_of_that_step(tmp_path):
    config = RunConfig(**QUICK, method=PCLoRAConfig(rank=4, init="svd", fade_end=1.0))
    folder = new_run_folder(tmp_path, config)
    events = RunRecorder(folder).record(train(config, tmp_path))
    lam = next(e.lam for e in events if isinstance(e, AdapterSnapshot) and e.step == 3)
    assert 0 < lam < 1
    list(events)
    student = Replay(folder).student_at(3)
    held = [float(m.lam) for m in student.modules() if hasattr(m, "lam")]
    assert held == pytest.approx([lam] * 16)
    weight = student.get_submodule("blocks.0.mlp.fc1")
    assert not torch.equal(weight.A, weight.start_A)


def test_the_spectra_are_those_of_the_matrices(tmp_path):
    folder, _ = made(tmp_path, method=PCLoRAConfig(rank=4, init="svd", fade_end=1.0))
    replay = Replay(folder)
    name = "blocks.1.mlp.fc2"
    teacher = torch.linalg.svdvals(replay.teacher.get_submodule(name).weight)
    start = replay.spectra(0, name)
    # At λ = 1 the sum is W itself, the adapter its four largest directions, the base the rest.
    torch.testing.assert_close(start.together, teacher, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(start.adapter, teacher[:4], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(start.base[: len(teacher) - 4], teacher[4:], atol=1e-4, rtol=1e-4)
    end = replay.spectra(6, name)
    assert end.base.abs().max() == 0 and (end.together > 1e-5).sum() == 4
    with pytest.raises(ValueError, match="no linear layer"):
        replay.spectra(0, "nowhere")


def test_svd_kd_can_be_replayed_too(tmp_path):
    folder, events = made(tmp_path, method=method_class("svd_kd").Config(rank=4, init="svd"))
    replay = Replay(folder)
    small = next(e.model for e in events if isinstance(e, RunEnd))
    inputs, _ = replay.examples.batch(torch.arange(3))
    with torch.no_grad():
        expected = call_model(small, inputs).softmax(-1)
    torch.testing.assert_close(
        replay.predictions(6, [0, 1, 2]).student, expected, atol=1e-6, rtol=1e-5
    )


def test_a_fine_tuned_teacher_is_found_again_or_missed(tmp_path):
    folder, events = made(tmp_path, teacher="finetune", teacher_steps=2)
    teacher = next(e.teacher for e in events if isinstance(e, RunEnd))
    found = Replay(folder).teacher
    assert torch.equal(found.head.weight, teacher.head.weight)
    for path in (tmp_path / "teachers").rglob("model.safetensors"):
        path.unlink()
    with pytest.raises(ValueError, match="teacher of this run is not in"):
        Replay(folder)


def test_a_cell_of_a_comparison_finds_its_teacher_there(tmp_path, monkeypatch):
    folder, _ = made(tmp_path / "cells", teacher="finetune", teacher_steps=2)
    (tmp_path / "comparison.json").write_text("{}")
    (tmp_path / "cells" / "teachers").rename(tmp_path / "teachers")
    monkeypatch.chdir(tmp_path / "cells")
    assert Replay(folder.name).has_teacher


def test_what_can_not_be_replayed_says_why(tmp_path):
    folder, _ = made(tmp_path, snapshots=0)
    with pytest.raises(ValueError, match="has no snapshots"):
        Replay(folder)
    config = RunConfig(**QUICK, method=method_class("full").Config())
    with pytest.raises(ValueError, match="keeps no adapters"):
        Replay(new_run_folder(tmp_path, config))
    folder, _ = made(tmp_path)
    with pytest.raises(ValueError, match="no validation example 5000"):
        Replay(folder).predictions(0, [5000])
    replay = Replay(folder)
    next(iter(list_snapshots(folder).values())).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"000000.safetensors can't be read"):
        replay.student_at(0)
    for path in list_snapshots(folder).values():
        path.unlink()
    with pytest.raises(ValueError, match="the snapshots of this run are gone"):
        replay.nearest(6)


def test_snapshots_stay_below_their_bound_and_say_so(tmp_path):
    folder, events = made(tmp_path, snapshots=5, snapshot_mb=0.7)
    sizes = [path.stat().st_size for path in list_snapshots(folder).values()]
    assert len(sizes) == 3 and sum(sizes) < 0.7e6
    result = next(e.result for e in events if isinstance(e, RunEnd))
    assert any("3 of 5 snapshots are kept" in note for note in result["notes"])
    assert snapshot_steps(10, 5, each=10, most_bytes=19) == ()
    assert snapshot_note(0, 5, 10**7, 1.0).startswith("no snapshots are kept")


def test_attention_is_what_the_block_computes():
    from timm.models import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, embed_dim=16, depth=2, num_heads=2, num_classes=3
    ).eval()
    images = torch.randn(2, 1, 8, 8)
    attention, kept = model.blocks[-1].attn, []
    attention.fused_attn = False
    attention.attn_drop.register_forward_hook(lambda module, args, output: kept.append(output))
    maps = attention_maps(model, images)
    assert maps.shape == (2, 2, 2)
    expected = kept[0][:, :, 0, 1:].mean(1)
    torch.testing.assert_close(maps.flatten(1), expected / expected.sum(-1, keepdim=True))


def test_a_model_without_patches_has_no_attention_map():
    from timm.models import ConvNeXt

    model = ConvNeXt(in_chans=1, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=3)
    with pytest.raises(ValueError, match="ConvNeXt has no attention over a grid"):
        attention_maps(model, torch.zeros(1, 1, 32, 32))


def test_the_rows_hold_layer_facts(tmp_path):
    _, events = made(tmp_path, method=PCLoRAConfig(rank=4, init="svd"))
    rows = [e.values for e in events if isinstance(e, LogRow)]
    assert set(rows[0]["layer_mse"]) == set(rows[-1]["layer_cka"])
    assert max(rows[0]["layer_mse"].values()) < 1e-8
    assert min(rows[0]["layer_cka"].values()) > 0.999
    assert max(rows[-1]["layer_base_share"].values()) == 0 < min(rows[-1]["layer_mse"].values())
    assert 0 < rows[-1]["probe_percent"] < 100


# With snapshots that were not trained

CACHE = DataCache()
LAYER = "blocks.0.mlp.fc1"
FADED = {0: 1.0, 3: 0.5, 6: None}  # λ of every snapshot; an older version wrote none


def kept(root, steps=FADED, **method):
    """A run whose adapters are moved by a tenth at every snapshot."""
    config = RunConfig(method=PCLoRAConfig(**{"rank": 2, **method}), steps=6)
    folder = new_run_folder(root, config, name="run")
    student = get_pclora_model(load_model("vit_digits"), config.method)
    for step, lam in steps.items():
        lams = {} if lam is None else {"lam": torch.tensor(lam)}
        save_snapshot(folder, step, {**trained_tensors(student), **lams})
        with torch.no_grad():
            for layer in pclora_layers(student).values():
                layer.B += 0.1
    write_json(folder / "status.json", {"status": "stopped", "error": None})
    return folder


@pytest.mark.parametrize("init", ["zeros", "svd"])
def test_adapters_and_lambda_are_those_of_the_step_and_the_start_that_of_the_first(tmp_path, init):
    replay = Replay(kept(tmp_path, init=init), cache=CACHE)
    student = replay.student_at(3)
    layer = student.get_submodule(LAYER)
    first = replay.student_at(0).get_submodule(LAYER).B.clone()
    assert replay.student_at(3) is student and float(layer.lam) == 0.5
    assert torch.allclose(layer.B, first + 0.1) and layer.rank == 2
    assert float(replay.student_at(6).get_submodule(LAYER).lam) == 0.0  # none was told
    assert torch.allclose(layer.B, first + 0.2)
    if init == "zeros":
        assert layer.start_A is None and layer.start_B is None
    else:
        assert torch.equal(layer.start_B, first) and layer.start_C is not None
    assert not student.training and not replay.teacher.training and replay.has_teacher


def test_one_step_is_read_once_while_it_is_looked_at(tmp_path, monkeypatch):
    replay, read = Replay(kept(tmp_path), cache=CACHE), []
    replay.student_at(0)
    load = module.load_snapshot
    monkeypatch.setattr(module, "load_snapshot", lambda path: read.append(path.stem) or load(path))
    for step in (0, 3, 3, 0):
        replay.student_at(step)
    assert read == ["000003", "000000"]


def test_after_a_snapshot_that_does_not_fit_the_next_one_is_read_whole(tmp_path):
    replay = Replay(kept(tmp_path), cache=CACHE)
    before = replay.student_at(0).get_submodule(LAYER).B.clone()
    save_snapshot(replay.folder, 3, {"lam": torch.tensor(0.5)})
    with pytest.raises(ValueError, match="the snapshot lacks .*: it was made with other settings"):
        replay.student_at(3)
    with torch.no_grad():
        replay._student.get_submodule(LAYER).B += 7
    assert torch.equal(replay.student_at(0).get_submodule(LAYER).B, before)


def test_a_snapshot_that_was_removed_meanwhile_is_named(tmp_path):
    replay = Replay(kept(tmp_path), cache=CACHE)
    replay.student_at(0)
    list_snapshots(replay.folder)[3].unlink()
    with pytest.raises(ValueError, match="^there is no snapshot of step 3 any more$"):
        replay.student_at(3)
    assert replay.steps == (0, 6) and replay.nearest(5) == 0 and replay.nearest(-1) == 0


@pytest.mark.parametrize(("init", "is_refused"), [("zeros", False), ("svd", True)])
def test_without_its_first_snapshot_only_adapters_that_started_at_zero_are_shown(
    tmp_path, init, is_refused
):
    folder = kept(tmp_path, init=init)
    list_snapshots(folder)[0].unlink()
    if is_refused:
        with pytest.raises(ValueError, match="^run has lost its first snapshot, which holds where"):
            Replay(folder, cache=CACHE)
    else:
        assert float(Replay(folder, cache=CACHE).student_at(3).get_submodule(LAYER).lam) == 0.5


def test_what_is_missing_of_a_run_that_goes_on_is_still_to_come(tmp_path):
    folder = new_run_folder(tmp_path, RunConfig(method=PCLoRAConfig(rank=2)), name="run")
    with pytest.raises(ValueError, match="^no snapshot yet: the first one is taken when"):
        Replay(folder)
    write_json(folder / "status.json", {"status": "stopped", "error": None})
    with pytest.raises(
        ValueError, match="^run has no snapshots: train again with snapshots=24, or"
    ):
        Replay(folder)


def test_examples_are_asked_for_by_their_number(tmp_path):
    replay = Replay(kept(tmp_path), cache=CACHE)
    last = len(replay.examples) - 1
    assert len(replay.raw) == last + 1 and len(replay.class_names) == 10
    found = replay.predictions(3, [last, 0])
    assert found.labels.tolist() == [int(replay.examples.labels[i]) for i in (last, 0)]
    assert found.teacher.shape == found.student.shape == (2, 10)
    torch.testing.assert_close(found.student.sum(-1), torch.ones(2))
    assert not torch.equal(found.student, found.teacher)
    for wrong in (last + 1, -1):
        with pytest.raises(ValueError, match=f"example {wrong}: they go from 0 to {last}$"):
            replay.predictions(3, [0, wrong])


def test_maps_are_of_teacher_and_student_and_over_images_only(tmp_path, monkeypatch):
    replay = Replay(kept(tmp_path), cache=CACHE)
    teacher, student = replay.attention(3, [0, 1])
    inputs, _ = replay.examples.batch(torch.tensor([0, 1]))
    assert torch.equal(teacher, attention_maps(replay.teacher, inputs))
    assert torch.equal(student, attention_maps(replay.student_at(3), inputs))
    assert not torch.equal(teacher, student)
    texts = ({"input_ids": torch.zeros(1, 3)}, torch.zeros(1))
    monkeypatch.setattr(replay.examples, "batch", lambda indices: texts)
    with pytest.raises(ValueError, match="drawn over images, and this model reads texts"):
        replay.attention(3, [0])


@pytest.mark.parametrize("init", ["zeros", "svd"])
def test_spectra_are_of_what_the_student_multiplies_with_at_that_step(tmp_path, init):
    replay = Replay(kept(tmp_path, init=init, scale=3.0), cache=CACHE)
    weight = replay.teacher.get_submodule(LAYER).weight
    first = replay.student_at(0).get_submodule(LAYER)
    start = 3.0 * first.B @ first.A if init == "svd" else torch.zeros_like(weight)
    layer = replay.student_at(3).get_submodule(LAYER)
    base, adapter = 0.5 * (weight - start), 3.0 * layer.B @ layer.A
    found = replay.spectra(3, LAYER)
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(found.base, torch.linalg.svdvals(base), **close)
    torch.testing.assert_close(found.adapter, torch.linalg.svdvals(adapter)[:2], **close)
    torch.testing.assert_close(found.together, torch.linalg.svdvals(base + adapter), **close)
    assert len(found.adapter) == 2 and len(found.base) == len(found.together) == min(weight.shape)
    with pytest.raises(ValueError, match="'head' is no linear layer of this run's student"):
        replay.spectra(3, "head")


@pytest.mark.parametrize("training", [True, False])
def test_probabilities_are_read_in_eval_mode_and_float32_and_the_mode_is_put_back(training):
    class Doubtful(torch.nn.Module):
        def forward(self, x):
            assert not self.training and not torch.is_grad_enabled()
            return x.half()

    model = Doubtful().train(training)
    found = answers_of(IMAGE_CLASSIFICATION, model, torch.tensor([[0.0, 3.0]]))
    assert found.dtype == torch.float32 and model.training is training
    torch.testing.assert_close(found, torch.tensor([[0.0, 3.0]]).softmax(-1))


@pytest.mark.parametrize(
    ("teacher", "is_new", "is_read", "has"),
    [
        ("auto", False, False, True),
        ("auto", True, True, True),
        ("finetune", False, True, True),
        ("pretrained", False, False, True),
        ("pretrained", True, False, False),
    ],
)
def test_a_teacher_that_was_fine_tuned_is_read_from_beside_the_run(
    tmp_path, monkeypatch, teacher, is_new, is_read, has
):
    read = []
    model = load_model("vit_digits").train()
    model.pclora_head_is_new = is_new
    monkeypatch.setattr(module, "load_dense", lambda config, data, task: model)
    monkeypatch.setattr(module, "read_teacher", lambda *given: read.append(given))
    config = RunConfig(teacher=teacher)
    basis = read_basis(tmp_path / "runs" / "one", config, CACHE)
    data = CACHE.data(config)
    assert read == ([(model, data, config, tmp_path / "runs" / "teachers")] if is_read else [])
    assert basis.has_teacher is has and basis.teacher is model and not model.training
    assert basis.class_names == data.class_names and len(basis.validation) == len(basis.raw)
    assert basis.raw is data.validation.examples
    for made in (basis, module.Predictions(None, None, None)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.teacher = None


def test_what_holds_no_adapters_can_not_be_built_again():
    made = SimpleNamespace(config=SimpleNamespace(method=method_class("full").Config()))
    with pytest.raises(ValueError, match="full has no ranks: there is no student to build again"):
        Replay._student_config(made)
    gone = SimpleNamespace(base=None)
    with pytest.raises(ValueError, match="the base of this layer was dropped"):
        module._matrices(gone)

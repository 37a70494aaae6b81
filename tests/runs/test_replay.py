"""Going back in time: the student that a snapshot gives is the one that was trained."""

import pytest
import torch

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import method_class
from pclora_lab.nn.attention import attention_maps
from pclora_lab.nn.forward import call_model
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.snapshots import list_snapshots
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, LogRow, RunEnd
from pclora_lab.training.loop import train
from pclora_lab.training.state import snapshot_note, snapshot_steps

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

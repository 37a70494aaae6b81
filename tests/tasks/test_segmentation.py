"""Semantic segmentation from its numbers to a whole run that is saved, read, replayed, exported."""

import ast
import dataclasses
import html
import importlib.util
import io
import json
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from segmenters import write_small_vit

from pclora_lab.data.cache import DataCache
from pclora_lab.data.loading import load_data
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.data.splits import LabeledData
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.plots.examples.masks import _oklab, class_color, painted_masks, shown_classes
from pclora_lab.plots.layers import examples_figure
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.replay import Predictions, Replay
from pclora_lab.runs.summary import result_table
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.tasks.registry import key_facts
from pclora_lab.tasks.segmentation import (
    SEMANTIC_SEGMENTATION as TASK,
)
from pclora_lab.tasks.segmentation import (
    Confusion,
    iou_by_class,
    segmentation_loss,
)
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.events import RunEnd
from pclora_lab.ui.views.examples_view import ExamplesView


def drawn(classes=4, size=(5, 7), count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, *size, generator=generator)
    masks = torch.randint(0, classes, (count, *size), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.2] = 255
    return logits, masks


def test_the_loss_is_the_mean_over_labeled_pixels():
    logits, masks = drawn()
    chosen = logits.movedim(1, -1)[masks != 255].double().log_softmax(-1)
    expected = -chosen.gather(1, masks[masks != 255][:, None]).mean()
    assert segmentation_loss(logits, masks).item() == pytest.approx(expected.item(), rel=1e-6)
    half = segmentation_loss(logits.bfloat16(), masks)
    assert half.dtype == torch.float32


def test_nothing_labeled_is_a_loss_of_zero_with_a_gradient_of_zero():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
    assert TASK.verdict(logits[0].softmax(0), torch.full((4, 4), 255), ()).text == (
        "nothing is labeled"
    )


def test_masks_that_do_not_fit_the_logits_are_refused():
    logits, masks = drawn()
    with pytest.raises(ValueError, match="class 4 of a mask is outside the model's head.* 4 class"):
        segmentation_loss(logits, masks.masked_fill(masks == 0, 4))
    with pytest.raises(ValueError, match="logits are of 5×7 pixels, the masks of 7×5"):
        segmentation_loss(logits, masks.transpose(1, 2))


def test_the_confusion_counts_like_a_loop_over_pixels():
    seen, both, either, right = Confusion(), np.zeros(4), np.zeros(4), []
    for seed in range(3):
        logits, masks = drawn(seed=seed)
        masks[masks == 3] = 0  # a class that stands in answers only
        seen.update(logits, masks)
        answers = logits.argmax(1)[masks != 255]
        truth = masks[masks != 255]
        for number in range(4):
            both[number] += int(((answers == number) & (truth == number)).sum())
            either[number] += int(((answers == number) | (truth == number)).sum())
        right += (answers == truth).tolist()
    found = seen.compute()
    assert seen.by_class().tolist() == pytest.approx((both / either).tolist())
    assert found["miou"] == pytest.approx((both / either).mean())
    assert found["pixel_accuracy"] == pytest.approx(np.mean(right))


def test_a_class_that_never_occurs_is_not_in_the_mean():
    seen = Confusion()
    logits = F.one_hot(torch.tensor([[[0, 0, 1, 1]]]), 3).movedim(-1, 1).float()
    seen.update(logits, torch.tensor([[[0, 1, 1, 1]]]))
    assert seen.by_class()[2].isnan()
    assert seen.compute()["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="no torchmetrics")
def test_torchmetrics_counts_the_same():
    from torchmetrics.classification import MulticlassJaccardIndex

    logits, masks = drawn()
    seen = Confusion()
    seen.update(logits, masks)
    theirs = MulticlassJaccardIndex(4, average="none", ignore_index=255)(logits, masks)
    assert seen.by_class().tolist() == pytest.approx(theirs.tolist())


def test_imitation_compares_each_pixel():
    student, _ = drawn()
    teacher, _ = drawn(seed=1)
    p, q = (logits.double().div(2).log_softmax(1) for logits in (teacher, student))
    expected = 4 * (p.exp() * (p - q)).sum(1).mean()
    found = TASK.imitation_loss(student, teacher, 2.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return RunConfig(
        task="semantic-segmentation", data="digit_scenes",
        model=str(write_small_vit(tmp_path_factory.mktemp("models") / "vit")),
        method=PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), steps=6, batch_size=16,
        teacher_steps=60, teacher_lr=3e-3, evaluations=2, eval_images=32, snapshots=3,
        device="cpu", precision="float32",
    )  # fmt: skip


class SmallScenes(DataCache):
    """Of few scenes, so that reading and measuring take no time."""

    def __init__(self):
        super().__init__()
        whole = digit_scenes()
        parts = {"train": 160, "validation": 40, "test": 40}
        splits = {}
        for name, count in parts.items():
            split = getattr(whole, name)
            splits[name] = dataclasses.replace(
                split, examples=split.examples[:count], labels=split.labels[:count],
                masks=split.masks[:count],
            )  # fmt: skip
        self.scenes = LabeledData("digit_scenes", "image", **splits, class_names=whole.class_names)

    def data(self, config, read=None):
        return self.scenes


@pytest.fixture(scope="module")
def cache():
    return SmallScenes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config, cache):
    *_, end = execute(config, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


def test_a_run_measures_what_is_measured_again(finished, cache):
    result = finished.result
    batches = TASK.batches(cache.scenes.test, preprocessing_of(finished.model))
    own = evaluate(TASK, finished.model, batches)
    assert result["miou"] == own["miou"] and result["pixel_accuracy"] == own["pixel_accuracy"]
    assert result["miou_examples"] == 40 and result["task"] == "semantic-segmentation"
    assert "accuracy" not in result and result["class_names"][:2] == ["background", "0"]
    # Background alone is a mean of 1/11 of its own IoU.
    assert result["teacher_pixel_accuracy"] > 0.7
    table = result_table(result)
    assert "student, test mIoU" in table and "pixel accuracy" in table
    by_class = iou_by_class(finished.model, batches, result["class_names"])
    assert np.mean([*by_class.values()]) == pytest.approx(result["miou"])
    kept = dict(zip(result["class_names"], result["by_class"]["IoU"], strict=True))
    assert {name: value for name, value in kept.items() if value is not None} == by_class
    value, lowest = min((value, name) for name, value in by_class.items())
    assert "lowest classes" in table and f"IoU: {lowest} {value:.1%}, " in table


def test_the_model_is_saved_without_pickle_and_answers_the_same(finished, tmp_path):
    folder = tmp_path / "again"
    saved = from_pretrained(f"{finished.result['run_dir']}/compressed")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(saved(images), finished.model.cpu().eval()(images))
    assert saved(images).shape == (2, 11, 32, 32)
    assert preprocessing_of(saved).crop_mode == "squash"
    assert preprocessing_of(saved) == preprocessing_of(finished.model)
    config = json.loads((save_pretrained(saved, folder) / "config.json").read_text())
    assert config["model"]["head"] == "patches"
    config["model"]["head"] = "another"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="a head 'another', unknown to this version"):
        from_pretrained(folder)


def test_a_saved_segmenter_is_trained_further(finished, cache):
    folder = f"{finished.result['run_dir']}/compressed"
    again = TASK.load_model(folder, cache.scenes)
    with torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        assert torch.equal(again(images), finished.model.cpu().eval()(images))
    fewer = dataclasses.replace(cache.scenes, class_names=("paper", "ink"))
    other = TASK.load_model(folder, fewer, seed=3)
    assert other(images).shape == (2, 2, 32, 32)
    assert torch.equal(
        other.head.linear.weight, TASK.load_model(folder, fewer, seed=3).head.linear.weight
    )


def test_report_and_replay_show_it(finished, cache):
    run_dir = finished.result["run_dir"]
    report = write_report(Path(run_dir), cache=cache).read_text(encoding="utf8")
    assert "mIoU" in report and "top-1" not in report and "MIoU" not in report
    assert "validation images, not chosen by how they turned out" in report
    assert report.count('alt="truth"') == report.count('alt="they differ"') > 0
    replay = Replay(Path(run_dir), cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    assert found.student.shape == (2, 11, 32, 32) and found.labels.shape == (2, 32, 32)
    images = replay.examples.raw(torch.tensor([0, 5])).numpy()
    assert examples_figure(images, found, replay.class_names).png()
    assert found.task.verdict(found.teacher[0], found.labels[0], ()).text.startswith("mIoU ")


def test_masks_are_painted_by_class_and_where_the_two_differ():
    target = torch.tensor([[0, 1], [2, 255]])
    said = [
        F.one_hot(torch.tensor(m), 3).movedim(-1, 0).float()
        for m in ([[0, 1], [2, 0]], [[0, 2], [2, 0]])
    ]
    found = Predictions(target[None], said[0][None], said[1][None], TASK)
    truth, teacher, student, differ = painted_masks(found, 0)
    assert truth[1, 1].tolist() == [255, 255, 255] and truth[0, 1].tolist() == [*class_color(1)]
    assert (teacher[0, 1] == class_color(1)).all() and (student[0, 1] == class_color(2)).all()
    assert (differ != differ[0, 0]).any(-1).tolist() == [[False, True], [False, False]]
    labels = Predictions(torch.tensor([1]), torch.ones(1, 3), torch.ones(1, 3))
    assert painted_masks(labels, 0) is None


def test_no_two_classes_have_colors_that_are_alike():
    colors = [class_color(number) for number in range(255)]
    assert len({*colors, (255, 255, 255)}) == 256
    # Of JPEG-like quality: a "just noticeable" difference in OKLab is about 0.02.
    places = _oklab(np.array([*colors[:32], (255, 255, 255)]))
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    assert apart[~np.eye(33, dtype=bool)].min() > 0.1
    # White, black and red as they are given with the space's definition.
    known = _oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]]))
    expected = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.628, 0.2249, 0.1258]]
    assert known == pytest.approx(np.array(expected), abs=2e-3)


def test_figure_and_report_tell_which_color_is_which_class(finished, cache):
    run_dir = Path(finished.result["run_dir"])
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    shown = shown_classes(found, [0, 1], replay.class_names)
    numbers = {*found.labels.unique().tolist(), *found.teacher.argmax(1).unique().tolist()}
    numbers |= {*found.student.argmax(1).unique().tolist()}
    assert [*shown] == [name for n, name in enumerate(replay.class_names) if n in numbers]
    images = replay.examples.raw(torch.tensor([0, 5])).numpy()
    (legend,) = examples_figure(images, found, replay.class_names).legends
    assert [text.get_text() for text in legend.get_texts()] == [*shown]
    assert [*shown_classes(found, [0, 1], replay.class_names, most=1)] == ["background"]
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    legend = report.partition('class="caption classes">')[2].partition("</p>")[0]
    assert '<i style="background:rgb(8, 8, 8)"></i><bdi>background</bdi>' in legend


def test_the_lab_shows_masks_in_place_of_attention(finished, cache):
    replay, view = Replay(Path(finished.result["run_dir"]), cache=cache), ExamplesView()
    view.show(replay, replay.steps[-1])
    assert "the last row is orange" in view.note.value and "Attention" not in view.note.value
    assert "teacher mIoU" in view.shown.value


def test_a_report_says_how_classes_of_pixels_are_read(finished, cache, tmp_path):
    run_dir = Path(finished.result["run_dir"])
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    code = html.unescape(report.partition("<pre>")[2].partition("</pre>")[0])
    Image.fromarray(np.zeros((40, 30), dtype=np.uint8)).save(tmp_path / "picture.png")
    paths = {"compressed": run_dir / "compressed", "picture.png": tmp_path / "picture.png"}
    for name, path in paths.items():
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', repr(str(path)))
    said = io.StringIO()
    with redirect_stdout(said):
        exec(code, {})
    assert {*ast.literal_eval(said.getvalue())} <= {*finished.result["class_names"]}


def test_shown_examples_cover_the_classes(cache, finished):
    batches = TASK.batches(cache.scenes.validation, preprocessing_of(finished.model))
    shown = TASK.shown_examples(batches, 6)
    assert len(shown) == len(set(shown)) == 6
    masks = batches.batch(torch.tensor(shown))[1]
    assert set(masks.unique().tolist()) >= set(range(11))


def test_exports_answer_the_same_and_say_how_good_they_are(finished, tmp_path):
    folder, formats = Path(finished.result["run_dir"]), ["standalone", "plain-int8", "onnx"]
    plain, rounded, onnx = export_run(folder, tmp_path, formats)
    assert plain.max_logit_difference < 1e-5 and onnx.max_logit_difference < 1e-4
    assert rounded.metric.key == "miou" and "mIoU" in str(rounded)
    loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        own = finished.model.cpu().eval()(images)
        torch.testing.assert_close(loaded(images), own, atol=1e-5, rtol=1e-4)
    card = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "pipeline_tag: image-segmentation" in card and "| mIoU (test) |" in card


@pytest.mark.parametrize("name", [n for n in METHODS if n != "pclora"])
def test_every_method_learns_it(name, config, cache, tmp_path):
    method = METHODS[name].default_config()
    small = dataclasses.replace(
        config, method=method, lr=None, steps=2, snapshots=0, teacher_steps=2, layer_metrics=False
    )
    *_, end = execute(small, tmp_path, cache=cache)
    assert isinstance(end, RunEnd) and 0 <= end.result["miou"] <= 1


@pytest.mark.parametrize(
    "model, reason",
    [
        ("bert_glosses", "reads texts, and masks are of images"),
        ("config:vit", "of transformers, of which this version makes no segmenter"),
    ],
)
def test_a_model_that_can_not_have_the_head_is_refused(cache, model, reason):
    with pytest.raises(ValueError, match=reason):
        TASK.load_model(model, cache.scenes)


def test_data_without_masks_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match="glosses holds no masks: choose digit_scenes"):
        list(execute(dataclasses.replace(config, data="glosses"), tmp_path))


def test_the_task_is_guessed_from_masks_and_written_down(config, tmp_path):
    for data in ("digits", "digit_scenes"):
        task, found = task_and_data(dataclasses.replace(config, task=None, data=data), DataCache())
        assert task is (TASK if found.has_masks else IMAGE_CLASSIFICATION)
    guessed = dataclasses.replace(
        config, task=None, steps=1, teacher="pretrained", method=METHODS["full"].default_config(),
        lr=None, snapshots=0, layer_metrics=False,
    )  # fmt: skip
    *_, end = execute(guessed, tmp_path)
    run = load_run(Path(end.result["run_dir"]))
    assert run.config["task"] == end.result["task"] == "semantic-segmentation"


def test_a_model_of_pixels_is_no_classifier(finished):
    model = f"{finished.result['run_dir']}/compressed"
    with pytest.raises(ValueError, match="has a class for every pixel and none for a whole image"):
        IMAGE_CLASSIFICATION.load_model(model, load_data("digits"))


def test_the_embedded_segmenter_learns_is_saved_and_exported(config, cache, tmp_path):
    built_in = dataclasses.replace(
        config, model="vit_scenes", steps=3, evaluations=1, layer_metrics=False
    )
    *_, end = execute(built_in, tmp_path / "runs", cache=cache)
    folder = Path(end.result["run_dir"])
    images = torch.randn(2, 1, 32, 32)
    saved = from_pretrained(folder / "compressed")
    with torch.no_grad():
        own = end.model.cpu().eval()(images)
        assert torch.equal(saved(images), own) and own.shape == (2, 11, 32, 32)
        plain, onnx = export_run(folder, tmp_path, ["standalone", "onnx"])
        assert onnx.max_logit_difference < 1e-4
        loaded = runpy.run_path(str(Path(plain.path) / "load.py"))["load"]()
        torch.testing.assert_close(loaded(images), own, atol=1e-5, rtol=1e-4)


def test_a_teacher_of_the_task_is_not_taken_for_a_classifier(config):
    keys = [key_facts(name) for name in (None, "image-classification", "semantic-segmentation")]
    assert keys[0] == keys[1] != keys[2]

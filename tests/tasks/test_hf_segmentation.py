"""SegFormer and UPerNet on Swin go all the way: trained, measured, saved, replayed, exported."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hf_segmenters import write_segmenter

from pclora_lab.data.cache import DataCache
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.export.run import export_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.nn.forward import call_model
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.runs.replay import Replay
from pclora_lab.tasks.segmentation import SEMANTIC_SEGMENTATION as TASK
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.events import RunEnd

# What peft asks of transformers' models is renamed in transformers 5.24.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

KINDS = ("segformer", "upernet")
CONFIG = RunConfig(
    task="semantic-segmentation", data="digit_scenes", steps=4, batch_size=8, teacher_steps=4,
    teacher_lr=1e-2, evaluations=1, eval_images=8, snapshots=2, device="cpu", layer_metrics=False,
    precision="float32", method=PCLoRAConfig(rank=2, init="svd", logit_weight=0.5),
)  # fmt: skip


class FewScenes(DataCache):
    """What is read: a few of the scenes."""

    def __init__(self):
        super().__init__()
        whole = digit_scenes()
        parts = {name: getattr(whole, name) for name in ("train", "validation", "test")}
        few = {
            name: dataclasses.replace(
                part, examples=part.examples[:24], labels=part.labels[:24], masks=part.masks[:24]
            )
            for name, part in parts.items()
        }
        self.scenes = dataclasses.replace(whole, **few, account=None)

    def data(self, config, read=None):
        return self.scenes


@pytest.fixture(scope="module")
def cache():
    return FewScenes()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: write_segmenter(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def finished(request, folders, cache, tmp_path_factory):
    config = dataclasses.replace(CONFIG, model=folders[request.param])
    *_, end = execute(config, tmp_path_factory.mktemp("runs"), cache=cache)
    return end


def test_a_run_measures_masks_in_their_own_size(finished, cache):
    saved = from_pretrained(f"{finished.result['run_dir']}/compressed")
    own = evaluate(TASK, saved, TASK.batches(cache.scenes.test, preprocessing_of(saved)))
    assert finished.result["miou"] == pytest.approx(own["miou"])
    assert finished.result["pixel_accuracy"] == pytest.approx(own["pixel_accuracy"])
    assert saved.config.id2label[0] == "background" and saved.num_classes == 11


def test_replay_has_the_statistics_of_each_step(finished, cache):
    run_dir = Path(finished.result["run_dir"])
    replay = Replay(run_dir, cache=cache)
    found = replay.predictions(replay.steps[-1], [0, 5])
    batches = TASK.batches(cache.scenes.test, preprocessing_of(finished.model))
    with torch.no_grad():
        inputs = replay.examples.inputs(torch.tensor([0, 5]))
        last = call_model(finished.model.cpu().eval(), inputs).softmax(1)
    torch.testing.assert_close(found.student, last, atol=1e-4, rtol=1e-3)
    answered, right = TASK.pixel_classes(found.student[0], found.labels[0])
    assert answered.shape == right.shape == (32, 32) and len(batches) == 24
    report = write_report(run_dir, cache=cache).read_text(encoding="utf8")
    assert report.count('alt="truth"') == report.count('alt="they differ"') > 0


def test_exports_answer_the_same(finished, tmp_path):
    folder, is_upernet = Path(finished.result["run_dir"]), "UperNet" in str(type(finished.model))
    # The slow one is for the model whose attention is spelled out in the graph.
    formats = ["standalone", "onnx"] if is_upernet else ["standalone"]
    reports = export_run(folder, tmp_path, formats)
    assert [report.format for report in reports] == formats
    assert max(report.max_logit_difference for report in reports) < 1e-3


def of(name, folder):
    """A config of a method, with a rank that is below the tiny layers' break-even."""
    method = METHODS[name].default_config()
    if hasattr(method, "rank"):
        method = dataclasses.replace(method, rank=4)
    return dataclasses.replace(
        CONFIG, model=folder, method=method, lr=None, steps=2, snapshots=0, teacher_steps=2
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("pclora", "small")])
def test_every_method_learns_it(name, kind, folders, cache, tmp_path):
    *_, end = execute(of(name, folders[kind]), tmp_path, cache=cache)
    assert isinstance(end, RunEnd) and 0 <= end.result["miou"] <= 1


def test_a_narrower_one_is_refused(folders, cache, tmp_path):
    with pytest.raises(ValueError, match="only vision transformers can be built narrower"):
        list(execute(of("small", folders["segformer"]), tmp_path, cache=cache))

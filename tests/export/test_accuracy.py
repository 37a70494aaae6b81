"""What the accuracy of an export rests on: the split of its run, in eval mode, and the file."""

import dataclasses

import pytest
import torch
from marked import MarkedCache, Spy, marked_digits
from tiny import tiny

from pclora_lab.export import accuracy as accuracy_module
from pclora_lab.export.accuracy import with_accuracies
from pclora_lab.export.formats import ExportFormat
from pclora_lab.export.report import ExportReport
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.training.config import RunConfig

DATA = marked_digits(train=20, validation=90, test=70)
CONFIG = RunConfig(method=SVDConfig(), teacher="pretrained", device="cpu")
REPORT = ExportReport("rounding", "x", 10, 20, 0.1, 1.0, 2.0)


class Reading:
    """Stands for what was written: gives every example the same class, and keeps its inputs."""

    def __init__(self, label):
        self.label, self.seen = label, []

    def __call__(self, inputs):
        (images,) = inputs.values()
        self.seen.append(images)
        return torch.eye(10)[[self.label] * len(images)]


@pytest.fixture
def reading(monkeypatch):
    found = Reading(3)
    monkeypatch.setattr(accuracy_module, "DataCache", lambda: MarkedCache(DATA))
    formats = {
        "rounding": ExportFormat("x", "", None, lambda _: found, True),
        "whole": ExportFormat("y", "", None, lambda _: found, False),
        "closed": ExportFormat("z", "", None, None, True),
    }
    monkeypatch.setattr(accuracy_module, "FORMATS", formats)
    return found


@pytest.mark.parametrize("split", ["validation", "test"])
def test_it_is_measured_on_the_split_that_the_run_reported_on(split, reading):
    spy = Spy()
    with spy.watching():
        config = dataclasses.replace(CONFIG, report_on=split)
        (report,) = with_accuracies([REPORT], tiny("vit_digits").eval(), config)
    labels = torch.as_tensor(getattr(DATA, split).labels)
    assert {p.split for p in spy.passes} == {split}
    assert sorted(n for p in spy.passes for n in p.numbers) == list(range(len(labels)))
    assert all(p.evaluates and not p.grad for p in spy.passes)
    assert report.examples == len(labels) == sum(map(len, reading.seen))
    assert report.accuracy == pytest.approx(float((labels == 3).float().mean()))
    assert report.float_accuracy != report.accuracy


def test_a_limit_takes_examples_from_the_whole_split_and_the_same_for_both(reading, monkeypatch):
    monkeypatch.setattr(accuracy_module, "_EXAMPLES", 7)
    spy = Spy()
    with spy.watching():
        (report,) = with_accuracies([REPORT], tiny("vit_digits").eval(), CONFIG)
    (numbers,) = {p.numbers for p in spy.passes}
    assert len(numbers) == report.examples == 7
    assert numbers[0] == 0 and numbers[-1] == 69
    first = torch.cat(reading.seen)[:, 0, 0, 2]
    assert [round(float(x * 0.5 + 0.5) * 255) for x in first] == list(numbers)


def test_only_formats_that_round_are_read_again(reading):
    whole, closed = (dataclasses.replace(REPORT, format=f) for f in ("whole", "closed"))
    unknown = dataclasses.replace(REPORT, format="of another package")
    model = tiny("vit_digits").eval()
    assert with_accuracies([whole, unknown], model, CONFIG) == [whole, unknown]
    assert not reading.seen
    reports = with_accuracies([whole, REPORT, closed], model, CONFIG)
    assert [r.accuracy is None for r in reports] == [True, False, True]
    assert [r.format for r in reports] == ["whole", "rounding", "closed"]


def test_a_file_that_can_not_be_read_keeps_the_reports(reading, monkeypatch):
    def broken(path):
        raise RuntimeError(f"{path} is cut")

    formats = {"rounding": ExportFormat("x", "", None, broken, True)}
    monkeypatch.setattr(accuracy_module, "FORMATS", formats)
    with pytest.warns(UserWarning, match=r"the accuracy of rounding can't be measured \(x is cut"):
        assert with_accuracies([REPORT], tiny("vit_digits").eval(), CONFIG) == [REPORT]


def test_a_thousand_examples_are_enough_and_all_are_taken_where_there_are_fewer(monkeypatch):
    seen = {}

    class Fed:
        def for_scoring(self, batch_size, limit):
            seen["limit"] = limit
            return [torch.arange(3), torch.arange(1)]

        def batch(self, indices):
            return torch.zeros(len(indices), 1, 2, 2), torch.tensor([0, 1, 0])[: len(indices)]

    run = lambda inputs: torch.tensor([[1.0, 0.0]]).repeat(len(inputs["pixel_values"]), 1)  # noqa: E731
    assert accuracy_module._score(run, IMAGE_CLASSIFICATION, Fed()) == (0.75, 4)
    assert seen == {"limit": 1000}
    monkeypatch.setattr(
        accuracy_module, "FORMATS", {"rounding": ExportFormat("x", "", None, lambda _: run, True)}
    )
    found = accuracy_module._measured(REPORT, IMAGE_CLASSIFICATION, Fed(), 0.25)
    assert (found.accuracy, found.float_accuracy, found.examples) == (0.75, 0.25, 4)


def test_an_export_is_given_its_inputs_by_name_and_a_mask_where_it_reads_texts():
    named = accuracy_module._named
    picture, ids = torch.zeros(1, 1, 2, 2), torch.tensor([[5, 6, 7]])
    assert list(named(picture)) == ["pixel_values"]
    assert named({"input_ids": ids})["attention_mask"].tolist() == [[1, 1, 1]]
    mask, types = torch.tensor([[1, 1, 0]]), torch.tensor([[0, 1, 1]])
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    assert all(named(given)[name] is tensor for name, tensor in given.items())

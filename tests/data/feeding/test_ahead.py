"""Batches that are made ahead are the same ones, and so are their errors."""

import threading

import pytest
import torch
from pictures import ROWS, png, write_parquet
from pretend_cuda import PretendCuda

from pclora_lab.data.account import DataError
from pclora_lab.data.batches import Batches
from pclora_lab.data.feeding.ahead import fed
from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.loading import load_data
from pclora_lab.training.evaluation import accuracy

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Noted(Batches):
    """Notes who makes a batch, and fails where it is told to."""

    takes_work = True

    def __init__(self, count=12, broken=()):
        super().__init__(torch.arange(count))
        self.made, self.broken = [], broken

    def inputs(self, indices, device=None):
        self.made.append((indices.tolist(), threading.current_thread().name))
        if self.broken and set(indices.tolist()) & set(self.broken):
            raise DataError(f"row {indices[0]} can't be read")
        return indices.float()

    def batch(self, indices, device=None):
        return self.inputs(indices), self.labels[indices]

    def begun(self, indices):
        made = self.batch(indices)
        return lambda device: made


def pairs(count=5):
    return iter(torch.arange(2 * count).split(2))


@pytest.mark.parametrize("device", [CPU, GPU])
def test_the_batches_are_the_same_in_the_same_order(device):
    batches = Noted()
    found = [(inputs.tolist(), labels.tolist()) for inputs, labels in fed(batches, pairs(), device)]
    assert found == [([float(i), i + 1.0], [i, i + 1]) for i in range(0, 10, 2)]
    assert [indices for indices, _ in batches.made] == [labels for _, labels in found]
    ahead = {name.startswith("pclora-batches") for _, name in batches.made}
    assert ahead == {device == GPU}


def test_on_a_gpu_two_batches_are_made_ahead_and_on_a_cpu_none():
    for device, count in ((GPU, 3), (CPU, 1)):
        batches = Noted()
        feed = fed(batches, pairs(), device)
        next(feed)
        feed.close()  # waits for the thread
        assert len(batches.made) in range(count if device == CPU else 1, count + 1)
    batches = Noted()
    feed = fed(batches, pairs(), GPU)
    next(feed)
    seen = threading.Event()
    threading.Timer(0.3, seen.set).start()
    seen.wait()
    assert len(batches.made) == 3
    feed.close()


def test_what_takes_no_work_needs_no_thread():
    batches = Noted()
    batches.takes_work = False
    assert len(list(fed(batches, pairs(), GPU))) == 5
    assert not any(name.startswith("pclora-batches") for _, name in batches.made)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_an_example_that_cannot_be_read_is_an_error_of_its_own_step(device):
    feed = fed(Noted(broken=[5]), pairs(), device)
    assert [next(feed)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(DataError, match="row 4 can't be read"):
        next(feed)


def test_closing_a_feed_waits_for_the_batch_that_is_being_made():
    """Nothing reads the data of a run that is over."""
    over = []

    class Slow(Noted):
        def begun(self, indices):
            made = super().begun(indices)
            threading.Event().wait(0.05 if len(self.made) < 2 else 0.3)
            over.append(len(self.made))
            return made

    feed = fed(Slow(), pairs(), GPU)
    next(feed)
    feed.close()
    count = len(over)
    threading.Event().wait(0.5)
    assert len(over) == count >= 1


def test_a_feed_that_is_closed_leaves_no_thread():
    before = threading.active_count()
    feed = fed(Noted(), pairs(), GPU)
    next(feed)
    feed.close()
    assert threading.active_count() == before


@pytest.fixture
def broken(tmp_path, vit):
    """Batches of a table whose tenth picture for the training is damaged, and its row."""
    split = load_data(write_parquet(tmp_path / "whole")).train
    row = int(split.examples.rows[9])
    cells = [{"bytes": png(i)[: 60 if i == row else None], "path": None} for i in range(ROWS)]
    split = load_data(write_parquet(tmp_path / "table", img=lambda _: cells)).train
    return ImageBatches(split, Preprocessing.of(vit)), row


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_picture_that_cannot_be_read_is_named_with_its_row(broken, device):
    batches, row = broken
    order = iter(torch.arange(28).split(4))
    with PretendCuda():
        feed = fed(batches, order, torch.device(device))
        assert [next(feed)[1].device.type for _ in range(2)] == [device] * 2
        with pytest.raises(DataError, match=f"row {row}, column 'img': the image can't be read"):
            next(feed)


def test_accuracy_on_a_gpu_is_that_of_the_cpu(tmp_path, vit):
    split = load_data(write_parquet(tmp_path / "table")).train
    here = accuracy(vit, ImageBatches(split, Preprocessing.of(vit)), batch_size=5)
    with PretendCuda():
        there = accuracy(vit.to("cuda"), ImageBatches(split, Preprocessing.of(vit)), batch_size=5)
    assert here == there

"""Which examples a batch has: each once in an epoch, and of a limit as many from everywhere."""

import pytest
import torch

from pclora_lab.data.batches import Batches


class Numbered(Batches):
    """Examples that are their own numbers."""

    def inputs(self, indices, device=None):
        return indices * 10


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def batches(count):
    return Numbered(torch.arange(count) % 3)


@pytest.mark.parametrize(
    ("count", "limit", "chosen"),
    [
        (5, None, [0, 1, 2, 3, 4]),
        (5, 9, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (11, 3, [0, 5, 10]),
        (10, 4, [0, 3, 6, 9]),
        (9, 1, [0]),
        (9, 2, [0, 8]),
    ],
)
def test_a_limit_takes_examples_from_the_first_to_the_last(count, limit, chosen):
    for order in (batches(count).in_order, batches(count).for_scoring):
        parts = list(order(2, limit))
        assert torch.cat(parts).tolist() == chosen
        assert {len(part) for part in parts[:-1]} <= {2} and 1 <= len(parts[-1]) <= 2


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (4, 4), (3, 8), (1, 1)])
def test_an_epoch_has_full_batches_of_examples_that_differ(count, size):
    drawn = batches(count).shuffled(size, seeded(0))
    most = min(size, count)
    for _ in range(3):
        epoch = torch.cat([next(drawn) for _ in range(count // most)]).tolist()
        assert len(epoch) == len(set(epoch)) == count // most * most
        assert set(epoch) <= set(range(count))
    again, other = (batches(count).shuffled(size, seeded(seed)) for seed in (0, 1))
    first = batches(count).shuffled(size, seeded(0))
    draws = [torch.cat([next(one) for _ in range(8)]).tolist() for one in (first, again, other)]
    assert draws[0] == draws[1] and (count == 1 or draws[0] != draws[2])


def test_a_batch_has_inputs_and_labels_of_its_examples_now_or_later():
    some = torch.tensor([4, 0])
    for inputs, labels in (batches(5).batch(some), batches(5).begun(some)(None)):
        assert inputs.tolist() == [40, 0] and labels.tolist() == [1, 0]
    assert len(batches(5)) == 5 and not batches(5).takes_work
    with pytest.raises(NotImplementedError):
        Batches(torch.zeros(2)).inputs(some)

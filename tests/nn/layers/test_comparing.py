"""How far two models' outputs are apart."""

import torch

from pclora_lab.nn.layers.comparing import largest_gap


def test_the_largest_gap_is_told_beside_the_largest_value():
    value, wanted = torch.tensor([1.0, -4.0, 9.0]), torch.tensor([1.5, -3.0, torch.inf])
    assert largest_gap(value, wanted, wanted.isfinite()) == (1.0, 3.0)


def test_where_there_is_no_number_there_is_no_gap():
    empty = torch.zeros(0)
    assert largest_gap(empty, empty, empty.isfinite()) == (0.0, 0.0)

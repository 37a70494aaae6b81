"""An input is in the precision in which a linear layer would compute with it."""

import contextlib

import pytest
import torch
import torch.nn.functional as F

from pclora_lab.nn.layers.precision import autocast_off, in_autocast

KINDS = [torch.float64, torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_what_a_linear_layer_would_give(dtype, enabled):
    x, weight = torch.ones(1, 2, dtype=dtype), torch.ones(2, 2, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        assert in_autocast(x).dtype == F.linear(x, weight).dtype
        assert dtype == in_autocast(x).dtype or (enabled and dtype is torch.float32)


def test_without_values_nothing_is_cast():
    x = torch.ones(2, device="meta")
    with torch.autocast("cpu", torch.bfloat16):
        assert in_autocast(x) is x


def test_autocast_is_off_inside_and_on_again_after():
    x = torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with autocast_off(x.device):
            assert F.linear(x, x).dtype is torch.float32
        assert F.linear(x, x).dtype is torch.bfloat16
    assert isinstance(autocast_off(torch.device("meta")), contextlib.nullcontext)

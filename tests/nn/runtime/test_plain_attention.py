"""The switch of fused attention is where it was, whoever leaves last."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from pclora_lab.nn.runtime.plain_attention import plain_attention
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator

is_fused = torch.backends.cuda.flash_sdp_enabled


@pytest.mark.parametrize("was", [True, False])
def test_the_last_one_out_puts_it_back(was):
    torch.backends.cuda.enable_flash_sdp(was)
    try:
        first, second = plain_attention(), plain_attention()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not is_fused()
        second.__exit__(None, None, None)
        assert is_fused() == was
        with pytest.raises(KeyError), plain_attention():
            raise KeyError
        assert is_fused() == was
    finally:
        torch.backends.cuda.enable_flash_sdp(True)


def names_of_operations(vit, images, precision: str) -> set[str]:
    accelerator = make_accelerator(RunConfig(device="cpu", precision=precision), vit)
    with profile(activities=[ProfilerActivity.CPU]) as seen, accelerator.autocast():
        vit(images)
    return {event.key for event in seen.key_averages()}


def test_a_run_in_bfloat16_on_a_cpu_has_no_fused_attention(vit, images):
    fused = "aten::_scaled_dot_product_flash_attention_for_cpu"
    assert fused in names_of_operations(vit, images, "float32")
    assert fused not in names_of_operations(vit, images, "bfloat16")
    assert is_fused()

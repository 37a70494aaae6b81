"""The formulas of docs/cost.md: equal to what torch counts, and to what its tables say."""

import dataclasses

import pytest
from scaling import SHAPES, Shape, checked, least_macs, memory, moved


def test_the_formulas_are_near_what_torch_keeps():
    found = checked("vit_tiny_patch16_224", 1, 8)
    assert found["params"][2] == found["adapters"][2] == 1
    kept = [ratio for key, (_, _, ratio) in found.items() if key.startswith("kept")]
    assert len(kept) == 3 and all(0.95 < ratio < 1.08 for ratio in kept)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("ViT-B/16", 0.0866), ("Llama-2-7B", 6.74), ("Llama-2-13B", 13.0), ("Llama-2-70B", 69.0)],
)
def test_the_shapes_have_the_parameters_that_their_names_say(name, billions):
    assert SHAPES[name].params / 1e9 == pytest.approx(billions, rel=0.01)


def test_memory_is_divided_among_the_gpus_but_for_activations():
    one, many = (
        memory(SHAPES["ViT-L/16"], "pclora", batch=2, rank=8, taps="blocks", shards=n)
        for n in (1, 8)
    )
    assert one["activations"] == many["activations"]
    parts = [name for name in one if name not in ("activations", "all")]
    assert all(one[name] == pytest.approx(8 * many[name]) for name in parts)
    assert one["all"] == pytest.approx(sum(v for n, v in one.items() if n != "all"))


def test_a_single_gpu_sends_nothing_and_copies_send_gradients_alone():
    shape = SHAPES["ViT-B/16"]
    for method in ("full", "pclora"):
        for sharded in (True, False):
            assert moved(shape, method, rank=8, gpus=1, sharded=sharded) == 0
    two = moved(shape, "pclora", rank=8, gpus=2, sharded=False)
    assert two == pytest.approx(4 * shape.adapter_params(8) / 1e9)


def test_the_least_multiplications_follow_the_rank():
    shape = Shape(1, 192, 768, 17, 0)
    low, high = (least_macs(shape, rank, fading=0.5) for rank in (1, 64))
    assert 1 < low["fading"] < high["fading"] and low["after"] < high["after"] < 1
    assert low["run"] == pytest.approx((low["fading"] + low["after"]) / 2)
    longer = least_macs(dataclasses.replace(shape, tokens=500), 1, fading=0.5)
    assert longer["after"] > low["after"], "attention is not compressed"

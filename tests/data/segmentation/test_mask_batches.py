"""A mask goes where its image goes, and keeps its classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pclora_lab.data.images import Preprocessing
from pclora_lab.data.segmentation.batches import MaskBatches
from pclora_lab.data.splits import Split


@pytest.fixture(scope="module")
def split():
    """Images whose red is their mask, so that each says where the other's pixels went."""
    generator = np.random.default_rng(0)
    masks = [generator.integers(0, 9, (18, 26), dtype=np.uint8) * 20 for _ in range(20)]
    images = [Image.fromarray(np.stack([mask] * 3, -1)) for mask in masks]
    return Split(images, np.zeros(20, dtype=np.int64), [*map(Image.fromarray, masks)])


def preprocessing(**changes):
    given = {"interpolation": "nearest", "crop_pct": 0.8, "crop_mode": "center", **changes}
    return Preprocessing((3, 12, 12), (0.5,) * 3, (0.5,) * 3, **given)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("count", [3, 20])
def test_resized_and_cropped_as_its_image(split, crop_mode, count):
    batches = MaskBatches(split, preprocessing(crop_mode=crop_mode))
    indices = torch.arange(count).flip(0)
    inputs, masks = batches.batch(indices)
    assert masks.dtype == torch.int64 and masks.shape == (count, 12, 12)
    seen = batches.raw(indices)[:, 0].long()
    assert torch.equal(seen, masks) and inputs.shape == (count, 3, 12, 12)
    # The same a second time, when both are kept.
    assert torch.equal(batches.batch(indices)[1], masks)


def test_no_class_is_made_up_between_two(split):
    _, masks = MaskBatches(split, preprocessing(interpolation="bicubic")).batch(torch.arange(20))
    assert set(masks.unique().tolist()) <= {20 * number for number in range(9)}


def test_what_is_padded_is_not_labeled(split):
    _, masks = MaskBatches(split, preprocessing(crop_mode="border")).batch(torch.tensor([0]))
    assert (masks[0, 0] == 255).all() and (masks[0, 6] != 255).any()


SQUASH = {"size": {"height": 12, "width": 20}}
CROP = {"size": {"shortest_edge": 24}, "do_center_crop": True}


def processed(values, **changes):
    """What an image processor of these values gives, by nearest neighbor unless told otherwise."""
    shown = {"image_processor_type": "ViTImageProcessor", "resample": 0, **values, **changes}
    size = shown.get("crop_size", shown["size"])
    return replace(
        preprocessing(processor=json.dumps(shown)), input_size=(3, size["height"], size["width"])
    )


@pytest.mark.parametrize(
    "values",
    [
        SQUASH,
        {**CROP, "crop_size": {"height": 12, "width": 16}},
        # Larger than the picture, so that all around it is filled up.
        {**CROP, "crop_size": {"height": 30, "width": 44}},
    ],
)
def test_an_image_processor_takes_the_mask_along(split, values):
    batches = MaskBatches(split, processed(values))
    indices = torch.arange(20)
    _, masks = batches.batch(indices)
    seen = batches.raw(indices)[:, 0].long()
    is_added = masks == 255
    assert torch.equal(masks[~is_added], seen[~is_added]) and not seen[is_added].any()
    beside = values.get("crop_size", {}).get("height") == 30
    assert bool(is_added.any()) == beside
    if beside:
        assert is_added[:, 0].all() and not is_added[:, 15, 22].any()
    _, smooth = MaskBatches(split, processed(values, resample=3)).batch(indices)
    assert set(smooth.unique().tolist()) <= {20 * number for number in range(9)} | {255}


def test_refused_without_masks(split):
    with pytest.raises(ValueError, match="no masks"):
        MaskBatches(Split(split.examples, split.labels), preprocessing())

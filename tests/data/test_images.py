"""Batches: timm's own preprocessing, whatever the picture, and every image once per epoch."""

import pytest
import torch
from pictures import ROWS, png, write_parquet
from timm.data import create_transform, resolve_data_config

from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.loading import load_data


@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize(
    "changes",
    [
        {"crop_pct": 0.9, "interpolation": "bicubic"},
        {"crop_pct": 1.0, "interpolation": "bilinear"},
        {"crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"},
        {"crop_pct": 0.8, "interpolation": "bilinear", "crop_mode": "border"},
    ],
    ids=["bicubic", "bilinear", "squash", "border"],
)
def test_batches_equal_timms_own_evaluation_transform(vit, tmp_path, changes, count):
    vit.pretrained_cfg |= {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), **changes}
    split = load_data(write_parquet(tmp_path / "table")).train
    pixels = ImageBatches(split, Preprocessing.of(vit))
    rows = torch.arange(count)
    for some in (rows[:2], rows, rows):  # not read, read in part, read before
        images, labels = pixels.batch(some)
    assert (
        pixels.raw(rows).dtype == torch.uint8 and labels.tolist() == split.labels[:count].tolist()
    )
    transform = create_transform(**resolve_data_config({}, model=vit))
    want = torch.stack([transform(split.examples[i]) for i in range(count)])
    torch.testing.assert_close(images, want)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_any_mode_become_the_models_channels(vit, tmp_path, mode):
    rows = [{"bytes": png(i, mode), "path": None} for i in range(ROWS)]
    split = load_data(write_parquet(tmp_path / "table", img=lambda _: rows)).train
    images, _ = ImageBatches(split, Preprocessing.of(vit)).batch(torch.arange(4))
    assert images.shape == (4, 3, 16, 16) and images.float().std() > 0


def test_shuffled_batches_show_every_image_once_per_epoch_and_follow_the_seed(vit, tmp_path):
    pixels = ImageBatches(load_data(write_parquet(tmp_path / "table")).train, Preprocessing.of(vit))

    def rows(seed: int) -> list[int]:
        batches = pixels.shuffled(7, torch.Generator().manual_seed(seed))
        return torch.cat([next(batches) for _ in range(8)]).tolist()

    epochs = rows(0)
    assert sorted(epochs[:28]) == sorted(epochs[28:]) == list(range(28))
    assert epochs[:28] != epochs[28:] and rows(0) == epochs != rows(1)
    assert torch.cat(list(pixels.in_order(9))).tolist() == list(range(28))
    assert torch.cat(list(pixels.in_order(9, limit=4))).tolist() == [0, 9, 18, 27]


def test_as_many_means_as_channels_are_needed(vit):
    vit.pretrained_cfg |= {"input_size": (1, 16, 16)}
    with pytest.raises(ValueError, match="1 channels, but .* gives 3 values for mean.*config.json"):
        Preprocessing.of(vit)

"""transformers' image processors are followed to the pixel; what can't be followed is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn
from transformers import (
    BeitImageProcessor,
    BitImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    EfficientNetImageProcessor,
    LevitImageProcessor,
    MobileViTImageProcessor,
    PreTrainedConfig,
    ResNetConfig,
    SegformerImageProcessor,
    SiglipImageProcessor,
    ViTConfig,
    ViTImageProcessor,
)

from pclora_lab.data.images import ImageBatches, Preprocessing, build_processor
from pclora_lab.data.splits import Split
from pclora_lab.models import hf_images
from pclora_lab.models.hf_images import image_settings

EDGE, SQUARE = {"shortest_edge": 40}, {"height": 32, "width": 32}
CROPPED = {"size": EDGE, "crop_size": SQUARE}
PROCESSORS = {
    "vit": ViTImageProcessor(size=SQUARE),
    "vit_bicubic": ViTImageProcessor(size=SQUARE, resample=3),
    "vit_lanczos": ViTImageProcessor(size=SQUARE, resample=1),
    "not_square": ViTImageProcessor(size={"height": 24, "width": 40}),
    "beit": BeitImageProcessor(size={"height": 40, "width": 40}, crop_size=SQUARE),
    "dinov2_hiera": BitImageProcessor(**CROPPED),
    "clip": CLIPImageProcessor(**CROPPED),
    "siglip": SiglipImageProcessor(size=SQUARE),
    "levit": LevitImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE),
    "convnext": ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.8),
    "segformer": SegformerImageProcessor(size=SQUARE),
    "flipped_channels": MobileViTImageProcessor(**CROPPED, do_flip_channel_order=True),
    "not_normalized": ViTImageProcessor(size=SQUARE, do_normalize=False),
    "not_rescaled": ViTImageProcessor(size=SQUARE, do_rescale=False),
    "other_factor": ViTImageProcessor(size=SQUARE, rescale_factor=1 / 127.5, image_mean=[1.0] * 3),
    "crop_is_larger": BitImageProcessor(size={"shortest_edge": 24}, crop_size=SQUARE),
}


def preprocessing(processor, folder) -> Preprocessing:
    """As a model that was loaded from a folder with this processor has it."""
    processor.save_pretrained(folder)
    model = nn.Linear(1, 1)
    settings = image_settings(str(folder), ViTConfig(), True)
    model.pretrained_cfg = json.loads(json.dumps(settings))  # as a recipe comes back
    return Preprocessing.of(model)


def batch(found: Preprocessing, *images: Image.Image) -> torch.Tensor:
    split = Split(list(images), np.zeros(len(images), dtype=int))
    return ImageBatches(split, found).inputs(torch.arange(len(images)))


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_the_processors_own(tmp_path, name):
    processor = PROCESSORS[name]
    images = noise(61, 47), noise(33, 90), noise(20, 21)
    own = batch(preprocessing(processor, tmp_path), *images)
    wanted = torch.cat([processor(i, return_tensors="pt")["pixel_values"] for i in images])
    torch.testing.assert_close(own, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "I;16", "CMYK"])
@pytest.mark.parametrize("name", ["clip", "vit"])
def test_pictures_of_any_mode_are_taken(tmp_path, name, mode):
    if mode == "I;16":
        image = Image.fromarray(np.full((47, 61), 40000, dtype=np.uint16))
    else:
        image = noise(61, 47, "RGBA").convert("RGB" if mode == "CMYK" else mode).convert(mode)
    own = batch(preprocessing(PROCESSORS[name], tmp_path), image)
    assert own.shape == (1, 3, 32, 32) and own.isfinite().all()
    if name == "clip" and mode == "RGBA":  # it lays transparent pictures on white by itself
        wanted = PROCESSORS[name](image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(own, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["dinov2_hiera", "clip", "levit", "convnext"])
def test_a_disc_stays_a_disc(tmp_path, name):
    wide = Image.new("RGB", (120, 60))
    ImageDraw.Draw(wide).ellipse((45, 15, 75, 45), fill="white")
    seen = batch(preprocessing(PROCESSORS[name], tmp_path), wide)[0, 0]
    bright = seen > (seen.max() + seen.min()) / 2
    rows, columns = bright.any(1).sum().item(), bright.any(0).sum().item()
    assert abs(rows - columns) <= 1 and rows > 5


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (
            BitImageProcessor(size=EDGE, do_center_crop=False),
            r"of different sizes \(\d+×\d+ and \d+×\d+.*do_center_crop",
        ),
        (ViTImageProcessor(do_resize=False), "of different sizes"),
        (
            EfficientNetImageProcessor(size=SQUARE, rescale_offset=True),
            "EfficientNetImageProcessor, does more than",
        ),
    ],
    ids=["no_crop", "no_resize", "offset"],
)
def test_what_can_not_be_followed_is_refused_by_name(tmp_path, processor, message):
    with pytest.raises(ValueError, match=message):
        preprocessing(processor, tmp_path)


@pytest.mark.parametrize("name", ["Trainer", "no name", "os.system", "", None])
def test_a_processor_that_is_none_is_never_looked_for(name):
    with pytest.raises(ValueError, match="is unknown to this version of transformers"):
        build_processor({"image_processor_type": name})


def test_one_mean_for_all_channels_is_one_for_each(tmp_path):
    found = preprocessing(
        ViTImageProcessor(size=SQUARE, image_mean=[0.25], image_std=[0.5]), tmp_path
    )
    assert found.mean == (0.25,) * 3 and found.std == (0.5,) * 3


def test_a_model_that_names_no_size_and_has_no_processor_takes_224_pixels(tmp_path):
    settings = image_settings(str(tmp_path), ResNetConfig(num_channels=1), False)
    assert settings["input_size"] == (1, 224, 224)


def test_a_model_that_names_no_channels_and_has_no_processor_takes_three(tmp_path):
    settings = image_settings(str(tmp_path), PreTrainedConfig(), False)
    assert settings["input_size"] == (3, 224, 224)
    assert len(settings["mean"]) == len(settings["std"]) == 3


@pytest.mark.parametrize("size", [(60, 20), (20, 60), (8, 8)])
def test_without_a_processor_the_whole_picture_is_seen_and_nothing_around_it(tmp_path, size):
    model = nn.Linear(1, 1)
    model.pretrained_cfg = image_settings(str(tmp_path), ViTConfig(image_size=32), False)
    white, framed = Image.new("RGB", size, "white"), Image.new("RGB", size, "white")
    ImageDraw.Draw(framed).rectangle((0, 0, size[0] - 1, size[1] - 1), outline="black")
    seen = batch(Preprocessing.of(model), white, framed)
    assert seen.shape == (2, 3, 32, 32) and (seen[0] == 1).all()
    edges = (seen[1, :, 0], seen[1, :, -1], seen[1, :, :, 0], seen[1, :, :, -1])
    assert all(edge.mean() < 0.5 for edge in edges)


def test_a_processor_of_gray_pictures_is_followed(tmp_path):
    processor = ViTImageProcessor(size=SQUARE, image_mean=[0.3], image_std=[0.6])
    processor.save_pretrained(tmp_path)
    model = nn.Linear(1, 1)
    model.pretrained_cfg = image_settings(str(tmp_path), ViTConfig(num_channels=1), True)
    gray = noise(61, 47, "L")
    wanted = processor(gray, return_tensors="pt")["pixel_values"]
    own = batch(Preprocessing.of(model), gray)
    assert own.shape == (1, 1, 32, 32)
    torch.testing.assert_close(own, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "otherwise", [lambda seen: seen.float(), lambda seen: seen[:, :-1]], ids=["kind", "size"]
)
def test_a_processor_that_resizes_otherwise_than_is_done_here_is_refused(
    tmp_path, monkeypatch, otherwise
):
    def resize_by(processor):
        return lambda image: otherwise(follow(processor)(image))

    follow = hf_images.resize_by
    monkeypatch.setattr(hf_images, "resize_by", resize_by)
    with pytest.raises(ValueError, match="a ViTImageProcessor.*, does more than"):
        preprocessing(ViTImageProcessor(size=SQUARE), tmp_path)

"""Batches: timm's own preprocessing, whatever the picture, and every image once per epoch."""

import dataclasses
import json
import threading

import numpy as np
import pytest
import torch
from light import imported_without
from pictures import ROWS, png, write_parquet
from PIL import Image
from records import assert_fixed
from timm.data import create_transform, resolve_data_config

from pclora_lab.data import images
from pclora_lab.data.images import ImageBatches, Preprocessing, build_processor
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import Split


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


GRAY = Preprocessing((1, 4, 4), (0.5,), (0.25,), "bilinear", 1.0)
COLOR = Preprocessing((3, 4, 4), (0.1, 0.5, 0.9), (0.5, 0.25, 1.0), "bilinear", 1.0)


def model(**pretrained_cfg: object) -> torch.nn.Module:
    made = torch.nn.Linear(1, 1)
    sizes = {"input_size": (3, 8, 6), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    made.pretrained_cfg = {**sizes, "interpolation": "bicubic", "crop_pct": 0.5, **pretrained_cfg}
    return made


def test_what_a_model_expects_is_read_from_it():
    found = Preprocessing.of(model(crop_mode="squash"))
    assert found == Preprocessing(
        (3, 8, 6), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", 0.5, "squash", None
    )
    assert Preprocessing.of(model()).crop_mode == "center"


def test_the_size_that_a_model_was_built_with_wins_and_one_that_is_asked_for_over_it():
    made = model()
    made.pclora_recipe = {"img_size": 12}
    assert Preprocessing.of(made).input_size == (3, 12, 12)
    assert Preprocessing.of(made, 16).input_size == (3, 16, 16)
    assert Preprocessing.of(model(), 16).input_size == (3, 16, 16)


@pytest.mark.parametrize("key", ["mean", "std"])
def test_one_value_stands_for_all_channels_and_any_other_number_is_refused(key):
    assert getattr(Preprocessing.of(model(**{key: (0.5,)})), key) == (0.5,)
    message = (
        f"^Linear takes pictures of 3 channels, but its configuration gives 2 values for {key}"
    )
    with pytest.raises(ValueError, match=message):
        Preprocessing.of(model(**{key: (0.5, 0.5)}))


def test_a_processor_is_kept_as_text_and_told_by_its_values():
    found = Preprocessing.of(model(processor={"size": 3, "do_resize": True}))
    assert found.processor == '{"do_resize": true, "size": 3}'
    assert found.facts()["processor"] == {"size": 3, "do_resize": True}
    assert COLOR.facts() == {**dataclasses.asdict(COLOR), "processor": None}


def test_everything_that_changes_the_pixels_changes_the_hash():
    changes = {"input_size": (3, 4, 5), "mean": (0.0,), "std": (1.0,), "interpolation": "bicubic",
               "crop_pct": 0.9, "crop_mode": "border", "processor": "{}"}  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(Preprocessing)}
    hashes = [dataclasses.replace(COLOR, **{key: value}).fingerprint() for key, value in
              changes.items()]  # fmt: skip
    assert len({COLOR.fingerprint(), *hashes}) == 1 + len(changes)
    assert dataclasses.replace(COLOR).fingerprint() == COLOR.fingerprint()


def test_bytes_are_scaled_and_normalized_by_channel():
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    found = COLOR.normalize(pixels)
    for channel in range(3):
        wanted = (pixels[:, channel] / 255 - COLOR.mean[channel]) / COLOR.std[channel]
        torch.testing.assert_close(found[:, channel], wanted)
    assert found.dtype is torch.float32 and pixels.dtype is torch.uint8


def test_what_was_first_normalized_without_gradients_can_still_be_trained_with():
    odd = dataclasses.replace(COLOR, mean=(0.123, 0.4, 0.5))
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with torch.inference_mode():
        odd.normalize(pixels)
    weight = torch.ones(3, 1, 1, requires_grad=True)
    (weight * odd.normalize(pixels)).sum().backward()
    assert weight.grad is not None


def gray(values: list[int], mode: str = "I;16") -> Image.Image:
    kind = {"I;16": np.uint16, "I": np.int32}[mode]
    return Image.fromarray(np.array(values * 4, dtype=kind).reshape(4, len(values)))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0, 65535, 32768, 256], [0, 255, 128, 1]),
        ([0, 255, 100, 7], [0, 255, 100, 7]),
        ([0, 256, 0, 0], [0, 1, 0, 0]),
    ],
)
@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_become_eight_by_their_share_of_the_whole(values, wanted, mode):
    found = GRAY.to_bytes()(gray(values, mode))
    assert found.dtype is torch.uint8 and found.shape == (1, 4, 4)
    assert found[0, 0].tolist() == wanted


def test_values_outside_of_sixteen_bits_are_cut_off():
    assert GRAY.to_bytes()(gray([-5, 70000, 65535, 0], "I"))[0, 0].tolist() == [0, 255, 255, 0]


@pytest.mark.parametrize(("preprocessing", "channels"), [(GRAY, 1), (COLOR, 3)])
def test_a_picture_has_the_models_channels(preprocessing, channels):
    colors = np.zeros((4, 4, 3), dtype=np.uint8)
    colors[..., 0] = 200
    found = preprocessing.to_bytes()(Image.fromarray(colors))
    assert found.shape == (channels, 4, 4)
    wanted = [200, 0, 0] if channels == 3 else [60]  # 0.299 · 200 is what red is in gray
    assert found[:, 0, 0].tolist() == wanted


class Processor:
    """Notes what mode of picture it is given; converts by itself or not."""

    def __init__(self, **values: object) -> None:
        vars(self).update(values)
        self.asked: list = []

    def __call__(self, image: Image.Image, **options: object) -> dict:
        self.asked.append((image.mode, options))
        return {"pixel_values": [torch.zeros(3, 4, 4, dtype=torch.uint8)]}


@pytest.mark.parametrize(
    ("preprocessing", "converts", "mode"),
    [(COLOR, True, "RGBA"), (COLOR, False, "RGB"), (COLOR, None, "RGB"), (GRAY, True, "L")],
)
def test_a_processor_that_converts_by_itself_gets_the_picture_as_it_is(
    monkeypatch, preprocessing, converts, mode
):
    processor = Processor(**({} if converts is None else {"do_convert_rgb": converts}))
    monkeypatch.setattr(images, "build_processor", lambda values: processor)
    made = dataclasses.replace(preprocessing, processor="{}")
    made.to_bytes()(Image.new("RGBA", (4, 4)))
    plain = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}
    assert processor.asked == [(mode, plain)]


@pytest.mark.parametrize("name", ["NoSuchProcessor", "", "os.system", "BertTokenizer", 5])
def test_a_processor_that_is_none_of_transformers_is_refused(name):
    with pytest.raises(ValueError, match=f"^the image processor '{name}' is unknown to this ver"):
        build_processor({"image_processor_type": name})
    with pytest.raises(ValueError, match="^the image processor '' is unknown"):
        build_processor({})


def test_a_processor_is_built_of_its_values_which_stay_as_they_are():
    values = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "size": {"height": 7, "width": 9},
    }
    before = json.dumps(values)
    made = build_processor(values)
    assert type(made).__name__.startswith("ViTImageProcessor") and made.do_resize is False
    assert (made.size["height"], made.size["width"]) == (7, 9) and json.dumps(values) == before


class Counted(list):
    """Pictures that note when and in which thread they are read."""

    def __init__(self, count: int) -> None:
        super().__init__(Image.new("L", (4, 4), number) for number in range(count))
        self.reads: list[int] = []
        self.threads: set[int] = set()

    def __getitem__(self, index):
        self.reads.append(int(index))
        self.threads.add(threading.get_ident())
        return super().__getitem__(index)


def counted(count: int) -> tuple[Counted, ImageBatches]:
    pictures = Counted(count)
    return pictures, GRAY.batches(Split(pictures, np.arange(count) % 3))


def test_each_picture_is_decoded_once_and_given_in_the_order_asked_for():
    pictures, made = counted(9)
    assert made.takes_work and len(made) == 9
    assert made.raw(torch.tensor([4, 2]))[:, 0, 0, 0].tolist() == [4, 2]
    assert made.raw(torch.tensor([2, 7, 4]))[:, 0, 0, 0].tolist() == [2, 7, 4]
    assert pictures.reads == [4, 2, 7]


def test_without_room_pictures_are_decoded_every_time(monkeypatch):
    monkeypatch.setattr(images, "make_store", lambda shape: None)
    pictures, made = counted(5)
    for _ in range(2):
        assert made.raw(torch.tensor([3, 1]))[:, 0, 0, 0].tolist() == [3, 1]
    assert pictures.reads == [3, 1, 3, 1]


def test_room_is_asked_for_all_pictures_in_the_models_size(monkeypatch):
    asked = []
    monkeypatch.setattr(images, "make_store", asked.append)
    counted(5)
    assert asked == [(5, 1, 4, 4)]


@pytest.mark.parametrize(("count", "is_threaded"), [(15, False), (16, True)])
def test_many_pictures_are_decoded_by_several_threads_in_their_order(count, is_threaded):
    pictures, made = counted(count)
    rows = torch.arange(count).flip(0)
    assert made.raw(rows)[:, 0, 0, 0].tolist() == rows.tolist()
    assert (threading.get_ident() not in pictures.threads) == is_threaded


def test_a_batch_that_was_begun_needs_no_decoding_any_more():
    pictures, made = counted(6)
    rows = torch.tensor([5, 0])
    rest = made.begun(rows)
    assert pictures.reads == [5, 0]
    inputs, labels = rest(None)
    assert pictures.reads == [5, 0] and labels.tolist() == [2, 0]
    torch.testing.assert_close(inputs, made.inputs(rows))
    torch.testing.assert_close(inputs[:, 0, 0, 0], (torch.tensor([5.0, 0.0]) / 255 - 0.5) / 0.25)
    here, numbers = rest("meta")
    assert here.is_meta and numbers.is_meta and made.inputs(rows, "meta").is_meta


def test_a_default_device_of_the_callers_is_not_that_of_the_pictures():
    with torch.device("meta"):
        _, made = counted(3)
        rows = torch.arange(3, device="cpu")
        assert made.raw(rows).is_cpu and made.labels.is_cpu and made.inputs(rows).is_cpu


def test_who_imports_the_pictures_pays_for_no_transformers():
    assert imported_without("pclora_lab.data.images", "transformers").ImageBatches


def test_what_a_model_expects_can_not_be_changed():
    assert_fixed(COLOR)


@pytest.mark.parametrize(("cores", "threads"), [(3, 3), (64, 8), (None, 1)])
def test_at_most_eight_threads_decode(monkeypatch, cores, threads):
    asked, own = [], images.ThreadPoolExecutor
    monkeypatch.setattr(images.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(
        images, "ThreadPoolExecutor", lambda count: asked.append(count) or own(count)
    )
    counted(16)[1].raw(torch.arange(16))
    assert asked == [threads]


def test_what_every_batch_is_normalized_by_is_made_once():
    here = torch.device("cpu")
    assert images._in_bytes((0.25, 0.5), here) is images._in_bytes((0.25, 0.5), here)
    assert images._in_bytes((0.25, 0.5), here).flatten().tolist() == [63.75, 127.5]

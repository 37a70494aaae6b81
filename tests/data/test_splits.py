"""A data set's hash changes with any bit of any example, and with nothing else."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pclora_lab import load_data
from pclora_lab.data.splits import LabeledData, Split, hash_of_texts

GENERATOR = np.random.default_rng(0)


def pictures(count=200):
    return [
        Image.fromarray(GENERATOR.integers(0, 255, (4, 4, 3), dtype=np.uint8)) for _ in range(count)
    ]


def labeled(examples, kind="image", **more):
    labels = np.arange(len(examples)) % 2
    part = Split(examples, labels)
    return LabeledData("some", kind, part, part, part, ("a", "b"), **more)


def flipped(image, bit):
    pixels = np.asarray(image).copy()
    pixels.flat[bit // 8] ^= 1 << bit % 8
    return Image.fromarray(pixels)


IMAGES = pictures()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("row", [0, 7, 123, 199])
def test_a_bit_of_one_picture_of_many_changes_it(split, row):
    data = labeled(IMAGES)
    changed = list(IMAGES)
    changed[row] = flipped(changed[row], 8 * 17 + 3)
    other = dataclasses.replace(data, **{split: Split(changed, data.train.labels)})
    assert other.fingerprint() != data.fingerprint() == labeled(list(IMAGES)).fingerprint()


def test_a_bit_of_one_picture_in_a_folder_changes_it_without_decoding(tmp_path, monkeypatch):
    for number, image in enumerate(IMAGES):
        place = tmp_path / "pictures" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number}.bmp")
    before = load_data(tmp_path / "pictures")
    first = before.fingerprint()
    path = tmp_path / "pictures" / "a" / "100.bmp"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded"))
    assert load_data(tmp_path / "pictures").fingerprint() != first
    content[-1] ^= 1
    path.write_bytes(content)
    assert load_data(tmp_path / "pictures").fingerprint() == first


@pytest.mark.parametrize("row", range(0, 60, 7))
@pytest.mark.parametrize("column", ["text", "label"])
def test_any_row_of_a_table_counts(row, column):
    def hashed(frame):
        return load_data(frame, max_overlap=1).fingerprint()

    frame = pd.DataFrame({"text": [f"text {n}" for n in range(60)], "label": list("ab") * 30})
    first = hashed(frame)
    frame.loc[row, column] = "b" if frame.loc[row, column] == "a" else frame.loc[row, column] + "x"
    assert hashed(frame) != first


def test_where_one_text_ends_and_the_next_begins_matters():
    first, second = [("ab", "c")] * 20, [("a", "bc")] * 20
    assert labeled(first, "text").fingerprint() != labeled(second, "text").fingerprint()
    texts, others = ["ab", "c"] * 10, ["a", "bc"] * 10
    assert labeled(texts, "text").fingerprint() != labeled(others, "text").fingerprint()
    assert hash_of_texts("ab", "") != hash_of_texts("", "ab")


def test_half_a_character_is_hashed_too():
    assert labeled(["a\ud800"] * 20, "text").fingerprint()


@pytest.mark.parametrize("change", ["mode", "size", "palette"])
def test_the_same_bytes_of_another_picture_are_another_picture(change):
    pixels = np.arange(64, dtype=np.uint8)
    image = Image.fromarray(pixels.reshape(8, 8))
    other = {
        "mode": Image.frombytes("P", (8, 8), pixels.tobytes()),
        "size": Image.fromarray(pixels.reshape(4, 16)),
        "palette": Image.frombytes("P", (8, 8), pixels.tobytes()),
    }[change]
    if change == "palette":
        image = other.copy()
        other.putpalette([7] * 768)
    assert labeled([image] * 20).fingerprint() != labeled([other] * 20).fingerprint()


def test_classes_count_and_names_of_files_do_not():
    data = labeled(IMAGES)
    assert dataclasses.replace(data, name="other").fingerprint() == data.fingerprint()
    assert dataclasses.replace(data, class_names=("a", "c")).fingerprint() != data.fingerprint()

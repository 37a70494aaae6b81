"""A data set's hash changes with any bit of any example, and with nothing else."""

import dataclasses
import hashlib
import struct

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pclora_lab import load_data
from pclora_lab.data.splits import LabeledData, Split, example_text, hash_of_texts, short_name

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


def test_moving_rows_from_one_split_to_another_or_changing_a_label_changes_the_hash():
    texts, labels = [f"text {n}" for n in range(30)], np.arange(30) % 2

    def made(first: int, second: int, labels: np.ndarray = labels, kind: str = "text") -> str:
        bounds = ((0, first), (first, second), (second, 30))
        parts = [Split(texts[a:b], labels[a:b]) for a, b in bounds]
        return LabeledData("some", kind, *parts, ("a", "b")).fingerprint()

    found = made(10, 20)
    assert len(found) == 16 and int(found, 16) >= 0
    assert found == made(10, 20, labels.astype(np.int32)), "however the numbers are stored"
    others = {made(11, 20), made(10, 21), made(10, 20, 1 - labels), made(10, 20, kind="image")}
    assert len(others | {found}) == 5


def test_the_data_are_read_once_for_their_hash():
    class Counted(list):
        reads = 0

        def __getitem__(self, index):
            Counted.reads += 1
            return super().__getitem__(index)

    data = labeled(Counted(["a", "b", "c"]), "text")
    assert data.fingerprint() == data.fingerprint() and Counted.reads == 9, "three splits of three"


@pytest.mark.parametrize(
    ("content", "kind", "things"),
    [((), "text", "texts"), (("text",), "text", "texts"), (("image",), "image", "images"),
     (("premise", "hypothesis"), "text", "pairs of texts")],
)  # fmt: skip
def test_data_are_told_in_a_line(content, kind, things):
    parts = [Split(["a"] * n, np.zeros(n)) for n in (1200, 30, 4)]
    data = LabeledData("/home/me/mail.csv", kind, *parts, ("ham", "spam"), content=content)
    assert data.is_paired == (len(content) == 2) and data.num_classes == 2
    assert data.summary() == (
        f"mail.csv: 1,200 / 30 / 4 {things} to train, validate and test on, 2 classes (ham, spam)"
    )
    assert (data.notes, data.account) == ((), None)


@pytest.mark.parametrize(("count", "end"), [(10, "c8, c9)"), (11, "c8, c9, …)")])
def test_of_many_classes_the_first_ten_are_told(count, end):
    part = Split(["a"], np.zeros(1))
    names = tuple(f"c{n}" for n in range(count))
    summary = LabeledData("some", "text", part, part, part, names).summary()
    assert summary.endswith(end) and f"{count} classes (c0, " in summary


@pytest.mark.parametrize(
    ("name", "short"),
    [("digits", "digits"), ("uoft-cs/cifar10", "uoft-cs/cifar10"), ("./some/mail.csv", "mail.csv"),
     ("~/mail.csv", "mail.csv"), ("a/b/c", "c"), ("/data/pets/", "pets"), (".", "."),
     ("local-dir:/data/pets", "pets"), ("local-dir:pets", "local-dir:pets")],
)  # fmt: skip
def test_a_path_on_somebodys_machine_is_told_by_its_last_part(name, short):
    assert short_name(name) == short


def test_a_text_is_told_in_one_line():
    assert example_text(" a\n\tb  c ") == "a b c"
    assert example_text(("a\nb", " c")) == "a b ⇢ c"


def test_a_split_and_its_data_can_not_be_changed():
    data = labeled(["a", "b"], "text")
    assert len(data.train) == 2
    for made, name in ((data, "name"), (data.train, "labels")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, None)


def test_a_part_of_a_pair_may_be_anything_and_its_place_counts():
    hashes = {
        labeled([pair] * 4, "text").fingerprint() for pair in (("a", ""), ("", "a"), (1, "a"))
    }
    assert len(hashes) == 3
    assert labeled([(1, "a")] * 4).fingerprint() == labeled([("1", "a")] * 4).fingerprint()


def counted(*parts: bytes) -> bytes:
    """Each with its length before it, in eight bytes, the lowest first."""
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def test_a_hash_that_was_kept_stays_what_it_is():
    """On any machine and in any version: teachers and starts are found again by it."""
    wanted = hashlib.sha256(counted("ä".encode(), b"", "\ud800".encode("utf8", "surrogatepass")))
    assert hash_of_texts("ä", "", "\ud800") == wanted.hexdigest()[:16]
    data = labeled(["one", ("two", "2")], "text")
    examples = (b"one", counted(b"two", b"2"))
    numbers = struct.pack("<qq", 0, 1)
    splits = [part for n in (b"train", b"validation", b"test") for part in (n, numbers, *examples)]
    wanted = hashlib.sha256(counted(b"text", b"a", b"b", *splits))
    assert data.fingerprint() == wanted.hexdigest()[:16]
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2))
    pictures = (b"L |u1 (2, 2) None" + bytes(range(4)),)
    splits = [
        part for n in (b"train", b"validation", b"test") for part in (n, numbers[:8], *pictures)
    ]
    wanted = hashlib.sha256(counted(b"image", b"a", b"b", *splits))
    assert labeled([image]).fingerprint() == wanted.hexdigest()[:16]

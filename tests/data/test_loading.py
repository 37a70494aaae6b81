"""Data by name: digits, parquet, image folders; bad data say which file, row or column."""

import io

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from pictures import ROWS, png, write_images, write_parquet
from PIL import Image

from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.loading import load_data


def change_row(row: int, value: object):
    return lambda column: [value if i == row else old for i, old in enumerate(column)]


def read_all(name: str) -> None:
    data = load_data(name)
    preprocessing = Preprocessing((3, 8, 8), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    for split in (data.train, data.validation, data.test):
        ImageBatches(split, preprocessing).batch(torch.arange(len(split)))


def rows_of(split) -> list[bytes]:
    return [np.asarray(split.examples[i]).tobytes() for i in range(len(split))]


def test_digits_come_in_three_balanced_splits_that_do_not_overlap():
    data = load_data("digits")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [1077, 360, 360]
    for split in (data.validation, data.test):
        assert np.bincount(split.labels).min() >= 34
    images = [set(rows_of(s)) for s in (data.train, data.validation, data.test)]
    assert sum(map(len, images)) == len(set.union(*images))
    assert data.train.examples[0].size == (8, 8) and data.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        ({"": 20}, (28, 4, 8)),
        ({"train": 20, "test": 10}, (36, 4, 20)),
        ({"train": 20, "validation": 10}, (36, 4, 20)),
        ({"train": 20, "validation": 5, "test": 10}, (40, 10, 20)),
    ],
    ids=["none", "train_test", "train_validation", "all"],
)
def test_an_image_folder_gives_the_splits_it_has_or_makes_them(tmp_path, splits, sizes):
    data = load_data(write_images(tmp_path / "images", splits))
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert data.class_names == ("cat", "dog")
    assert all(set(s.labels) == {0, 1} for s in (data.train, data.validation, data.test))


def test_no_example_is_in_two_splits_even_if_only_a_test_split_is_given(tmp_path):
    folder = write_parquet(tmp_path / "table")
    (tmp_path / "table" / "train.parquet").rename(tmp_path / "table" / "test.parquet")
    data = load_data(folder)
    parts = [set(rows_of(s)) for s in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == ROWS == len(set.union(*parts))


@pytest.mark.parametrize(
    ("labels", "names", "first"),
    [
        (lambda c: c, ("0", "1"), 0),
        (lambda c: [("dog", "cat")[i] for i in c], ("cat", "dog"), 1),
        (lambda c: [i + 9 for i in c], ("9", "10"), 0),
    ],
    ids=["numbers", "names", "larger_numbers"],
)
def test_classes_are_numbered_in_order(tmp_path, labels, names, first):
    data = load_data(write_parquet(tmp_path / "table", label=labels))
    assert data.class_names == names
    numbers = {}
    for split in (data.train, data.validation, data.test):
        numbers |= zip(rows_of(split), split.labels, strict=True)
    row_0 = np.asarray(Image.open(io.BytesIO(png(0)))).tobytes()
    assert len(numbers) == ROWS and numbers[row_0] == first


def test_columns_typed_by_datasets_are_found_whatever_their_names(tmp_path):
    features = {"photo_id": datasets.Value("int64"), "x": datasets.Image()}
    features["y"] = datasets.ClassLabel(names=["ham", "spam"])
    rows = {"photo_id": range(ROWS), "y": [i % 2 for i in range(ROWS)]}
    rows["x"] = [{"bytes": png(i), "path": None} for i in range(ROWS)]
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    table.to_parquet(tmp_path / "typed" / "train.parquet")
    data = load_data(str(tmp_path / "typed"))
    assert data.class_names == ("ham", "spam") and data.train.examples[0].size == (14, 10)


def test_columns_may_be_given(tmp_path):
    folder = write_parquet(tmp_path / "table")
    frame = pd.read_parquet(f"{folder}/train.parquet")
    frame.rename(columns={"img": "x", "label": "k"}).to_parquet(f"{folder}/train.parquet")
    with pytest.raises(ValueError, match="no image column found.*x, k; pass image_column"):
        load_data(folder)
    with pytest.raises(ValueError, match="no label column found.*x, k; pass label_column"):
        load_data(folder, image_column="x")
    assert load_data(folder, image_column="x", label_column="k").num_classes == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_column": "nope"}, "has no column 'nope': it has img, label"),
        ({"label_column": "nope"}, "has no column 'nope': it has img, label"),
        ({"image_column": "label"}, "'label'.*image"),
        ({"label_column": "img"}, "'img'.*label"),
    ],
)
def test_a_column_that_does_not_fit_is_named(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        load_data(write_parquet(tmp_path / "table"), **columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": lambda c: [1] * ROWS}, "has 1 class in column 'label'.*two or more"),
        ({"label": change_row(3, None)}, "label"),
        ({"img": change_row(7, {"bytes": b"junk", "path": None})}, "row 7, column 'img'"),
        ({"img": change_row(7, {"bytes": png(7)[:-60], "path": None})}, "row 7, column 'img'"),
        ({"img": change_row(7, None)}, "row 7, column 'img'"),
    ],
    ids="one_class no_label junk truncated no_image".split(),
)
def test_bad_rows_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_all(write_parquet(tmp_path / "table", **change))


def test_an_unreadable_file_in_an_image_folder_is_named(tmp_path):
    folder = write_images(tmp_path / "images", {"": 20})
    (tmp_path / "images" / "dog" / "3.png").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"row \d+, column 'image'.*3\.png.*repair the file"):
        read_all(folder)


@pytest.mark.parametrize(
    ("splits", "classes", "message"),
    [
        ({"": 20}, ("cat",), "two or more"),
        ({"": 3}, ("cat", "dog"), "fewer than 10 examples"),
    ],
)
def test_too_few_classes_or_images_are_refused(tmp_path, splits, classes, message):
    with pytest.raises(ValueError, match=message):
        load_data(write_images(tmp_path / "images", splits, classes))


def test_a_small_folder_of_several_classes_is_split_or_refused_in_plain_words(tmp_path):
    folder = write_images(tmp_path / "images", {"": 4}, ("ant", "bee", "cat"))
    try:
        data = load_data(folder)
    except ValueError as error:
        assert folder in str(error), "the message names the data"
    else:
        assert sum(len(s) for s in (data.train, data.validation, data.test)) == 12


def test_what_is_no_data_is_refused(tmp_path):
    for name in ("empty", "text", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "notes.xyz").write_text("x")
    (tmp_path / "broken" / "train.parquet").write_bytes(b"junk" * 99)
    expected = {
        "empty": "data folder .*empty' is empty: put parquet files or images",
        "text": "data .*text' can't be read",
        "broken": "data .*broken' can't be read",
        "missing": "unknown data .*missing': there is no such folder",
    }
    for name, message in expected.items():
        with pytest.raises(ValueError, match=message):
            load_data(str(tmp_path / name))


@pytest.mark.parametrize("name", ["no-such-data", "someone/no-such-data"])
def test_an_unreachable_hub_says_what_works_without_it(name):
    with pytest.raises(ConnectionError, match=f"{name}.*Offline, use digits or a folder"):
        load_data(name)


def test_the_fingerprint_is_stable_and_follows_labels_and_images(tmp_path):
    def fingerprint(name: str, **columns) -> str:
        return load_data(write_parquet(tmp_path / name, **columns)).fingerprint()

    first = fingerprint("first")
    assert fingerprint("same") == first
    labels = fingerprint("labels", label=lambda column: [1 - i for i in column])
    images = fingerprint("images", img=lambda column: column[::-1])
    assert len({first, labels, images}) == 3


def test_cifar_10_loads_from_its_parquet_files(shared_data, vit):
    data = load_data(str(shared_data / "cifar10"))
    assert [len(s) for s in (data.train, data.validation, data.test)] == [45_000, 5_000, 10_000]
    assert data.num_classes == 10 and "airplane" in data.class_names
    assert data.train.examples[0].size == (32, 32)
    images, _ = ImageBatches(data.test, Preprocessing.of(vit)).batch(torch.arange(4))
    assert images.shape == (4, 3, 16, 16)


@pytest.mark.parametrize("share", ["max_left_out", "max_overlap"])
@pytest.mark.parametrize("odd", [1.5, -0.1, float("nan"), "1%"])
def test_a_share_that_is_none_is_refused_by_name(share, odd):
    with pytest.raises(ValueError, match=share):
        load_data("digits", **{share: odd})

"""Images with masks: tables, two folders, scenes; what can't be a mask is refused by its reason."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.segmentation.loading import load_masked_data
from pclora_lab.data.segmentation.masks import MaskError, class_numbers
from pclora_lab.data.segmentation.scenes import digit_scenes

ROWS = 12


def image(row, size=(6, 4)):
    pixels = np.random.default_rng(row).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def mask(row, size=(6, 4)):
    classes = np.random.default_rng(row).integers(0, 3, (size[1], size[0]), dtype=np.uint8)
    classes[0, 0] = 255
    classes[0, 1] = 2
    return Image.fromarray(classes)


def stored(picture):
    if picture is None:
        return None
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def tables(name="annotation", **changed):
    """Three splits; ``changed`` are masks of training rows."""
    made = {}
    for number, split in enumerate(("train", "validation", "test")):
        rows = range(100 * number, 100 * number + ROWS)
        masks = [mask(row) for row in rows]
        if split == "train":
            for row, other in changed.items():
                masks[int(row[3:])] = other
        columns = {"image": [stored(image(row)) for row in rows], name: [*map(stored, masks)]}
        made[split] = pd.DataFrame(columns)
    return made


@pytest.mark.parametrize("name", ["annotation", "mask", "label"])
def test_a_table_with_a_column_of_masks_is_read(name):
    data = load_masked_data(tables(name))
    assert data.has_masks and data.class_names == ("0", "1", "2")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [ROWS] * 3
    assert np.array_equal(np.asarray(data.train.masks[3]), np.asarray(mask(3)))
    assert np.array_equal(np.asarray(data.train.examples[3]), np.asarray(image(3)))


def test_another_mask_is_another_data_set():
    before, again = (load_masked_data(tables()).fingerprint() for _ in range(2))
    other = load_masked_data(tables(row5=mask(77))).fingerprint()
    assert before == again != other


def test_missing_splits_are_divided_off_with_their_masks():
    table = pd.concat([*tables().values()] * 2, ignore_index=True)
    table["image"] = [stored(image(row)) for row in range(len(table))]
    table["annotation"] = [stored(mask(row)) for row in range(len(table))]
    data = load_masked_data(table)
    assert len(data.test) == 15 and len(data.train) + len(data.validation) + 15 == len(table)
    masks = {np.asarray(mask(row)).tobytes(): row for row in range(len(table))}
    for split in (data.train, data.validation, data.test):
        for picture, classes in zip(split.examples, split.masks, strict=True):
            row = masks[np.asarray(classes).tobytes()]
            assert np.array_equal(np.asarray(picture), np.asarray(image(row)))


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (mask(0, (4, 6)), "with a mask of another size than its image"),
        (Image.new("L", (6, 4), 255), "without a class (all pixels are 255)"),
        (Image.new("RGB", (6, 4), "red"), "with a mask in color (RGB)"),
        (Image.fromarray(np.full((4, 6), 300, dtype=np.uint16)), "numbers that are no classes"),
        (None, "without a mask in column 'annotation'"),
    ],
)
def test_a_row_that_is_none_is_left_out_and_counted(wrong, reason):
    with pytest.raises(DataError) as error:
        load_masked_data(tables(row4=wrong))
    assert reason in str(error.value) and "1 of 12 rows of train" in str(error.value)
    data = load_masked_data(tables(row4=wrong), max_left_out=0.1)
    assert len(data.train) == ROWS - 1 and reason in str(data.account)
    assert "row 4" in str(data.account)
    assert np.array_equal(np.asarray(data.train.masks[4]), np.asarray(mask(5)))


def test_a_damaged_picture_is_not_called_one_of_another_size():
    damaged = tables()
    damaged["train"].at[2, "image"] = {"bytes": b"no picture", "path": None}
    with pytest.raises(DataError, match="with a picture that can't be read"):
        load_masked_data(damaged)


def test_names_stand_in_a_file_and_a_class_beyond_them_is_left_out(tmp_path):
    for split, table in tables().items():
        table.to_parquet(tmp_path / f"{split}.parquet")
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    assert load_masked_data(str(tmp_path)).class_names == ("sky", "road", "car")
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError, match="with a class outside of the 2"):
        load_masked_data(str(tmp_path))


def test_a_class_that_training_masks_do_not_have_is_left_out():
    changed = tables()
    changed["test"].at[0, "annotation"] = stored(Image.new("L", (6, 4), 7))
    with pytest.raises(DataError, match=r"1 of 12 rows of test .* outside of the 3 \(0 to 2\)"):
        load_masked_data(changed)


@pytest.mark.parametrize("layout", ["{kind}/{split}", "{split}/{kind}", "{kind}"])
def test_two_folders_with_matching_names(tmp_path, layout):
    rows = range(30)
    for row in rows:
        split = ("train", "val", "test")[row % 3]
        for kind, picture, ending in (("images", image(row), "bmp"), ("masks", mask(row), "png")):
            folder = tmp_path / layout.format(kind=kind, split=split)
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{row}.{ending}")
    data = load_masked_data(str(tmp_path))
    assert "60 found, 60 used" in str(data.account) and "rows: 30 found, 30 used" in str(
        data.account
    )
    same = {np.asarray(image(row)).tobytes(): row for row in rows}
    for picture, classes in zip(data.test.examples, data.test.masks, strict=True):
        row = same[np.asarray(picture).tobytes()]
        assert np.array_equal(np.asarray(classes), np.asarray(mask(row)))
        assert layout == "{kind}" or row % 3 == 2
    with pytest.raises(DataError, match="no classes of images: set task to") as error:
        load_data(str(tmp_path))
    assert error.value.task == "semantic-segmentation"


def test_an_image_without_a_mask_and_a_mask_without_an_image_are_counted(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for row in range(40):
        if row != 7:
            mask(row).save(tmp_path / "masks" / f"{row}.png")
        if row != 8:
            image(row).save(tmp_path / "images" / f"{row}.png")
    with pytest.raises(DataError, match="without a mask in column 'mask'"):
        load_masked_data(str(tmp_path))
    account = str(load_masked_data(str(tmp_path), max_left_out=0.05).account)
    assert "a mask without its image" in account and "8.png" in account
    mask(1).save(tmp_path / "masks" / "1.bmp")
    with pytest.raises(DataError, match="two masks of one name"):
        load_masked_data(str(tmp_path))
    (tmp_path / "masks" / "1.bmp").unlink()
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_name(f"mask_of_{path.name}"))
    with pytest.raises(DataError, match="no mask has the name of an image"):
        load_masked_data(str(tmp_path))


def test_palette_numbers_are_classes_and_gray_in_rgb_is_gray():
    gray = mask(0)
    palette = gray.copy()
    palette.putpalette([value for number in range(256) for value in (number, 0, 255 - number)])
    assert palette.mode == "P"
    for other in (palette, gray.convert("RGB"), gray.convert("RGBA")):
        assert np.array_equal(class_numbers(other), np.asarray(gray))
    with pytest.raises(MaskError, match="in color"):
        class_numbers(palette.convert("RGB"))
    with pytest.raises(MaskError, match="in color"):
        class_numbers(Image.new("CMYK", (2, 2)))


def test_scenes_are_the_same_each_time_and_of_digits_that_are_new_in_each_split():
    scenes, again = digit_scenes(), digit_scenes()
    assert scenes.fingerprint() == again.fingerprint() != digit_scenes(1).fingerprint()
    assert scenes.class_names == ("background", *map(str, range(10)))
    for picture, classes in zip(scenes.test.examples, scenes.test.masks, strict=True):
        pixels, numbers = np.asarray(picture), np.asarray(classes)
        assert ((pixels > 0) == (numbers > 0)).all() and numbers.max() <= 10
    assert {int(c) for m in scenes.train.masks for c in np.unique(np.asarray(m))} == set(range(11))


def test_digits_of_a_scene_are_as_large_as_asked():
    small, large = (digit_scenes(sizes=(side, side)).test for side in (8, 20))
    ink = [np.mean([np.asarray(m) > 0 for m in part.masks]) for part in (small, large)]
    assert 0 < 2 * ink[0] < ink[1]
    for sizes in ((16, 10), (10, 33), (0, 4)):
        with pytest.raises(
            ValueError, match=rf"sizes are \({sizes[0]}, {sizes[1]}\): the smallest"
        ):
            digit_scenes(sizes=sizes)


def test_without_the_task_masks_are_refused_with_its_name():
    for data in (tables("label"), tables("annotation"), "digit_scenes"):
        with pytest.raises(DataError, match="semantic-segmentation") as error:
            load_data(data)
        assert error.value.task == "semantic-segmentation"
    with pytest.raises(DataError, match="no column of masks found"):
        load_masked_data({"train": pd.DataFrame({"image": [stored(image(0))], "x": [1]})})
    with pytest.raises(DataError, match="leave text_column"):
        load_masked_data("digit_scenes", text_column="x")

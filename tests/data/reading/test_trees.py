"""Folders name splits and classes; a file's own name names nothing, and no picture vanishes."""

from pathlib import Path

import pytest
from pictures import png
from PIL import Image

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading.trees import read_tree, split_named
from pclora_lab.data.reading.walking import is_picture


def write(root: Path, **counts: int) -> str:
    """Pictures that all differ, ``count`` of them in every folder; ``__`` stands for ``/``."""
    number = 0
    for folder, count in counts.items():
        place = root / folder.replace("__", "/")
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            number += 1
            (place / f"{place.name}_test_{i}.png").write_bytes(png(number, size=(4, 4)))
    return str(root)


def sizes(data) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


@pytest.mark.parametrize(
    ("folders", "classes", "expected"),
    [
        ({"cat": 30, "dog": 30}, ("cat", "dog"), (43, 5, 12)),
        ({"Train__cat": 30, "Train__dog": 30, "Test__cat": 10, "Test__dog": 10},
         ("cat", "dog"), (54, 6, 20)),
        ({"seg_train__seg_train__cat": 30, "seg_train__seg_train__dog": 30,
          "seg_test__seg_test__cat": 10, "seg_test__seg_test__dog": 10},
         ("cat", "dog"), (54, 6, 20)),
        ({"cat__train": 30, "cat__val": 10, "cat__test": 10, "dog__train": 30, "dog__val": 10,
          "dog__test": 10}, ("cat", "dog"), (60, 20, 20)),
        ({"car": 30, "train": 30, "bus": 30}, ("bus", "car", "train"), (64, 8, 18)),
        ({"train__train": 30, "train__car": 30, "test__train": 10, "test__car": 10},
         ("car", "train"), (54, 6, 20)),
        ({"data__images__cat": 30, "data__images__dog": 30}, ("cat", "dog"), (43, 5, 12)),
        ({"left__ok": 15, "right__ok": 15, "left__bad": 15, "right__bad": 15},
         ("bad", "ok"), (43, 5, 12)),
    ],
    ids="plain capitals kaggle class_first class_train both deep two_levels".split(),
)  # fmt: skip
def test_folders_name_splits_and_classes(tmp_path, folders, classes, expected):
    data = load_data(write(tmp_path / "pictures", **folders))
    assert data.class_names == classes and sizes(data) == expected
    assert data.account.rows.found == data.account.rows.used == sum(folders.values())


def test_a_third_folder_beside_the_splits_does_not_vanish(tmp_path):
    folders = {
        "train__cat": 60,
        "train__dog": 60,
        "test__cat": 20,
        "test__dog": 20,
        "holdout__cat": 9,
    }
    path = write(tmp_path / "pictures", **folders)
    with pytest.raises(DataError, match="9 of 169 rows.*folder 'holdout'.*max_left_out=0.06"):
        load_data(path)
    data = load_data(path, max_left_out=0.06)
    assert data.account.rows.found == 169 and data.account.rows.used == 160
    assert data.account.files.lost == 9


@pytest.mark.parametrize("suffix", [".heic", ".HEIC", ".svg", ".jxl", ".cr2"])
def test_pictures_that_no_one_can_read_are_counted(tmp_path, suffix):
    path = write(tmp_path / "pictures", cat=100, dog=100)
    for i in range(2):
        (tmp_path / "pictures" / "cat" / f"{i}{suffix}").write_bytes(b"x")
    data = load_data(path)
    assert (data.account.rows.found, data.account.rows.used) == (202, 200)
    assert "2 of a kind that can't be read here" in str(data.account)
    (tmp_path / "pictures" / "dog" / f"9{suffix}").write_bytes(b"x")
    with pytest.raises(DataError, match="3 of 203 rows.*save as PNG"):
        load_data(path)


def test_whatever_else_lies_about_is_a_file_left_out(tmp_path):
    path = write(tmp_path / "pictures", cat=100, dog=100)
    (tmp_path / "pictures" / "README.md").write_text("hello")
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("hello")
    (tmp_path / "pictures" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "pictures" / "cat" / ".DS_Store").write_text("hidden")
    account = load_data(path).account
    assert (account.files.found, account.files.used, account.rows.used) == (203, 200, 200)
    assert all(reason in str(account) for reason in ("README.md", "notes.txt", "gone.png"))


def test_a_picture_needs_no_ending_and_an_empty_one_is_counted(tmp_path):
    path = write(tmp_path / "pictures", cat=100, dog=100)
    (tmp_path / "pictures" / "cat" / "without").write_bytes(png(9999))
    (tmp_path / "pictures" / "cat" / "empty.png").write_bytes(b"")
    account = load_data(path).account
    assert (account.rows.found, account.rows.used) == (202, 201) and "empty.png" in str(account)


def test_folders_that_are_linked_are_read_and_circles_end(tmp_path):
    write(tmp_path / "elsewhere", cat=30)
    path = write(tmp_path / "pictures", dog=30)
    (tmp_path / "pictures" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "pictures" / "dog" / "again").symlink_to(tmp_path / "pictures")
    assert load_data(path).account.rows.used == 60


def test_splits_without_classes_are_named(tmp_path):
    told = "folders test, train .*nothing names the classes.* such as test/cat$"
    with pytest.raises(DataError, match=told):
        load_data(write(tmp_path / "pictures", train=20, test=20))


def test_a_test_split_without_classes_is_said(tmp_path):
    data = load_data(write(tmp_path / "pictures", train__cat=30, train__dog=30, test=10))
    assert data.account.rows.lost == 10 and "the split test has no labels" in " ".join(data.notes)


def test_spellings_of_one_class_are_joined_and_letters_are_not(tmp_path):
    data = load_data(write(tmp_path / "pictures", Cat=30, cat=10, dog=30))
    assert data.class_names == ("Cat", "dog") and "10 'cat' counted as 'Cat'" in data.notes
    letters = load_data(write(tmp_path / "letters", A=20, a=20))
    assert letters.class_names == ("A", "a")


@pytest.mark.parametrize("name", ["pictures [v2]", "Bilder Ä é", "a*b?", "~", "two words", "x::y"])
def test_any_name_of_a_folder_will_do(tmp_path, name):
    data = load_data(write(tmp_path / name / "inner", cat=20, dog=20))
    assert data.account.rows.used == 40 and data.train.examples[0].size == (4, 4)


def test_texts_in_folders_are_read_as_pictures_are(tmp_path):
    for split, label in (("train", "pos"), ("train", "neg"), ("test", "pos"), ("test", "neg")):
        place = tmp_path / "aclImdb" / split / label
        place.mkdir(parents=True)
        for i in range(20):
            (place / f"{i}_test.txt").write_text(f"{split} {label} {i} ü", encoding="utf8")
    data = load_data(str(tmp_path / "aclImdb"))
    assert (data.kind, data.class_names) == ("text", ("neg", "pos"))
    assert {text.split()[0] for text in data.test.examples} == {"test"} and len(data.test) == 40
    assert data.account.files.used == data.account.rows.used == 80


def test_a_picture_beside_the_folders_of_the_classes_changes_no_class(tmp_path):
    place = write(tmp_path / "own", pictures=1, pictures__cat=30, pictures__dog=30)
    data = load_data(place, max_left_out=0.05)
    assert data.class_names == ("cat", "dog")
    assert (data.account.rows.found, data.account.rows.used) == (61, 60)


def test_a_picture_is_known_by_its_content_whatever_its_ending(tmp_path):
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        path = tmp_path / f"{kind.lower()}.dat"
        Image.new("RGB", (9, 9), (200, 10, 10)).save(path, kind)
        assert is_picture(path), kind
    for name, content in (("a.png", b"RIFF....WAVEfmt "), ("b.webp", b"RIFF"), ("c.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        assert not is_picture(tmp_path / name)


WORDS = {
    "train": "train training Train my-train train2 seg_train cat_training",
    "validation": "validation valid val dev VAL val2017 my.dev",
    "test": "test testing eval evaluation Test test_b seg-eval",
    None: "contest trained values device cat tests trainer 12",
}


@pytest.mark.parametrize(("split", "name"), [(s, n) for s, ns in WORDS.items() for n in ns.split()])
def test_a_name_speaks_of_a_split_by_a_whole_word(split, name):
    assert split_named(name) == split


def test_the_last_word_of_a_name_decides():
    assert split_named("train_test") == "test" and split_named("test/train") == "train"


TREES = [
    ("classes", "cat/1 dog/2", "train:cat train:dog", ()),
    ("inside_others", "a/b/cat/1 a/b/dog/2", "train:cat train:dog", ()),
    ("splits_above", "train/cat/1 test/dog/2 val/cat/3", "train:cat test:dog validation:cat", ()),
    ("splits_below", "cat/train/1 cat/test/2 dog/train/3", "train:cat test:cat train:dog", ()),
    ("split_inside_one", "x/train/cat/1 x/test/dog/2", "train:cat test:dog", ()),
    ("deeper", "train/pets/cat/1 train/pets/dog/2 test/pets/cat/3",
     "train:cat train:dog test:cat", ()),
    ("classes_called_so", "train/1 car/2", "train:train train:car", ()),
    ("spellings", "Dog/1 dog/2 Dog/3 cat/4", "train:Dog train:Dog train:Dog train:cat",
     ("1 'dog' counted as 'Dog'", )),
    ("parts", "train/cat/1 training/dog/2 test/cat/3", "train:cat train:dog test:cat",
     ("the folders train, training together are the split train",)),
    ("places", "a/cat/1 b/cat/2 b/dog/3", "train:cat train:cat train:dog",
     ("2 folders named 'cat' are one class",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "found", "notes"), [t[1:] for t in TREES], ids=[t[0] for t in TREES]
)
def test_folders_say_split_and_class(paths, found, notes):
    reading = read_tree([Path(path) for path in paths.split()], "mine")
    assert " ".join(f"{leaf.split}:{leaf.label}" for leaf in reading.leaves) == found
    assert [str(leaf.path) for leaf in reading.leaves] == paths.split()
    assert reading.notes == notes and not reading.homeless and not reading.astray


def test_files_that_no_folder_names_are_told_by_their_split_or_place():
    reading = read_tree([Path(p) for p in ("train/cat/1", "train/2", "more/dog/4")], "mine")
    assert [str(leaf.path) for leaf in reading.leaves] == ["train/cat/1"]
    assert reading.homeless == {"train": [Path("train/2")]}
    assert reading.astray == {"more": [Path("more/dog/4")]}
    reading = read_tree([Path(p) for p in ("train/cat/1", "test/dog/3", "test/2", "train/5")], "m")
    assert {s: [*map(str, ps)] for s, ps in reading.homeless.items()} == {
        "test": ["test/2"], "train": ["train/5"],
    }  # fmt: skip
    reading = read_tree([Path(p) for p in ("cat/1", "dog/2", "3")], "m")
    assert {s: [*map(str, ps)] for s, ps in reading.homeless.items()} == {"train": ["3"]}
    assert read_tree([], "m").leaves == []

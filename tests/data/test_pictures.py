"""Pictures of a table: decoded when they are asked for, compared as they are stored."""

import datasets
import numpy as np
import pytest
from pictures import png

from pclora_lab.data.account import DataError
from pclora_lab.data.pictures import DecodedImages


@pytest.fixture
def pictures(tmp_path):
    """Bytes, a file, neither, a file that is gone, and bytes that are no picture."""
    (tmp_path / "one.png").write_bytes(png(1, size=(4, 6)))
    stored = [
        {"bytes": png(0, size=(4, 6)), "path": "any.png"},
        {"bytes": None, "path": str(tmp_path / "one.png")},
        {"bytes": None, "path": None},
        {"bytes": None, "path": str(tmp_path / "gone.png")},
        {"bytes": b"no picture", "path": None},
    ]
    table = datasets.Dataset.from_dict({"image": stored})
    return DecodedImages(table.cast_column("image", datasets.Image()), "image")


def test_lengths_and_contents_are_those_of_the_files(pictures):
    contents = [png(0, size=(4, 6)), png(1, size=(4, 6)), b"", b"", b"no picture"]
    assert [pictures.content(i) for i in range(5)] == contents
    known = [len(contents[0]), len(contents[1]), -1, -1, 10]
    assert pictures.lengths().tolist() == known and len(pictures) == 5
    assert pictures[np.int64(0)].size == pictures[1].size == (4, 6)


def test_some_of_them_keep_their_order_and_their_rows(pictures):
    some = pictures.take(np.array([4, 1, 0]))
    assert len(some) == 3 and some.content(0) == b"no picture" and some[1].size == (4, 6)
    assert some.lengths().tolist() == pictures.lengths()[[4, 1, 0]].tolist()
    last = some[1:]
    assert isinstance(last, DecodedImages) and len(last) == 2
    assert last.content(0) == pictures.content(1) and last[1].size == (4, 6)
    assert some[-1].size == (4, 6)
    none = pictures.take(np.array([], dtype=int))
    assert len(none) == 0 and none.lengths().tolist() == [] and list(none) == []


@pytest.mark.parametrize(("row", "reason"), [(2, "both are None"), (3, "gone.png"), (4, "")])
def test_a_picture_that_can_not_be_read_is_named_by_its_row_in_the_table(pictures, row, reason):
    told = rf"^row {row}, column 'image': the image can't be read \(.*{reason}.*Remove the row"
    for asked in (pictures, pictures.take(np.array([row, 0]))):
        with pytest.raises(DataError, match=told):
            asked[row if asked is pictures else 0]

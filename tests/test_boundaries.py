"""Errors of other libraries end at a boundary of ours: each is made for real, ours is seen."""

import io
import json
import shutil
import struct
import zlib

import datasets
import pandas as pd
import pytest
import timm
from pictures import png
from safetensors.torch import save_file

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.pictures import DecodedImages
from pclora_lab.export.onnx import open_onnx
from pclora_lab.files import data_dir
from pclora_lab.json_files import parse_json
from pclora_lab.models.loading import load_model
from pclora_lab.tensor_files import DamagedFile, load_tensors
from pclora_lab.training.masked_lm import learn_vocabulary


@pytest.fixture
def bert(tmp_path):
    shutil.copytree(data_dir("bert_glosses"), tmp_path / "bert")
    return tmp_path / "bert"


def edited(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_safetensors(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
    with pytest.raises(DamagedFile, match=r"a\.safetensors is damaged or cut short"):
        load_tensors(tmp_path / "a.safetensors", remark=False)


@pytest.mark.parametrize(
    "values", [{"num_attention_heads": 0}, {"hidden_act": "odd"}, {"hidden_size": "wide"},
               {"id2label": [1]}, {"model_type": "none"}, {"architectures": 3}],
    ids=str,
)  # fmt: skip
def test_transformers(bert, values):
    edited(bert / "config.json", **values)
    with pytest.raises(ValueError, match="bert"):
        load_model(str(bert))


@pytest.mark.parametrize("content", [b"{}", b'{"model": {"type": "odd"}}', b"[" * 10**5, b"\xff"])
def test_tokenizers(bert, content):
    (bert / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json can't be read"):
        load_model(str(bert))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["a"], -1, 12), "size is -1"),
        ((["a"], 10**30, 12), "size is 1000"),
        (([1], 9, 12), "text"),
    ],
)
def test_tokenizers_that_learn(arguments, said):
    with pytest.raises(ValueError, match=said):
        learn_vocabulary(*arguments)


@pytest.mark.parametrize(
    "options", [{"num_heads": 0}, {"num_heads": 7}, {"patch_size": 0},
                {"norm_layer": "odd"}, {"depth": "deep"}, {"odd": 1}],
    ids=str,
)  # fmt: skip
def test_timm(tmp_path, options):
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 3, "pretrained_cfg": {},
              "model_args": {"img_size": 32, "depth": 1, **options}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="can't be built|size"):
        load_model(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({**config, "architecture": [1]}))
    with pytest.raises(ValueError, match="names no architecture"):
        load_model(f"local-dir:{tmp_path}")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))


@pytest.mark.parametrize("content", [BOMB, png(1)[:60], b"GIF89a", b"", b"no picture"])
def test_pillow(content):
    rows = [{"bytes": png(i), "path": None} for i in range(40)]
    rows[7] = {"bytes": content, "path": None}
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    table = datasets.Dataset.from_dict({"image": rows, "label": [0, 1] * 20}, features)
    images = DecodedImages(table, "image")
    assert images[6].size == (14, 10)
    with pytest.raises(DataError, match="row 7, column 'image': the image can't be read"):
        images[7]


@pytest.mark.parametrize("places", [[5], [-9], [-20, -21], range(40, 90)], ids=str)
def test_pyarrow(tmp_path, places):
    file = io.BytesIO()
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(60)], "label": [0, 1] * 30})
    frame.to_parquet(file)
    content = bytearray(file.getvalue())
    for place in places:
        content[place] ^= 0xFF
    (tmp_path / "a.parquet").write_bytes(content[: None if places == [5] else -1])
    with pytest.raises(DataError, match=r"a\.parquet"):
        if load_data(str(tmp_path / "a.parquet")).account.rows.used == 60:
            raise DataError("a.parquet holds all its rows, whatever was flipped")


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("state.json", {"_data_files": None}),
        ("state.json", {"_data_files": []}),
        ("state.json", {"_split": True}),
        ("dataset_info.json", {"features": [1]}),
        ("dataset_info.json", {"features": {"text": {"_type": "Odd"}}}),
    ],
    ids=str,
)
def test_datasets(tmp_path, file, values):
    table = datasets.Dataset.from_dict({"text": ["a"] * 40, "label": [0, 1] * 20})
    table.save_to_disk(tmp_path / "saved")
    edited(tmp_path / "saved" / file, **values)
    with pytest.raises(DataError, match="can't be read"):
        load_data(str(tmp_path / "saved"))
    (tmp_path / "saved" / file).write_bytes(b"[" * 10**5)
    with pytest.raises(DataError, match="can't be read"):
        load_data(str(tmp_path / "saved"))


def test_onnxruntime(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"a\.onnx is no graph that onnxruntime can run"):
        open_onnx(tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError, match="there is no graph"):
        open_onnx(tmp_path / "b.onnx")


@pytest.mark.parametrize("text", ["[" * 10**5, "{", "nul", b"\xff"])
def test_json(text):
    with pytest.raises(ValueError, match=r"a file can't be read"):
        parse_json(text, "a file")


@pytest.mark.parametrize(
    "sizes", [{"img_size": 0}, {"img_size": 10**30}, {"num_classes": 10**30}], ids=str
)
def test_torch(sizes):
    with pytest.raises(ValueError, match="deit_tiny|num_classes|positive image size"):
        load_model("deit_tiny_patch16_224", pretrained=False, **sizes)

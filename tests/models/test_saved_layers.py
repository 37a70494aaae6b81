"""What a saved model's config.json may say: every bound, and who sees a folder that is not ours."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pclora_lab.models import saved_layers
from pclora_lab.models.saved_layers import (
    check_config,
    check_saved,
    check_sizes,
    describe_layers,
    empty_layers,
    refuse_low_rank,
    refuse_too_large,
    shapes_in,
    weight_files,
)
from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.split_qkv import SplitLinear
from pclora_lab.nn.surgery import replace_modules

LARGEST = {
    "num_hidden_layers": 512, "depth": 512, "blocks": 512, "n_layer": 512,
    "vocab_size_per_layer_input": 2**63 - 1, "max_position_embeddings": 2**31,
    "hidden_size": 2**22, "image_sizes": 2**22, "embed_dim": 2**22, "head_dims": 2**22,
    "n_embd": 2**22, "num_embeddings": 2**22, "token_size": 2**22, "n_positions": 2**31,
    "num_heads": 2**22, "n_head": 2**22, "d_model": 2**22, "seed": 2**63 - 1,
}  # fmt: skip


@pytest.mark.parametrize(("name", "largest"), LARGEST.items())
def test_a_number_of_a_foreign_configuration_has_the_bound_of_its_kind(name, largest):
    check_config({name: largest, "inner": {name: [largest]}}, "config.json")
    with pytest.raises(ValueError, match=f"config.json: {name} is .*{largest:,}"):
        check_config({name: largest + 1}, "config.json")


SAVED = {"model": None, "ranks": {}}


def recipe(**values):
    return {**SAVED, "model": values}


# The largest that is taken, and what is refused with the place that is named.
BOUNDS = [
    ({**SAVED, "ranks": {"fc": 2**16}}, {**SAVED, "ranks": {"fc": 2**16 + 1}}, "ranks.fc"),
    ({**SAVED, "ranks": {"fc": 1}}, {**SAVED, "ranks": {"fc": 0}}, "ranks.fc"),
    (recipe(num_classes=2**20), recipe(num_classes=2**20 + 1), "model.num_classes"),
    (recipe(num_classes=0), recipe(num_classes=-1), "model.num_classes"),
    (recipe(num_classes=None), recipe(num_classes="3"), "model.num_classes"),
    (recipe(width=2**16), recipe(width=2**16 + 1), "model.width"),
    (recipe(width=1), recipe(width=0), "model.width"),
    (recipe(tokens=2**22), recipe(tokens=2**22 + 1), "model.tokens"),
    (recipe(tokens=None), recipe(tokens=0), "model.tokens"),
    (recipe(img_size=[2**22, 1]), recipe(img_size=[0, 1]), "model.img_size"),
    (recipe(img_size=1), recipe(img_size=2**22 + 1), "model.img_size"),
    (recipe(split_qkv=False), recipe(split_qkv=0), "model.split_qkv"),
    (recipe(token_types=True), recipe(token_types="no"), "model.token_types"),
    (recipe(options={"depth": 512}), recipe(options={"depth": 513}), "model.options.depth"),
    (recipe(config={"seed": 2**63 - 1}), recipe(config={"seed": 2**63}), "model.config.seed"),
    (recipe(preprocessing={"input_size": [3, 2**22]}),
     recipe(preprocessing={"input_size": [3, 0]}), r"model.preprocessing.input_size\[1\]"),
    (recipe(preprocessing={"mean": [-0.5]}), recipe(preprocessing={"mean": ["a"]}), "mean"),
    ({**SAVED, "without_bias": ["fc"]}, {**SAVED, "without_bias": None}, "without_bias"),
    ({**SAVED, "split_layers": []}, {**SAVED, "split_layers": [1]}, r"split_layers\[0\]"),
    ({**SAVED, "method": None}, {**SAVED, "method": {"name": 1}}, "method.name"),
    ({**SAVED, "pela": {"rank": 4}}, {**SAVED, "pela": {"depth": 513}}, "pela.depth"),
    ({**SAVED, "class_names": None}, {**SAVED, "class_names": [1]}, "class_names"),
    ({**SAVED, "tensors": None}, {**SAVED, "tensors": {"a": 1}}, "tensors.a"),
    ({**SAVED, "dtypes": {"a": "float16"}}, {**SAVED, "dtypes": None}, "dtypes"),
    ({**SAVED, "architectures": None}, {**SAVED, "architectures": "Bert"}, "architectures"),
    ({**SAVED, "checksums": None}, {**SAVED, "checksums": {"a": None}}, "checksums.a"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "place"), BOUNDS, ids=[row[2] for row in BOUNDS])
def test_a_saved_configuration_says_what_its_fields_can_have(good, bad, place):
    check_saved(good, "a.json")
    with pytest.raises(ValueError, match=f"a.json: .*{place}.* it must be"):
        check_saved(bad, "a.json")


def test_what_is_as_large_as_the_memory_still_fits(monkeypatch):
    described = nn.Linear(1000, 250_000, bias=False, device="meta")  # of one gigabyte
    for total, fits in ((10**9, True), (10**9 - 1, False)):
        memory = saved_layers.psutil.virtual_memory()._replace(total=total)
        monkeypatch.setattr(saved_layers.psutil, "virtual_memory", lambda memory=memory: memory)
        if fits:
            refuse_too_large(described, (), "a model")
            continue
        with pytest.raises(ValueError, match="'a model' takes 1 GB in .* machine has 1 GB: take"):
            refuse_too_large(described, (), "a model")


def test_a_new_head_and_buffers_have_64_million_numbers_of_room():
    assert saved_layers._SLACK == 2**26


def dense() -> nn.Module:
    net = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 9), nn.Linear(9, 4, bias=False))
    net.qkv = SplitLinear(torch.zeros(9, 3), torch.zeros(9))
    return net


def low_rank() -> nn.Module:
    layers = {
        "0": LowRankEmbedding(7, 6, 2),
        "1": LowRankLinear(6, 9, 3),
        "2": LowRankLinear(9, 4, 1, bias=False),
        "qkv.k": LowRankLinear(3, 3, 1),
    }
    return replace_modules(dense(), layers)


def test_what_is_written_of_layers_builds_them_again():
    small = low_rank()
    small.pclora_class_names = ("a", "b")
    told = describe_layers(small)
    assert told["ranks"] == {"0": 2, "1": 3, "2": 1, "qkv.k": 1} and told["version"] == 3
    assert told["without_bias"] == ["2"] and told["split_layers"] == ["qkv"]
    assert told["class_names"] == ["a", "b"] and told["method"] is told["pela"] is None
    again = dense()
    for dtype in (torch.float32, torch.float16):
        made = empty_layers(again, told, "a folder", dtype)
        assert {p.dtype for layer in made.values() for p in layer.parameters()} == {dtype}
    made = replace_modules(again, empty_layers(again, told, "a folder"))
    shapes = {name: (t.shape, t.dtype) for name, t in small.state_dict().items()}
    assert {name: (t.shape, t.dtype) for name, t in made.state_dict().items()} == shapes
    assert describe_layers(nn.Linear(2, 2))["class_names"] is None
    assert "split_layers" not in describe_layers(nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["3", "1.weight", "qkv"])
def test_a_layer_that_is_none_is_named(name):
    with pytest.raises(ValueError, match=f"a folder names layer '{name}', which the arch"):
        empty_layers(dense(), {"ranks": {name: 1}}, "a folder")


def write(folder, name="model.safetensors", **tensors):
    save_file(tensors, folder / name)
    return [folder / name]


def test_shapes_are_read_as_people_write_them(tmp_path):
    files = write(tmp_path, a=torch.zeros(2, 3), b=torch.zeros(4), c=torch.tensor(1.0))
    assert shapes_in(files) == {"a": "2x3", "b": "4", "c": "scalar"}
    assert shapes_in(()) == {}


def test_one_file_comes_before_shards_and_shards_in_order(tmp_path):
    assert weight_files(tmp_path) == []
    names = [f"model-0000{n}-of-00002.safetensors" for n in (2, 1)]
    for name in (*names, "adapter.safetensors"):
        write(tmp_path, name, a=torch.zeros(1))
    assert weight_files(tmp_path) == [tmp_path / name for name in sorted(names)]
    (whole,) = write(tmp_path, a=torch.zeros(1))
    assert weight_files(tmp_path) == [whole]


def test_a_shape_that_is_another_is_named_before_anything_is_built(tmp_path):
    net = nn.BatchNorm1d(3, device="meta")
    good = {"weight": torch.zeros(3), "num_batches_tracked": torch.tensor(0)}
    check_sizes(net, write(tmp_path, **good), tmp_path)  # what is missing is told elsewhere
    for name, value, told in (
        ("weight", torch.zeros(4), "weight is 4 and should be 3"),
        ("num_batches_tracked", torch.zeros(1), "num_batches_tracked is 1 and should be scalar"),
    ):
        with pytest.raises(ValueError, match=told):
            check_sizes(net, write(tmp_path, **{**good, name: value}), tmp_path)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["fc.down.weight", "fc.up.weight"], "fc"),
        (["a.down.weight", "fc.down.weight", "fc.up.weight"], "fc"),
        (["mlp.down.weight", "mlp.gate.weight"], None),
        (["fc.down.bias", "fc.up.weight"], None),
    ],
)
def test_only_two_halves_of_one_layer_are_low_rank(tmp_path, names, first):
    write(tmp_path, **{name: torch.zeros(2, 2) for name in names})
    if first is None:
        refuse_low_rank(tmp_path)
        return
    with pytest.raises(ValueError, match=f"has a low-rank layer, {first}, that its config"):
        refuse_low_rank(tmp_path)

"""Saved and loaded again: the same logits, no pickle, and nothing read that does not fit."""

import json
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.models.loading import load_model
from pclora_lab.models.saved_layers import check_tensors, shapes_in
from pclora_lab.models.serialization import (
    from_pretrained,
    has_recipe,
    is_compressed,
    load_compressed,
    save_compressed,
    save_pretrained,
)


@pytest.fixture(scope="module")
def faded(train_adapters):
    """Compresses a model after its adapters have left their start."""

    def fade(model: nn.Module, example: torch.Tensor | None = None, **options) -> nn.Module:
        config = PCLoRAConfig(**{"rank": 3, **options})
        student = train_adapters(get_pclora_model(model, config, example=example))
        set_progress(student, 1.0)
        return compress(student)

    return fade


@pytest.fixture
def digits_folder(faded, tmp_path):
    """The compressed embedded model, saved."""
    return save_compressed(faded(load_model("vit_digits")), tmp_path / "small")


def largest_gap(first: nn.Module, second: nn.Module, *shape: int) -> float:
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (first(x) - second(x)).abs().max().item()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"name": "vit_digits"}, (1, 8, 8)),
        ({"name": "vit_digits", "num_classes": 3}, (1, 8, 8)),
        (
            {
                "name": "deit_tiny_patch16_224",
                "num_classes": 4,
                "img_size": 32,
                "pretrained": False,
            },
            (3, 32, 32),
        ),
    ],
    ids=["embedded", "new_head", "timm_smaller"],
)
def test_a_model_loaded_by_name_comes_back_with_the_same_logits(faded, tmp_path, options, shape):
    small = faded(load_model(**options))
    loaded = load_compressed(save_compressed(small, tmp_path / "small"))
    assert largest_gap(loaded, small, *shape) == 0
    assert not loaded.training
    again = load_compressed(save_compressed(loaded, tmp_path / "again"))
    assert largest_gap(again, small, *shape) == 0


def test_a_model_passed_by_hand_comes_back_with_the_same_logits(faded, vit, tmp_path):
    small = faded(vit.train(), rank="30%")
    folder = save_compressed(small, tmp_path / "small")
    before = {name: t.clone() for name, t in vit.state_dict().items()}
    loaded = load_compressed(folder, vit)
    assert largest_gap(loaded, small, 3, 16, 16) == 0 and not loaded.training
    assert all(torch.equal(t, before[name]) for name, t in vit.state_dict().items())
    with pytest.raises(ValueError, match="no recipe for its architecture.*pass model="):
        load_compressed(folder)


def test_tied_weights_are_saved_and_stay_tied(faded, tmp_path):
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    net[2].weight = net[1].weight
    small = faded(net, torch.zeros(1, 8), rank=2, targets="^0$")
    loaded = load_compressed(save_compressed(small, tmp_path / "small"), net)
    assert largest_gap(loaded, small, 8) == 0
    assert loaded[1].weight is loaded[2].weight


def test_a_folder_holds_json_and_safetensors_and_no_base(digits_folder):
    assert sorted(p.name for p in digits_folder.iterdir()) == ["config.json", "model.safetensors"]
    state = load_file(digits_folder / "model.safetensors")
    assert not any("base" in name or "start" in name or "lam" in name for name in state)
    assert state["blocks.0.attn.qkv.down.weight"].shape == (3, 96)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(digits_folder, missing):
    (digits_folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"no compressed model in .*{missing} is missing"):
        load_compressed(digits_folder)


def recipe(**changes):
    """Changes that many values of the recipe."""
    return lambda config: {**config, "model": {**config["model"], **changes}}


def without(key):
    return lambda config: {k: v for k, v in config.items() if k != key}


def ranks(changes):
    """Adds or changes ranks."""
    return lambda config: {**config, "ranks": {**config["ranks"], **changes}}


BAD_CONFIGS = [
    ("format", lambda c: {**c, "format": "other"}, "config.json.* is not of format"),
    (
        "timm's",
        lambda c: {"architecture": "deit_tiny_patch16_224"},
        "config.json.* is not of format",
    ),
    ("list", lambda c: [c], "config.json can't be read: it holds a list"),
    ("newer", lambda c: {**c, "version": 99}, "newer version .format 99.*update pclora-lab"),
    ("no such layer", ranks({"blocks.9.attn.qkv": 3}), "'blocks.9.attn.qkv'"),
    ("not linear", ranks({"norm": 3}), "layer 'norm'"),
    ("other rank", ranks({"blocks.0.attn.qkv": 4}), "do not fit the architecture"),
    ("bad rank", ranks({"blocks.0.attn.qkv": -1}), "ranks.blocks.0.attn.qkv is -1: .* from 1 to"),
    ("large rank", ranks({"blocks.0.attn.qkv": 10**7}), "qkv is 10000000: .* from 1 to 65,536"),
    ("rank in its bound", ranks({"blocks.0.attn.qkv": 60_000}), "qkv.*3x96 and should be 60000x96"),
    ("ranks", lambda c: {**c, "ranks": [3]}, "ranks is .3.: it must be an object"),
    ("class names", lambda c: {**c, "class_names": 5}, "class_names is 5: it must be a list"),
    ("version", lambda c: {**c, "version": "new"}, "version is 'new', no whole number"),
    ("width", recipe(width=10**9), "model.width is 1000000000: .* from 1 to 65,536"),
    ("share of a rank", ranks({"blocks.0.attn.qkv": "25%"}), "'25%': it must be a whole number"),
    ("classes", recipe(num_classes=7), "do not fit the architecture"),
    ("path", recipe(architecture="/some/evil"), "no timm architecture: '/some/evil'"),
    ("parent", recipe(architecture="../evil"), "no timm architecture: '../evil'"),
    ("local-dir", recipe(architecture="local-dir:evil"), "no timm architecture: 'local-dir:evil'"),
    ("hub", recipe(architecture="hf-hub:some/one"), "no timm architecture: 'hf-hub:some/one'"),
    ("none", recipe(architecture=None), "model.architecture is None: it must be a text"),
    ("unknown", recipe(architecture="no_such_model"), "unknown model 'no_such_model'"),
    ("no ranks", without("ranks"), "config.json.*ranks"),
    ("no model", without("model"), "config.json.*model"),
]


@pytest.mark.parametrize(
    ("change", "message"), [row[1:] for row in BAD_CONFIGS], ids=[row[0] for row in BAD_CONFIGS]
)
def test_a_config_that_does_not_fit_is_refused(digits_folder, change, message):
    path = digits_folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        load_compressed(digits_folder)


def test_a_saved_model_cannot_point_the_loader_at_a_folder(digits_folder, tmp_path, monkeypatch):
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "deit_tiny_patch16_224"}')
    shutil.copy(digits_folder / "model.safetensors", folder)
    path = digits_folder / "config.json"
    path.write_text(json.dumps(recipe(architecture="evil")(json.loads(path.read_text()))))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="(unknown model|no timm architecture:) 'evil'"):
        load_compressed(digits_folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_cut_in_half_is_refused_by_name(digits_folder, name):
    path = digits_folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=str(digits_folder)):
        load_compressed(digits_folder)


def test_a_dense_model_is_not_saved_as_a_compressed_one(vit, tmp_path):
    with pytest.raises(ValueError, match="has no LowRankLinear: pass what compress"):
        save_compressed(vit, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_foreign_model_is_never_overwritten(tmp_path):
    student = get_pclora_model(load_model("vit_digits"), PCLoRAConfig(rank=2))
    set_progress(student, 1.0)
    small = compress(student)
    (tmp_path / "config.json").write_text('{"architecture": "deit_tiny_patch16_224"}')
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(ValueError, match="would overwrite them: choose another folder"):
        save_compressed(small, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"
    save_compressed(small, save_compressed(small, tmp_path / "own"))


def test_layers_that_could_not_be_read_again_are_refused_before_anything_is_written(tmp_path):
    model = load_model("vit_digits")
    fc1 = model.blocks[0].mlp.fc1
    model.blocks[0].mlp.fc1 = nn.Sequential(fc1)
    with pytest.raises(ValueError, match=r"blocks\.0\.mlp\.fc1.* can't be saved"):
        save_pretrained(model, tmp_path / "saved")
    model.blocks[0].mlp.fc1 = nn.Linear(fc1.in_features, fc1.out_features - 1)
    with pytest.raises(ValueError, match=r"^blocks\.0\.mlp\.fc1 can't be saved"):
        save_pretrained(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_tokenizer_of_somebody_else_is_not_replaced(faded, tmp_path):
    (tmp_path / "tokenizer.json").write_text("mine")
    small = faded(load_model("bert_glosses"))
    with pytest.raises(FileExistsError, match="tokenizer.json is there already"):
        save_pretrained(small, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def flip(file, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def saved_in(kind, folder, faded):
    """A folder of each kind of model that this package saves."""
    if kind == "own":
        return save_pretrained(faded(load_model("vit_digits")), folder)
    model = load_model("bert_glosses")
    return save_pretrained(faded(model) if kind == "replaced" else model, folder)


@pytest.mark.parametrize("kind", ["own", "replaced", "dense"])
def test_a_flipped_byte_of_the_weights_is_refused(faded, tmp_path, kind):
    folder = saved_in(kind, tmp_path / "small", faded)
    file = folder / "model.safetensors"
    for place in (9, 200, -100_000, -1):
        flip(file, place)
        with pytest.raises(ValueError, match="model.safetensors is damaged"):
            load_model(folder)
        flip(file, place)
    load_model(folder)


@pytest.mark.parametrize("kind", ["own", "replaced"])
def test_weights_of_another_save_are_refused(faded, tmp_path, kind):
    first = saved_in(kind, tmp_path / "first", faded)
    model = load_model(first)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    second = save_pretrained(model, tmp_path / "second")
    shutil.copy(second / "model.safetensors", first)
    with pytest.raises(ValueError, match="not the file that the config.json"):
        load_compressed(first)


def test_who_reads_while_another_saves_gets_one_of_the_two(faded, tmp_path):
    models = [faded(load_model("vit_digits")) for _ in range(2)]
    with torch.no_grad():
        models[1].head.bias.add_(1)
    biases = [tuple(model.head.bias.tolist()) for model in models]
    folder, over, read = save_pretrained(models[0], tmp_path / "small"), threading.Event(), []

    def save():
        for number in range(12):
            save_pretrained(models[number % 2], folder)
        over.set()

    writer = threading.Thread(target=save)
    writer.start()
    while not over.is_set():
        read.append(tuple(load_compressed(folder).head.bias.tolist()))
    writer.join()
    assert read and set(read) <= set(biases)


def test_of_several_tensors_the_first_is_named_with_its_own_shapes(tmp_path):
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    files = [tmp_path / "model.safetensors"]
    shapes = shapes_in(files)
    check_tensors(files, shapes)
    with pytest.raises(ValueError, match="b is 5 and should be absent"):
        check_tensors(files, {"a": "2x3"})
    with pytest.raises(ValueError, match="a is 2x3 and should be 7.* Save"):
        check_tensors(files, {"a": "7", "b": "9", "c": "scalar"})


@pytest.mark.parametrize("content", [None, b"", b"{ no json", b"[]", b'{"model_type": "bert"}'])
def test_a_folder_that_says_nothing_of_replaced_layers_holds_none(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    assert not is_compressed(tmp_path) and not has_recipe(tmp_path)


def test_a_folder_of_a_compressed_model_says_so(digits_folder):
    assert is_compressed(digits_folder) and has_recipe(digits_folder)


def test_a_model_that_was_built_narrower_is_built_so_again(tmp_path):
    model = load_model("vit_digits", pretrained=False, num_classes=3, width=24)
    again = from_pretrained(save_pretrained(model, tmp_path / "narrow"))
    assert again.embed_dim == 24
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))

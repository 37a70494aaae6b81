"""What ``save_pretrained`` of transformers writes down of replaced layers, and what it refuses."""

import json

import pytest
import torch
from tiny_hf import auto_class, config, write_model
from transformers import AutoModel

from pclora_lab import from_pretrained, save_pretrained
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import make_method
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.hf_quantizer import LowRankQuantizer, SavedLayers
from pclora_lab.models.hf_saving import describe, is_replaced, outdated
from pclora_lab.models.loading import load_model


@pytest.fixture
def small(tmp_path):
    dense = load_model(write_model(tmp_path / "dense", "bert"))
    assert not is_replaced(dense)
    return SVD(SVDConfig(rank=2)).apply(dense)


def saved_part(folder):
    return json.loads((folder / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize(
    ("variant", "gone", "kept"),
    [
        (None,
         ["model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
         ["model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors", "Model.safetensors",
          "model.safetensors.index.fp16.json", "other.safetensors", "pytorch_model.bin"]),
        ("fp16",
         ["model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors",
          "model.safetensors.index.fp16.json"],
         ["model.safetensors", "model-00001-of-00002.safetensors", "model.fp32.safetensors",
          "model.safetensors.index.json"]),
    ],
)  # fmt: skip
def test_an_earlier_save_of_the_same_variant_is_replaced_and_nothing_else(variant, gone, kept):
    is_gone = outdated() if variant is None else outdated(variant)
    assert [name for name in (*gone, *kept) if is_gone(name)] == gone


def test_what_is_written_says_what_was_replaced_in_which_precision(small, tmp_path):
    small.half().bert.pooler.dense.float()
    small.save_pretrained(tmp_path / "small")
    told = saved_part(tmp_path / "small")
    assert told["quant_method"] == "pclora_lab" and told["dtype"] == "float16"
    own = {n: t for n, t in small.state_dict().items() if t.dtype == torch.float32}
    assert told["dtypes"] == dict.fromkeys(own, "float32") and own
    assert told["checksums"].keys() == {"model.safetensors"}
    assert told["tensors"]["bert.encoder.layer.0.output.dense.down.weight"] == "2x64"
    assert "config" not in told["model"] and told["model"]["num_classes"] == 3
    assert "unfinished" not in told


def test_a_model_is_quantized_or_low_rank_and_never_both(small, tmp_path):
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    with pytest.raises(ValueError, match="BertForSeq.* has low-rank layers and is quantized, and"):
        describe(small, tmp_path)
    assert "pclora_lab" not in (tmp_path / "config.json").read_text()


def test_weights_that_are_not_finite_are_not_saved(small, tmp_path):
    small.classifier.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="it is not saved. Train it again"):
        small.save_pretrained(tmp_path / "small")
    assert not (tmp_path / "small").exists()


def changed(folder, **values):
    path = folder / "config.json"
    whole = json.loads(path.read_text())
    whole["quantization_config"] |= values
    path.write_text(json.dumps(whole))
    return folder


@pytest.mark.parametrize("lacking", ["tensors", "checksums", "dtypes", "without_bias", "dtype"])
def test_a_folder_of_an_earlier_version_says_less_and_is_read(small, tmp_path, lacking):
    folder = save_pretrained(small, tmp_path / "small")
    path = folder / "config.json"
    values = json.loads(path.read_text())
    del values["quantization_config"][lacking]
    path.write_text(json.dumps(values))
    for again in (from_pretrained(folder), auto_class("bert").from_pretrained(folder)):
        expected = small.state_dict()
        assert all(torch.equal(t, expected[name]) for name, t in again.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtypes": {"classifier.bias": "float99"}}, "precision 'float99' for classifier.bias"),
        ({"dtypes": {"classifier.bias": "nn"}}, "precision 'nn' for classifier.bias: there is"),
        ({"dtypes": {"bert.nothing": "float16"}}, "names layer 'bert.nothing', which the arch"),
        ({"split_layers": ["bert.nothing"]}, "names layer 'bert.nothing'"),
        ({"unfinished": True}, "can't be opened: it is .*a student in the middle of its training"),
        ({"version": 4}, r"newer version \(format 4, this one reads up to 3\): update"),
        ({"version": True}, "version is True, no whole number"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_a_folder_that_says_what_can_not_be_is_refused(small, tmp_path, changes, message):
    folder = changed(save_pretrained(small, tmp_path / "small"), **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)


def test_a_model_that_nobody_loaded_by_name_is_opened_as_its_own_class(tmp_path):
    dense = auto_class("bert").from_config(config("bert")).eval()
    small = SVD(SVDConfig(rank=2)).apply(dense)
    folder = save_pretrained(small, tmp_path / "small")
    assert saved_part(folder)["model"] is None
    for again in (from_pretrained(folder), from_pretrained(folder, dense)):
        assert type(again) is type(dense) and not again.training
    with pytest.raises(ValueError, match="transformers' models, and model= is a Linear: pass one"):
        from_pretrained(folder, torch.nn.Linear(1, 1))
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for name in ("BertForNothing", "AutoModel", None):
        path.write_text(json.dumps({**values, "architectures": name and [name]}))
        with pytest.raises(ValueError, match=f"holds a {name}, which this version of transf"):
            from_pretrained(folder)


def test_transformers_alone_is_told_what_opens_the_weights(small, tmp_path):
    """This package opens a finished model and PC-LoRA's student; nothing opens another's."""
    models = {"finished": small}
    for name, chosen in {"pclora": PCLoRAConfig(rank=2), "snella": SNELLAConfig()}.items():
        dense = load_model(write_model(tmp_path / f"dense_{name}", "bert"))
        models[name] = make_method(chosen).apply(dense, MethodContext())
    told = {}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        told[name] = json.loads((tmp_path / name / "config.json").read_text())
    weights = {name: values["transformers_weights"] for name, values in told.items()}
    assert "Install pclora-lab" in weights["finished"]
    assert weights["pclora"] == weights["finished"]
    assert "a student in the middle of its training" in weights["snella"]


def test_a_head_that_another_class_lacks_is_left_out_and_nothing_of_its_own(small, tmp_path):
    """One layer that neither class has is a mistake in both."""
    folder = save_pretrained(small, tmp_path / "small")
    ranks = saved_part(folder)["ranks"]
    headed = changed(folder, ranks={**ranks, "somewhere.dense": 2})
    with pytest.raises(ValueError, match="names layer 'somewhere.dense', which the arch"):
        from_pretrained(headed)
    base = AutoModel.from_pretrained(folder)
    assert not hasattr(base, "classifier")


def test_transformers_may_train_such_a_model_and_save_it():
    quantizer = LowRankQuantizer(SavedLayers())
    assert quantizer.is_trainable is True and quantizer.is_serializable() is True

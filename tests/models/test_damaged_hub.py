"""A damaged file in the hub's cache: the error says which model, and what to do."""

import json
import os
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import pytest
import timm
import transformers
from safetensors.torch import save_model

from pclora_lab import load_model

COMMIT = "a" * 40
TEXTS = "somebody/tiny-bert"
PICTURES = "somebody/tiny-vit"
TINY = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"intermediate_size": 16, "max_position_embeddings": 16, "vocab_size": 8},
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(255, 128, -1)))


DAMAGE = (cut, emptied, noise)


def cached(root: Path, name: str) -> Path:
    """An empty snapshot of a model, as the hub's cache has one."""
    repository = root / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    snapshot = cached(tmp_path, TEXTS)
    config = transformers.BertConfig(**TINY)
    transformers.BertForSequenceClassification(config).save_pretrained(snapshot)
    words = snapshot / "vocab.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))
    transformers.BertTokenizerFast(vocab=str(words)).save_pretrained(snapshot)
    return snapshot


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    snapshot = cached(tmp_path, PICTURES)
    options: dict[str, Any] = {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)
    save_model(model, snapshot / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 3, "model_args": options}
    config["pretrained_cfg"] = {"input_size": [3, 32, 32], "num_classes": 3}
    (snapshot / "config.json").write_text(json.dumps(config))
    return snapshot


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_of_transformers(texts, file, damage):
    assert load_model(TEXTS).num_classes == 2
    damage(texts / file)
    with pytest.raises(ValueError, match=f"{TEXTS}.*can't be read.*fetch"):
        load_model(TEXTS)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_of_timm(pictures, file, damage):
    name = f"hf-hub:{PICTURES}"
    assert load_model(name).num_classes == 3
    damage(pictures / file)
    with pytest.raises(ValueError, match=f"{name}.*can't be read.*fetch it again"):
        load_model(name)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_file_that_is_gone_is_asked_of_the_hub(texts, file):
    os.remove(texts / file)
    with pytest.raises((ConnectionError, ValueError), match=TEXTS):
        load_model(TEXTS)

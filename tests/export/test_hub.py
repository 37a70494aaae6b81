"""Uploading, against a stand-in for the hub on 127.0.0.1 that keeps what it is sent."""

import pytest
from stand_in_hub import running_hub

from pclora_lab import save_pretrained
from pclora_lab.export.hub import push_to_hub
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress


@pytest.fixture
def hub(monkeypatch):
    """The address of a stand-in; its calls and files can be looked at."""
    with running_hub(monkeypatch) as server:
        yield server


@pytest.fixture
def folder(tmp_path, vit):
    student = get_pclora_model(vit, PCLoRAConfig(rank=2))
    set_progress(student, 1.0)
    place = save_pretrained(compress(student), tmp_path / "small")
    (place / "README.md").write_text("# A small model\n")
    return place


def test_a_folder_arrives_as_it_is_and_private(hub, folder):
    address = push_to_hub(folder, "me/small", token="hf_secret", endpoint=hub.address)
    sent = hub.RequestHandlerClass
    assert address == f"{hub.address}/me/small"
    assert sent.files == {p.name: p.read_bytes() for p in folder.iterdir()}
    path, token, (created, *_) = sent.calls[0]
    assert path == "/api/repos/create" and token == "Bearer hf_secret"
    assert created["name"] == "small" and created["organization"] == "me"
    # Older and newer versions of the library say it in different words.
    assert created.get("visibility") == "private" or created.get("private") is True


def test_without_a_token_it_says_how_to_get_one(hub, folder):
    hub.RequestHandlerClass.needs_token = True
    with pytest.raises(PermissionError, match="write to me/small: log in with `hf auth login`, or"):
        push_to_hub(folder, "me/small", endpoint=hub.address)
    push_to_hub(folder, "me/small", endpoint=hub.address, token="hf_secret")
    assert "model.safetensors" in hub.RequestHandlerClass.files


def test_a_model_is_pushed_again_to_the_repository_that_is_there(hub, folder):
    push_to_hub(folder, "me/small", endpoint=hub.address)
    (folder / "README.md").write_text("# A small model, once more\n")
    push_to_hub(folder, "me/small", endpoint=hub.address)
    assert hub.RequestHandlerClass.files["README.md"] == b"# A small model, once more\n"


def test_only_what_belongs_to_the_model_leaves_the_machine(hub, folder, tmp_path):
    belongs = {p.name for p in folder.iterdir()} | {"model.onnx", "standalone/load.py"}
    (folder / "standalone" / "notes").mkdir(parents=True)
    (tmp_path / "secret").write_text("mine")
    (folder / "LICENSE").symlink_to(tmp_path / "secret")
    for name in (
        ".env", "checkpoint.safetensors", "checkpoint.previous.safetensors", "status.json",
        "history.jsonl", "notes.txt", "id_rsa", "model.onnx", "standalone/load.py",
        "standalone/notes/README.md", "standalone/.env", ".ipynb_checkpoints",
    ):  # fmt: skip
        (folder / name).write_text("x")
    (folder / "cells").mkdir()
    (folder / "cells" / "config.json").write_text("{}")
    push_to_hub(folder, "me/small", endpoint=hub.address)
    assert set(hub.RequestHandlerClass.files) == belongs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no exported model in"),
        (lambda f: (f / "README.md").unlink(), "has no model card"),
        (lambda f: (f / "old.bin").write_bytes(b""), r"pickled files \(old.bin\)"),
    ],
    ids=["model", "card", "pickle"],
)
def test_what_should_not_be_shared_is_refused_before_any_call(hub, folder, change, message):
    change(folder)
    with pytest.raises(ValueError, match=message):
        push_to_hub(folder, "me/small", endpoint=hub.address)
    assert not hub.RequestHandlerClass.calls


def test_a_name_that_is_none_is_refused(hub, folder):
    with pytest.raises(ValueError, match="'a b/c' is no repository name"):
        push_to_hub(folder, "a b/c", endpoint=hub.address)
    assert not hub.RequestHandlerClass.calls


def test_a_repository_is_public_only_where_that_is_said(hub, folder):
    push_to_hub(folder, "me/small", private=False, endpoint=hub.address)
    _, _, (created, *_) = hub.RequestHandlerClass.calls[0]
    assert created.get("visibility") != "private" and not created.get("private")


def test_the_folder_of_a_run_is_never_uploaded(hub, folder):
    for name in ("status.json", "versions.json"):
        push_to_hub(folder, "me/small", endpoint=hub.address)
        (folder / name).write_text("{}")
    hub.RequestHandlerClass.calls.clear()
    with pytest.raises(ValueError, match="is a run folder, whose config.json says where"):
        push_to_hub(folder, "me/small", endpoint=hub.address)
    assert not hub.RequestHandlerClass.calls


@pytest.mark.parametrize("graph", ["model.onnx", "model.pt2"])
def test_a_graph_alone_is_a_model(hub, tmp_path, graph):
    with pytest.raises(ValueError, match="no exported model in"):
        push_to_hub(tmp_path / "nothing", "me/small", endpoint=hub.address)
    (tmp_path / graph).write_bytes(b"graph")
    (tmp_path / "README.md").write_text("# A graph\n")
    push_to_hub(tmp_path, "me/small", endpoint=hub.address, message="Once more")
    assert set(hub.RequestHandlerClass.files) == {graph, "README.md"}
    headers = [line["value"] for path, _, lines in hub.RequestHandlerClass.calls
               if "/commit/" in path for line in lines if line["key"] == "header"]  # fmt: skip
    assert [header["summary"] for header in headers] == ["Once more"]


def test_pickled_files_are_named_wherever_they_lie(hub, folder):
    (folder / "cells").mkdir()
    for name in ("b.pth", "cells/a.pt", "c.ckpt", "d.pkl"):
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds pickled files \(a.pt, b.pth, c.ckpt, "):
        push_to_hub(folder, "me/small", endpoint=hub.address)

"""Files replaced in one step, and none in the package that is written otherwise."""

import ast
import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import pclora_lab
from pclora_lab.files import PART, atomic_write, make_folder, open_to_append, staged, write_text
from pclora_lab.json_files import read_json, write_json
from pclora_lab.staging import staged_folder
from pclora_lab.wording import explained

PACKAGE = Path(pclora_lab.__file__).parent


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError, match="half"), atomic_write(path) as part:
        part.write_text("{")
        raise RuntimeError("half written")
    assert read_json(path) == {"a": 1}
    assert names(tmp_path) == ["facts.json"]


def test_until_the_end_of_the_block_a_reader_sees_the_old_file(tmp_path):
    path = tmp_path / "text"
    write_text(path, "old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == tmp_path and part.name.endswith(PART)
    assert path.read_text() == "new"


def test_links_laid_where_the_file_is_written_are_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("facts.json", "facts.json.part", f"facts.json.{os.getpid()}.part"):
        (tmp_path / name).symlink_to(victim)
    write_json(tmp_path / "facts.json", {"a": 1})
    assert victim.read_text() == "mine"
    assert not (tmp_path / "facts.json").is_symlink()


@pytest.mark.parametrize("write", ["text", "weights"])
def test_others_may_read_a_new_file_and_an_old_one_keeps_its_permissions(tmp_path, write):
    path = tmp_path / "file"
    former = os.umask(0o022)
    try:
        for mode in (0o644, 0o600):
            if path.exists():
                path.chmod(mode)
            with atomic_write(path) as part:
                if write == "text":
                    part.write_text("x")
                else:
                    save_file({"x": torch.ones(1)}, part)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(former)
    if write == "weights":
        assert load_file(path)["x"].item() == 1


def test_what_is_staged_moves_up_together_or_not_at_all(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), staged(tmp_path) as stage:
        (stage / "a").write_text("new")
        raise RuntimeError("half written")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"
    with staged(tmp_path) as stage:
        assert stage.parent == tmp_path
        (stage / "a").write_text("new")
        (stage / "b").write_text("more")
    assert names(tmp_path) == ["a", "b"] and (tmp_path / "a").read_text() == "new"


WRITERS = {"write_text", "write_bytes", "save_file", "savefig", "write_html", "imsave"}
ALLOWED = {
    # Who holds a lock, for a person to read; no link is followed.
    ("locks.py", "open"),
    ("locks.py", "dump"),
    # No file: the kernel's counter of the memory's peak.
    ("training/device.py", "write_text"),
    # Into what its callers stage.
    ("models/weights.py", "save_model"),
    ("models/hf_saving.py", "save"),
    ("export/int8.py", "save_file"),
    ("export/int8.py", "save"),
    # The checksum of what was written to such a path a moment before.
    ("tensor_files.py", "open"),
    ("export/torch_export.py", "save"),
    # Into memory.
    ("plots/figure.py", "savefig"),
    ("plots/figure.py", "save"),
    ("plots/examples/sample.py", "save"),
    ("plots/report/examples.py", "save"),
    ("course/figures/diagrams.py", "save"),
}


def unguarded_writes(source: str) -> list[str]:
    """Calls that write to a path outside ``with atomic_write(…) as part``."""
    found = []

    def look(node: ast.AST, parts: frozenset[str]) -> None:
        if isinstance(node, ast.With):
            for item in node.items:
                call = item.context_expr
                function = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
                is_ours = function.rpartition(".")[2] in ("atomic_write", "staged", "staged_folder")
                if is_ours and isinstance(item.optional_vars, ast.Name):
                    parts = parts | {item.optional_vars.id}
        if isinstance(node, ast.Call) and (name := written(node)):
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            if not used & parts:
                found.append(name)
        for child in ast.iter_child_nodes(node):
            look(child, parts)

    look(ast.parse(source), frozenset())
    return found


def written(call: ast.Call) -> str | None:
    """The name of the call, if it writes a file."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if isinstance(function, ast.Name) and name == "write_text":
        return None  # the package's own
    if name in WRITERS:
        return name
    if name in ("open", "fdopen"):
        texts = [
            a.value
            for a in (*call.args, *(k.value for k in call.keywords))
            if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        return (
            name if any(set(t) <= set("rwaxbt+") and set(t) & set("wax+") for t in texts) else None
        )
    if name in ("save", "save_model", "dump"):
        # `torch.save(…)`, `image.save(file)`; methods named save without arguments are no writes.
        return name if call.args else None
    return None


def test_the_scan_finds_what_it_looks_for():
    assert unguarded_writes("path.write_text('x')") == ["write_text"]
    assert unguarded_writes("open(path, 'w')") == ["open"]
    assert unguarded_writes("path.open(mode='ab')") == ["open"]
    assert unguarded_writes("torch.save(model, path)") == ["save"]
    assert unguarded_writes("path.open('rb'); open(path); self.open(run); writer.save()") == []
    guarded = (
        "with atomic_write(path) as part:\n    save_file(state, part)\n    other.write_text('')"
    )
    assert unguarded_writes(guarded) == ["write_text"]


def test_every_file_is_written_atomically():
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in unguarded_writes(path.read_text(encoding="utf8"))
    }
    assert found == ALLOWED, (
        "write to the path that files.atomic_write gives, or explain the exception here"
    )


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "second name", "folder"])
def test_lines_are_added_to_plain_files_only(tmp_path, kind):
    path, victim = tmp_path / "history.jsonl", tmp_path / "victim"
    victim.write_text("mine")
    match kind:
        case "link":
            path.symlink_to(victim)
        case "dangling":
            path.symlink_to(tmp_path / "new")
        case "pipe":
            os.mkfifo(path)
        case "second name":
            os.link(victim, path)
        case "folder":
            path.mkdir()
    with pytest.raises(OSError, match="history.jsonl"):
        open_to_append(path)
    assert victim.read_text() == "mine" and not (tmp_path / "new").exists()


def test_a_folder_of_our_own_is_no_link_to_another(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="link is a link"):
        make_folder(tmp_path / "link")


@pytest.mark.parametrize("writer", [atomic_write, staged, staged_folder])
@pytest.mark.parametrize("kind", [SafetensorError, Exception])
def test_a_disk_that_fails_under_rust_fails_as_any_disk(tmp_path, writer, kind):
    """safetensors and tokenizers write from Rust, and raise errors of their own."""
    with (
        pytest.raises(OSError) as error,
        writer(tmp_path / "." if writer is staged else tmp_path / "a"),
    ):
        raise kind("Error while serializing: I/O error: No space left on device (os error 28)")
    assert error.value.errno == errno.ENOSPC
    assert (
        explained(error.value) == f"{error.value.filename}: no space is left on the disk: make room"
    )
    with pytest.raises(kind, match="other"), atomic_write(tmp_path / "b"):
        raise kind("other")
    assert not list(tmp_path.rglob("*.part"))

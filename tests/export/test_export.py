"""What people take along: it computes the same, says what it costs, and needs no pclora_lab."""

import json
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import batch, tiny
from torch import nn

from pclora_lab import load_model, plugins
from pclora_lab.cli.main import main
from pclora_lab.export import ExportFormat, ExportReport, formats
from pclora_lab.export import run as export_run_module
from pclora_lab.export.model_card import model_card
from pclora_lab.export.onnx import export_onnx, open_onnx
from pclora_lab.export.run import export_run
from pclora_lab.export.standalone import export_standalone, to_standalone
from pclora_lab.export.torch_export import export_torch_program
from pclora_lab.files import write_text
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.nn.forward import call_model
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.training.config import RunConfig
from pclora_lab.training.loop import train


def cut(model: nn.Module, rank: int = 2, **more) -> nn.Module:
    """The model with every layer truncated."""
    return SVD(SVDConfig(rank=rank, **more)).apply(model)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A finished run of the embedded text model."""
    root = tmp_path_factory.mktemp("runs")
    method = PCLoRAConfig(rank=4, init="svd", embeddings="low_rank")
    config = RunConfig(model="bert_glosses", data="glosses", method=method, steps=3, batch_size=8,
                       evaluations=1, eval_images=16, report_on="validation")  # fmt: skip
    folder = new_run_folder(root, config)
    for _ in RunRecorder(folder).record(train(config, root)):
        pass
    return folder


ONNX = {
    "vit_split": lambda: cut(tiny("vit_digits", split_qkv=True)),
    "convnext": lambda: cut(tiny("convnext")),
    "bert_words": lambda: cut(tiny("bert"), embeddings="low_rank"),
    "gpt2": lambda: cut(tiny("gpt2")),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONNX)
def test_onnx_computes_the_same_for_any_batch_and_length(kind, tmp_path, capsys):
    small = ONNX[kind]()
    report = export_onnx(small, tmp_path / "model.onnx")
    assert report.max_logit_difference < 1e-4
    assert report.bytes == (tmp_path / "model.onnx").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "it is one file"
    assert capsys.readouterr().out == ""
    assert report.latency_ms > 0 and report.dense_latency_ms > 0
    inputs = batch(small, examples=5)
    named = {"pixel_values": inputs} if isinstance(inputs, torch.Tensor) else inputs
    if "input_ids" in named:  # shorter than what was exported
        inputs = named = {name: value[:, -7:].contiguous() for name, value in named.items()}
    (logits,) = open_onnx(tmp_path / "model.onnx").run(
        None, {name: value.numpy() for name, value in named.items()}
    )
    with torch.no_grad():
        np.testing.assert_allclose(logits, call_model(small, inputs).numpy(), atol=1e-4)


def test_a_standalone_model_holds_ordinary_layers_of_the_same_size():
    small = cut(tiny("bert"), embeddings="low_rank")
    plain = to_standalone(small)
    kinds = {type(m).__module__.split(".")[0] for m in plain.modules()}
    assert "pclora_lab" not in kinds
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in small.parameters())
    inputs = batch(small)
    torch.testing.assert_close(call_model(plain, inputs), call_model(small, inputs))


def test_an_export_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    from pclora_lab.export import standalone

    small = cut(tiny("vit_digits"))
    original = standalone.open_standalone

    def broken(folder):
        model = original(folder)
        model.head.bias.data += 1
        return model

    monkeypatch.setattr(standalone, "open_standalone", broken)
    with pytest.raises(ValueError, match="does not compute what the model does: .* up to 1"):
        export_standalone(small, tmp_path / "plain")


@pytest.mark.parametrize("export", [export_standalone, export_onnx, export_torch_program])
def test_a_model_without_a_recipe_is_refused_with_the_cure(export, tmp_path, vit):
    student = get_pclora_model(vit, PCLoRAConfig(rank=2))
    set_progress(student, 1.0)
    with pytest.raises(ValueError, match="not loaded by name.*start from load_model"):
        export(compress(student), tmp_path / "file")


def test_a_folder_with_other_files_is_not_mixed(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty"):
        export_standalone(cut(tiny("vit_digits")), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_is_exported_with_a_card_that_states_its_numbers(run_folder, tmp_path):
    reports = export_run(run_folder, tmp_path / "out", ["standalone", "torch_export"])
    assert [report.format for report in reports] == ["standalone", "torch_export"]
    card = (tmp_path / "out" / "README.md").read_text()
    result = json.loads((run_folder / "result.json").read_text())
    for number in (f"{result['params_after']:,}", f"{result['params_removed_whole']:.1%}",
                   f"{result['accuracy']:.2%}", "lr: 0.005", "rank: 4", "act, animal"):  # fmt: skip
        assert number in card
    assert card.startswith("---\nlibrary_name: pclora-lab\npipeline_tag: text-classification\n")
    assert all(str(report) in card for report in reports)
    files = {p.name for p in (tmp_path / "out" / "standalone").iterdir()}
    assert files == {"config.json", "load.py", "model.safetensors", "tokenizer.json",
                     "tokenizer_config.json", "README.md"}  # fmt: skip


@pytest.mark.slow
def test_force_replaces_what_is_not_ours_in_every_format(run_folder, tmp_path):
    mine = {"standalone": "standalone/load.py", "onnx": "model.onnx", "torch_export": "model.pt2"}
    for file in mine.values():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("mine")
    with pytest.raises((ValueError, FileExistsError), match="already|not empty"):
        export_run(run_folder, tmp_path, mine)
    export_run(run_folder, tmp_path, mine, force=True)
    assert not any((tmp_path / file).read_bytes() == b"mine" for file in mine.values())


def test_a_card_shows_names_as_text_and_no_path_of_this_machine(run_folder):
    result = json.loads((run_folder / "result.json").read_text())
    result["class_names"] = ["<script>alert(1)</script>", "a|b"]
    config = RunConfig(model="local-dir:/home/me/secret/net", data="/home/me/data/reviews.csv")
    card = model_card(result, config)
    assert "<script>" not in card and "a|b" not in card
    assert "/home" not in card and "net" in card and "reviews.csv" in card


def test_a_card_lists_every_setting_of_the_method_once(run_folder):
    config = RunConfig(method=PCLoRAConfig(rank=4, init="svd"))
    card = model_card(json.loads((run_folder / "result.json").read_text()), config)
    recipe = card.partition("## Recipe")[2].partition("## ")[0].strip().splitlines()
    wanted = {f"* {k}: {v}" for k, v in config.method.to_dict().items() if k != "name"}
    assert wanted <= set(recipe) and len(recipe) == len(set(recipe))
    assert not any(line.startswith("* name:") for line in recipe), "it is the card's title"


def broken(model, path):
    raise ImportError("onnx is missing")


def no_room_in_standalone(path, text):
    if path.parent.name == "standalone":
        raise OSError(28, "No space left on device")
    write_text(path, text)


def test_what_can_not_be_written_is_told_at_the_end_and_the_rest_is_there(
    run_folder, tmp_path, monkeypatch, capsys
):
    formats = {**export_run_module.FORMATS, "onnx": ExportFormat("model.onnx", "broken", broken)}
    monkeypatch.setattr(export_run_module, "FORMATS", formats)
    monkeypatch.setattr(export_run_module, "write_text", no_room_in_standalone)
    export = ["export", str(run_folder), "--out", str(tmp_path), "--formats"]
    assert main([*export, "onnx, standalone", "--json"]) == 1
    shown = capsys.readouterr()
    last = shown.err.splitlines()[-1]
    assert "not written: onnx (onnx is missing); model card (" in last
    facts = {fact["format"]: fact for fact in json.loads(shown.out.splitlines()[-1])}
    assert facts["onnx"] == {"format": "onnx", "error": "onnx is missing"}
    assert facts["standalone"]["bytes"] > 0 and "error" in facts["model card"]
    assert (tmp_path / "README.md").is_file() and (tmp_path / "standalone" / "load.py").is_file()
    with pytest.warns(UserWarning) as said:
        export_run(run_folder, tmp_path / "other", ["onnx", "standalone"])
    assert [str(one.message).split(" can't")[0] for one in said] == ["onnx", "model card"]
    assert main([*export, "onnx"]) == 2  # nothing could be written


def test_an_export_into_a_project_replaces_no_file_of_its_own(run_folder, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# My project, which uses pclora_lab\n")
    with pytest.raises(FileExistsError, match="README.md is there already"):
        export_run(run_folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    export_run(run_folder, tmp_path, force=True)
    export_run(run_folder, tmp_path)  # what it wrote it may replace
    assert readme.read_text().startswith("---")
    loader = tmp_path / "standalone" / "load.py"
    loader.write_text("print('mine')")
    with pytest.raises(ValueError, match="is not empty"):
        export_run(run_folder, tmp_path)
    assert loader.read_text() == "print('mine')"


@pytest.mark.parametrize("export", [export_onnx, export_torch_program])
def test_another_graph_in_its_place_is_not_replaced(export, tmp_path):
    path, small = tmp_path / "file", cut(tiny("vit_digits"))
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="file is there already"):
        export(small, path)
    assert path.read_bytes() == b"mine"


def test_graphs_bear_a_mark_and_no_path_of_this_machine(tmp_path):
    small = cut(tiny("vit_digits"))
    for name, export in {"a.onnx": export_onnx, "a.pt2": export_torch_program}.items():
        for _ in range(2):  # the second replaces the first
            export(small, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert b"site-packages" not in content and str(Path.cwd()).encode() not in content


@pytest.mark.parametrize(
    ("formats", "message"), [(["tflite"], "unknown format tflite"), ([], "unknown format none")]
)
def test_unknown_formats_are_named(run_folder, tmp_path, formats, message):
    with pytest.raises(ValueError, match=f"{message}: use some of standalone, onnx, torch_export"):
        export_run(run_folder, tmp_path / "out", formats)


def test_an_unfinished_run_has_nothing_to_export(tmp_path):
    folder = new_run_folder(tmp_path, RunConfig(steps=1))
    with pytest.raises(ValueError, match="has not finished"):
        export_run(folder, tmp_path / "out")


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory) -> Path:
    """A virtual environment with everything that is installed here except this project."""
    place = tmp_path_factory.mktemp("fresh")
    venv.create(place, with_pip=False, symlinks=True)
    here = Path(sysconfig.get_paths()["purelib"])
    inside = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for entry in here.iterdir():
        if "pclora" not in entry.name and not entry.name.startswith("__editable__"):
            (inside / entry.name).symlink_to(entry)
    return place / "bin" / "python"


LOAD_PLAIN = """
import importlib.util, json, sys, traceback
from pathlib import Path
import torch
from safetensors.torch import load_file
try:
    import pclora_lab
except ImportError:
    pass
else:
    sys.exit("pclora_lab is there")

def gap(place):
    inputs = load_file(place / "try.safetensors")
    wanted = inputs.pop("wanted")
    if (place / "model.pt2").exists():
        model = torch.export.load(place / "model.pt2").module()
        logits = model(**inputs)
    else:
        spec = importlib.util.spec_from_file_location("load", place / "plain" / "load.py")
        load = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(load)
        model = load.load()
        logits = model(**inputs) if "input_ids" in inputs else model(*inputs.values())
    return (getattr(logits, "logits", logits) - wanted).abs().max().item()

found = {}
for place in map(Path, sys.argv[1:]):
    try:
        found[place.name] = gap(place)
    except Exception:
        found[place.name] = traceback.format_exc()
print(json.dumps(found))
"""
KINDS = ("vit_digits_split", "deit", "bert", "vit")
# Programs first: what a plain folder imports must not be there by chance.
EXPORTS = {"torch_export": export_torch_program, "standalone": export_standalone}


@pytest.fixture(scope="module")
def gaps(fresh_python, tmp_path_factory) -> dict[str, float | str]:
    """How far off each export computes in one process over there, or its traceback."""
    root = tmp_path_factory.mktemp("exports")
    places = [root / f"{format}-{kind}" for format in EXPORTS for kind in KINDS]
    for place in places:
        format, _, kind = place.name.partition("-")
        model = tiny(kind.removesuffix("_split"), split_qkv=kind.endswith("split"))
        small = cut(model, **({"embeddings": "low_rank"} if kind == "bert" else {}))
        place.mkdir()
        EXPORTS[format](small, place / ("model.pt2" if format == "torch_export" else "plain"))
        inputs = batch(small)
        named = {"pixel_values": inputs} if isinstance(inputs, torch.Tensor) else inputs
        with torch.no_grad():
            tensors = {**named, "wanted": call_model(small, inputs)}
        save_file(tensors, place / "try.safetensors")
    done = subprocess.run([fresh_python, "-I", "-c", LOAD_PLAIN, *places], capture_output=True,
                          text=True, timeout=300, cwd=root)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("format", EXPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_exports_load_in_an_environment_without_this_package(gaps, kind, format):
    gap = gaps[f"{format}-{kind}"]
    assert isinstance(gap, float) and gap < 1e-4, gap


def test_the_embedded_models_plain_folder_says_how_large_it_is(tmp_path, fresh_python):
    small = cut(load_model("vit_digits"), rank=8)
    export_standalone(small, tmp_path / "plain")
    done = subprocess.run([fresh_python, "-I", tmp_path / "plain" / "load.py"], capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.stdout == "57,514 parameters\n"


def test_a_format_of_another_package_is_written_beside_the_others(
    run_folder, tmp_path, monkeypatch
):
    def export(model, path):
        path.write_text("names only: " + ", ".join(n for n, _ in model.named_children()))
        return ExportReport("names", str(path), path.stat().st_size, 1, 0.0, 1.0, 1.0)

    entry = EntryPoint("names", "somebody:names", "pclora_lab.export_formats")
    monkeypatch.setattr(EntryPoint, "load", lambda self: ExportFormat("names.txt", "names", export))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    registry = plugins.Registry("pclora_lab.export_formats", "format", {}, formats._checked)
    monkeypatch.setattr(export_run_module, "FORMATS", registry)
    (report,) = export_run(run_folder, tmp_path / "out", ["names"])
    assert report.format == "names" and str(report) in (tmp_path / "out/README.md").read_text()
    assert (tmp_path / "out/names.txt").read_text().startswith("names only: ")


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        (print, "no ExportFormat"),
        (ExportFormat("../up.txt", "", print), "no file name of its own"),
        (ExportFormat("README.md", "", print), "no file name of its own"),
    ],
)
def test_a_format_that_can_not_be_used_is_left_out_with_a_reason(loaded, reason, monkeypatch):
    entry = EntryPoint("names", "somebody:names", "pclora_lab.export_formats")
    monkeypatch.setattr(EntryPoint, "load", lambda self: loaded)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    registry = plugins.Registry("pclora_lab.export_formats", "format", {}, formats._checked)
    assert "names" not in registry and reason in registry.problems[0].reason


def test_a_folder_is_made_where_there_is_none_and_every_folder_gets_the_card(run_folder, tmp_path):
    places = tmp_path / "a" / "b"
    places.mkdir(parents=True)
    (report,) = export_run(run_folder, str(places / "c"), ["standalone"])
    assert Path(report.path) == places / "c" / "standalone"
    cards = [(folder / "README.md").read_text() for folder in (places / "c", Path(report.path))]
    assert cards[0] == cards[1] and str(report).replace(report.path, "") in cards[0]
    missing = []
    export_run(run_folder, places / "c", ["standalone"], missing=lambda *told: missing.append(told))
    assert missing == [], "what it wrote it may replace"


def test_what_is_there_already_is_looked_at_before_anything_is_read(run_folder, tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="model.pt2 is there already"):
        export_run(run_folder, tmp_path, ["standalone", "torch_export"])
    (tmp_path / "standalone").mkdir()
    (tmp_path / "standalone" / "README.md").write_text("mine")
    (tmp_path / "model.pt2").unlink()
    with pytest.raises(FileExistsError, match="standalone/README.md is there already"):
        export_run(run_folder, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["standalone"]

"""Every format keeps the same promises: what it times, what it replaces, and what it shows."""

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from light import imported_without
from tiny import tiny
from torch import nn

from pclora_lab import load_model
from pclora_lab.export import formats, int8, onnx, torch_export
from pclora_lab.export.formats import FORMATS, ExportFormat
from pclora_lab.export.low_rank_attention import LowRankAttention
from pclora_lab.export.report import bytes_of
from pclora_lab.export.speeds import speed_table, speeds
from pclora_lab.export.standalone import (
    export_standalone,
    open_standalone,
    refuse_other_files,
)
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.nn import latency
from pclora_lab.nn.forward import as_inputs, call_model
from pclora_lab.ownership import MARK
from pclora_lab.plugins import PluginError

# The package gives the function of the same name.
speeds_module = sys.modules[speeds.__module__]

BUILT_IN = ("standalone", "onnx", "torch_export", "onnx-int8", "plain-int8")


class Session:
    """Runs a model in the place of its graph."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def run(self, names, arrays):
        inputs = as_inputs({name: torch.from_numpy(value) for name, value in arrays.items()})
        with torch.no_grad():
            return [call_model(self.model, inputs).numpy()]


@pytest.fixture
def graphs(monkeypatch):
    """Graphs are written and read in no time: each is its model, under the file's path."""
    written: dict[str, nn.Module] = {}

    def write(model, file, **_):
        file.write_bytes(b"a graph")
        written[file.name] = model

    def program(model, file):
        write(model, file)
        return torch_export.deployed(model, ("pixel_values",))

    monkeypatch.setattr(onnx, "_require_packages", lambda: None)
    monkeypatch.setattr(onnx, "write_graph", write)
    monkeypatch.setattr(int8, "_write", write)
    monkeypatch.setattr(onnx, "open_onnx", lambda file: Session(written[file.name]))
    monkeypatch.setattr(torch_export, "_program", program)


@pytest.fixture
def small() -> nn.Module:
    return SVD(SVDConfig(rank=2)).apply(tiny("vit_digits"))


@pytest.fixture
def timed(monkeypatch):
    """How many examples every timed pass had; the clock says 1 ms."""
    sizes: set[int] = set()
    watched = []

    def watch(function, device=None):
        watched.append(function)
        function()
        watched.pop()
        return 1.0

    def note(module, inputs):
        if watched and isinstance(module, nn.Conv2d):
            sizes.add(len(inputs[0]))

    monkeypatch.setattr(latency, "timed_ms", watch)
    hook = nn.modules.module.register_module_forward_pre_hook(note)
    yield sizes
    hook.remove()


def test_the_formats_that_are_looked_at_here_are_all_there_are():
    assert set(BUILT_IN) == set(FORMATS)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_latency_is_of_one_example_before_and_after(name, graphs, timed, small, tmp_path):
    report = FORMATS[name].export(small, tmp_path / FORMATS[name].file)
    assert timed == {1}
    assert report.latency_ms == report.dense_latency_ms == 1


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_was_asked_before_is_not_asked_again(name, graphs, small, tmp_path):
    """An export of a run asks for all formats at once; after that each of them replaces."""
    path = mine = tmp_path / FORMATS[name].file
    if FORMATS[name].refuse is not None:
        path.mkdir()
        mine = path / "load.py"
    mine.write_bytes(b"mine")
    FORMATS[name].export(small, path)
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize("names", [("cat", "dog", "owl"), None])
def test_a_standalone_folder_says_which_logit_is_which_class(names, small, tmp_path):
    small.pclora_class_names = names
    export_standalone(small, tmp_path / "plain")
    written = json.loads((tmp_path / "plain" / "config.json").read_text())["class_names"]
    assert written == (None if names is None else [*names])


@pytest.mark.parametrize("library", [torch.export, torch.onnx], ids=lambda module: module.__name__)
def test_what_an_exporter_warns_of_is_not_shown(library, small, tmp_path, monkeypatch):
    """Nobody can act on it; here a warning that is shown is an error of its own."""

    def export(*args, **options):
        warnings.warn("this argument is deprecated", DeprecationWarning, stacklevel=2)
        raise RuntimeError("nothing more is needed")

    monkeypatch.setattr(library, "export", export)
    write = torch_export._program if library is torch.export else onnx.write_graph
    with pytest.raises((RuntimeError, ValueError), match="nothing more is needed"):
        write(small, tmp_path / "file")


def test_a_graph_can_be_read_by_every_runtime_that_knows_its_operators():
    """A later opset would shut out older runtimes for nothing."""
    schema = pytest.importorskip("onnx").defs.get_schema
    needed = ("Gelu", "LayerNormalization")
    assert max(schema(name).since_version for name in needed) == onnx._OPSET


@pytest.mark.parametrize(
    ("module", "library"), [("formats", "torch"), ("onnx", "onnx"), ("onnx", "onnxruntime")]
)
def test_a_library_is_needed_by_those_who_export_and_not_by_an_import(module, library):
    """Lists of formats are shown without it, and an export says what to install."""
    assert imported_without(f"pclora_lab.export.{module}", library)


def test_what_a_format_says_of_itself_is_what_others_go_by():
    """Which lose accuracy, which have nothing new to time, which are folders with other files."""
    said = {name: (f.rounds, f.is_eager, f.refuse is not None) for name, f in FORMATS.items()}
    assert said == {
        "standalone": (False, True, True),
        "onnx": (False, False, False),
        "torch_export": (False, False, False),
        "onnx-int8": (True, False, False),
        "plain-int8": (True, True, True),
    }
    assert all(f.open is not None for f in FORMATS.values())


def test_what_a_compiler_warns_of_is_not_shown_while_ways_are_timed(small, monkeypatch):
    def compile(model):
        warnings.warn("no GPU was found", UserWarning, stacklevel=2)
        return model

    monkeypatch.setattr(torch, "compile", compile)
    failed = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(speeds(small, {}, missing=failed.__setitem__)) == {"eager", "compiled"}
    assert failed == {}


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("vit_digits", {"width": 24}, {"embed_dim": 24, "img_size": 8, "num_classes": 3}),
        ("tiny_vit", {}, {"num_classes": 3}),
        ("tiny_vit", {"img_size": 16, "width": 48},
         {"num_classes": 3, "img_size": 16, "embed_dim": 48}),
    ],
)  # fmt: skip
def test_a_loader_builds_the_size_that_was_exported(name, given, options, tmp_path):
    """Its file alone says which size that is: the name of the architecture does not."""
    model = load_model(name, pretrained=False, num_classes=3, **given)
    written = export_standalone(SVD(SVDConfig(rank=2)).apply(model), tmp_path / "plain").path
    told = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert told["architecture"] == name and told["options"].items() >= options.items()
    assert name == "vit_digits" or told["options"] == options
    loaded = open_standalone(Path(written))
    assert loaded.embed_dim == options.get("embed_dim", 24)
    assert loaded.patch_embed.img_size == (options.get("img_size", 8),) * 2


def test_one_example_is_timed_and_compiling_is_the_rule(small, monkeypatch):
    sizes = []
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(
        speeds_module, "call_model", lambda model, inputs: sizes.append(len(inputs))
    )
    assert set(speeds(small, {})) == {"eager", "compiled"}
    # Each of the two once to begin with, and then in nine turns.
    assert sizes == [1] * (2 * (1 + 9))
    sizes.clear()
    assert set(speeds(small, {}, compiled=False, examples=3)) == {"eager"} and set(sizes) == {3}


def test_the_ways_take_turns_and_the_middle_of_their_times_counts(small, monkeypatch):
    times = iter([3.0, 30.0, 1.0, 10.0, 2.0, 20.0] + [2.0, 20.0] * 6)
    monkeypatch.setattr(speeds_module, "timed_ms", lambda run: next(times))
    monkeypatch.setattr(torch, "compile", lambda model: model)
    found = speeds(small, {})
    assert list(found.items()) == [("eager", 2.0), ("compiled", 20.0)]
    assert list(speed_table({})) == []


def test_what_can_not_be_opened_or_is_the_model_itself_is_not_timed(small, tmp_path):
    failed = {}
    written = {"onnx": tmp_path / "no.onnx", "standalone": tmp_path, "somebody's": tmp_path}
    found = speeds(small, written, compiled=False, missing=failed.__setitem__)
    assert set(found) == {"eager"} and set(failed) == {"onnx"}
    with pytest.warns(UserWarning, match=r"onnx can't be timed \(FileNotFoundError: "):
        speeds(small, written, compiled=False)


@pytest.mark.parametrize("name", ["", "README.md", "../up.txt", "a/b.onnx"])
def test_a_format_has_a_file_of_its_own(name):
    with pytest.raises(PluginError, match="is no file name of its own"):
        formats._checked("mine", ExportFormat(name, "", print))
    good = ExportFormat("mine.bin", "", print)
    assert formats._checked("mine", good) is good
    assert (good.open, good.rounds, good.is_eager, good.refuse) == (None, False, False, None)


@pytest.mark.parametrize(
    "error", [RuntimeError, AssertionError, TypeError, AttributeError, ValueError]
)
def test_a_forward_that_can_not_be_followed_is_named_with_the_reason(error):
    def fail(*lines):
        raise error("\n".join(lines))

    told = r"torch.export can't write Linear with .* \(it looks at a size\): use the standalone"
    with pytest.raises(ValueError, match=told):
        torch_export._followed(nn.Linear(1, 1), lambda: fail("", "  it looks at a size ", "more"))
    with pytest.raises(ValueError, match=rf"\({error.__name__}\(''\)\): use"):
        torch_export._followed(nn.Linear(1, 1), lambda: fail(""))
    with pytest.raises(KeyboardInterrupt):
        torch_export._followed(nn.Linear(1, 1), lambda: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize("config", [None, "{ no json", "[]", "{}", '{"low_rank": {}}'])
def test_only_an_earlier_export_is_written_over(config, small, tmp_path):
    refuse_other_files(tmp_path / "nothing")
    refuse_other_files(tmp_path)
    (tmp_path / "load.py").write_text("print('mine')")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match="is not empty, and its files would be mixed"):
        refuse_other_files(tmp_path)
    refuse_other_files(tmp_path, force=True)
    export_standalone(small, tmp_path, force=True)
    refuse_other_files(tmp_path)


def test_a_graph_of_more_than_two_gigabytes_has_its_weights_in_a_file_beside_it(
    small, tmp_path, monkeypatch
):
    """A graph is a message of protobuf, which holds no more."""
    asked = []

    class Program:
        model = SimpleNamespace(graph=SimpleNamespace(all_nodes=list), metadata_props={"a": "b"})

        def save(self, file, external_data):
            asked.append((external_data, dict(self.model.metadata_props)))

    assert onnx._LARGEST == 2 * 1024**3
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: Program())
    for most in (bytes_of(small), bytes_of(small) - 1):
        monkeypatch.setattr(onnx, "_LARGEST", most)
        onnx.write_graph(small, tmp_path / "model.onnx", facts={"fact": "yes"})
    assert asked == [(large, {"fact": "yes", MARK: ""}) for large in (False, True)]


def test_attention_is_written_inside_the_rank_unless_that_is_not_asked_for(
    small, tmp_path, monkeypatch
):
    seen = []

    def export(model, *args, **options):
        seen.append(any(isinstance(m, LowRankAttention) for m in model.modules()))
        assert options["dynamo"] and options["output_names"] == ["logits"]
        raise RuntimeError("nothing more is needed")

    monkeypatch.setattr(torch.onnx, "export", export)
    for options in ({}, {"inside_rank": False}):
        with pytest.raises(RuntimeError, match="nothing more"):
            onnx.write_graph(small, tmp_path / "model.onnx", **options)
    assert seen == [True, False]

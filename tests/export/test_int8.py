"""Weights in 8 bits: how far they may move, what is written, and how accurate it still is."""

import dataclasses
import json
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny import batch, tiny
from torch import nn

from pclora_lab.cli.main import main
from pclora_lab.export import accuracy as accuracy_module
from pclora_lab.export import int8 as int8_module
from pclora_lab.export import onnx as onnx_module
from pclora_lab.export import run as export_run_module
from pclora_lab.export.formats import FORMATS
from pclora_lab.export.int8 import export_onnx_int8, rounded, untied, write_rounded
from pclora_lab.export.onnx import export_onnx, open_onnx
from pclora_lab.export.report import ExportReport
from pclora_lab.export.run import export_run
from pclora_lab.export.speeds import speeds
from pclora_lab.export.standalone import export_standalone, open_standalone
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.nn.forward import call_model
from pclora_lab.ownership import MARK, is_ours
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig

pytest.importorskip("onnxruntime")


def cut(model: nn.Module, rank: int = 8, **more) -> nn.Module:
    return SVD(SVDConfig(rank=rank, **more)).apply(model).eval()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of the embedded text model."""
    method = PCLoRAConfig(rank=4, init="svd", embeddings="low_rank")
    config = RunConfig(model="bert_glosses", data="glosses", method=method, steps=2, batch_size=8,
                       evaluations=1, eval_images=16, report_on="validation")  # fmt: skip
    run = execute(config, tmp_path_factory.mktemp("runs"))
    list(run)
    return run.folder


@pytest.mark.parametrize("shape", [(5, 70), (4, 3, 2, 2), (1, 9)])
def test_no_weight_moves_by_more_than_half_a_scale(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-6, 3, shape[0]).view(-1, *[1] * (len(shape) - 1))
    whole, scale = rounded(weight)
    assert whole.dtype == torch.int8 and whole.abs().max() == 127
    assert ((whole * scale - weight).abs() <= scale / 2 * (1 + 1e-5)).all()
    largest = weight.flatten(1).abs().amax(1)
    assert torch.allclose(scale.flatten() * 127, largest)


def test_a_matrix_of_256_numbers_or_more_is_written_in_8_bits(tmp_path):
    names = {"large": (16, 16), "filters": (4, 4, 4, 4), "small": (15, 17), "vector": (256,)}
    write_rounded({name: torch.randn(shape) for name, shape in names.items()}, tmp_path / "file")
    written = load_file(tmp_path / "file")
    in_8_bits = {name.removesuffix(".int8") for name in written if name.endswith(".int8")}
    assert in_8_bits == {"large", "filters"}
    assert {"small", "vector"} < set(written)


KINDS = {
    "vit": lambda: cut(tiny("vit_digits")),
    "vit_split": lambda: cut(tiny("vit_digits", split_qkv=True)),
    "bert_words": lambda: cut(tiny("bert"), embeddings="low_rank"),
    "gpt2_tied": lambda: cut(tiny("gpt2")),
    "convnext": lambda: cut(tiny("convnext")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_export_in_8_bits_is_the_model_rounded(kind, tmp_path):
    small = KINDS[kind]()
    report = export_standalone(small, tmp_path / "int8", int8=True)
    whole = export_standalone(small, tmp_path / "float")
    assert report.format == "plain-int8"
    tensors = load_file(tmp_path / "int8" / "model.safetensors")
    matrices = [name for name in tensors if name.endswith(".int8")]
    assert matrices and all(tensors[name].dtype == torch.int8 for name in matrices)
    assert all(t.dtype != torch.float32 or t.ndim not in (2, 4) or t.numel() < 256
               for n, t in tensors.items() if not n.endswith(".scale"))  # fmt: skip
    size = (tmp_path / "int8" / "model.safetensors").stat().st_size
    assert size < (tmp_path / "float" / "model.safetensors").stat().st_size
    # Every matrix of the loaded model is the one that was exported, rounded; the rest is exact.
    loaded = open_standalone(tmp_path / "int8").state_dict()
    exact = open_standalone(tmp_path / "float").state_dict()
    assert loaded.keys() == exact.keys()
    for name, value in exact.items():
        whole, scale = rounded(value) if value.is_floating_point() and value.ndim else (value, 1)
        both = (value, whole * scale)
        assert any(torch.equal(loaded[name], expected) for expected in both), name
    inputs = batch(small, examples=4)
    gap = call_model(open_standalone(tmp_path / "int8"), inputs) - call_model(small, inputs)
    assert gap.abs().max() < 0.3 * call_model(small, inputs).abs().max()


def test_a_loader_of_8_bits_needs_no_pclora_lab_and_refuses_other_weights(tmp_path):
    export_standalone(cut(tiny("vit_digits")), tmp_path / "int8", int8=True)
    text = (tmp_path / "int8" / "load.py").read_text()
    assert "pclora_lab" not in text.split('"""')[2]
    done = subprocess.run(
        [sys.executable, "load.py"], cwd=tmp_path / "int8", capture_output=True, text=True
    )
    assert "parameters" in done.stdout, done.stderr
    file = tmp_path / "int8" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    done = subprocess.run(
        [sys.executable, "load.py"], cwd=tmp_path / "int8", capture_output=True, text=True
    )
    assert "is not what was exported" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "bert_words"])
def test_an_onnx_graph_in_8_bits_multiplies_whole_numbers(kind, tmp_path, capsys):
    import onnx

    small = KINDS[kind]()
    report = export_onnx_int8(small, tmp_path / "model_int8.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model_int8.onnx"]
    assert is_ours(tmp_path / "model_int8.onnx") and capsys.readouterr().err == ""
    graph = onnx.load(str(tmp_path / "model_int8.onnx")).graph
    assert sum(node.op_type == "MatMulInteger" for node in graph.node) >= 8
    left = [t for t in graph.initializer if len(t.dims) == 2 and t.data_type == 1]
    kinds = ("MatMul", "Gemm", "Gather")
    used = {name for node in graph.node if node.op_type in kinds for name in node.input[:2]}
    assert not used & {t.name for t in left}
    inputs = batch(small, examples=5)
    named = {"pixel_values": inputs} if isinstance(inputs, torch.Tensor) else inputs
    session = open_onnx(tmp_path / "model_int8.onnx")
    names = [taken.name for taken in session.get_inputs()]
    (logits,) = session.run(None, {name: named[name].numpy() for name in names})
    wanted = call_model(small, inputs)
    assert (torch.from_numpy(logits) - wanted).abs().max() < 0.3 * wanted.abs().max()
    assert 0 < report.max_logit_difference < 0.3 * wanted.abs().max()


@pytest.mark.slow
def test_an_export_of_a_run_says_what_8_bits_cost(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(accuracy_module, "_EXAMPLES", 10**6)  # all, as in the run's result
    out = tmp_path / "out"
    names = "onnx,onnx-int8,standalone,plain-int8"
    command = ["export", str(run_folder), "--out", str(out), "--formats", names, "--json"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    facts = {fact["format"]: fact for fact in json.loads(printed.splitlines()[-1])}
    accuracy = load_run(run_folder).result["accuracy"]
    for name, whole in (("onnx-int8", "onnx"), ("plain-int8", "standalone")):
        assert facts[name]["bytes"] < 0.65 * facts[whole]["bytes"]
        assert facts[name]["float_accuracy"] == pytest.approx(accuracy, abs=1e-9)
        assert abs(facts[name]["accuracy"] - accuracy) < 0.1
        assert facts[whole]["accuracy"] is None
        assert f"accuracy {facts[name]['accuracy']:.1%} (float32 {accuracy:.1%})" in printed
    card = (out / "README.md").read_text()
    assert "plain-int8: " in card and "(float32 " in card
    assert (out / "plain_int8" / "README.md").is_file()
    # Once more over what is there, and not over anything else.
    assert main(command) == 0
    (out / "plain_int8" / "load.py").write_text("print('mine')")
    assert main(command) == 2


def test_where_the_data_are_gone_the_accuracy_is_unknown(run_folder, tmp_path, monkeypatch):
    run = load_run(run_folder)
    gone = dataclasses.replace(run, config={**run.config, "data": str(tmp_path / "gone")})
    monkeypatch.setattr(export_run_module, "load_run", lambda folder: gone)
    with pytest.warns(UserWarning, match="the accuracy of plain-int8 can't be measured"):
        (report,) = export_run(run_folder, tmp_path / "out", ["plain-int8"])
    assert report.accuracy is None and "accuracy" not in str(report)


def test_an_export_that_computes_no_numbers_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(int8_module, "_LARGEST", 0)
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        export_standalone(cut(tiny("vit_digits")), tmp_path / "out", int8=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_a_graph_that_is_refused_is_not_left_on_the_disk(name, monkeypatch, tmp_path):
    def refuse(model, file):
        raise ValueError("not usable")

    module = onnx_module if name == "onnx" else int8_module
    gap = "largest_gap" if name == "onnx" else "finite_gap"
    monkeypatch.setattr(module, gap, refuse)
    (tmp_path / "model.onnx").write_bytes(b"of before, written_by_pclora_lab")
    export = export_onnx if name == "onnx" else export_onnx_int8
    with pytest.raises(ValueError, match="not usable"):
        export(cut(tiny("vit_digits")), tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes().startswith(b"of before")


# Speeds


def test_every_way_is_timed_and_the_fastest_stands_first(run_folder, tmp_path, monkeypatch):
    reports = export_run(run_folder, tmp_path / "out", ["standalone", "torch_export"])
    written = {report.format: tmp_path / "out" / FORMATS[report.format].file for report in reports}
    failed = {}

    def no_compiler(model):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", no_compiler)
    model = from_pretrained(run_folder / "compressed")
    found = speeds(model, written, missing=failed.__setitem__)
    assert set(found) == {"eager", "torch_export"} and set(failed) == {"compiled"}
    assert list(found.values()) == sorted(found.values()) and min(found.values()) > 0
    assert set(speeds(model, {}, compiled=False, examples=3)) == {"eager"}


def test_the_command_line_names_the_fastest(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    out = str(tmp_path / "out")
    assert main(["export", str(run_folder), "--out", out, "--speeds", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "ms per pass, the fastest here" in printed
    (facts,) = [f for f in json.loads(printed.splitlines()[-1]) if "speeds_ms" in f]
    assert set(facts["speeds_ms"]) == {"eager", "compiled"}


def test_a_report_without_data_says_nothing_of_an_accuracy():
    report = ExportReport("onnx-int8", "x", 10, 20, 0.1, 1.0, 2.0)
    assert "accuracy" not in str(report)
    known = dataclasses.replace(report, accuracy=0.5, float_accuracy=0.75, examples=1200)
    assert str(known).endswith("accuracy 50.0% (float32 75.0%) on 1,200 examples")


def test_a_report_tells_sizes_in_millions_of_bytes():
    report = ExportReport("onnx", "x", 20_000_000_000, 90_000_000_000, 0.1, 1.0, 2.0)
    assert str(report).startswith("onnx: 20000.00 MB (dense 90000.00), ")


@pytest.fixture
def graph(tmp_path):
    """A graph of a looked-up word, two products with a matrix, and one of what came out."""
    import onnx
    from onnx import helper, numpy_helper

    torch.manual_seed(0)
    constants = {
        "table": torch.randn(12, 8),
        "weight": torch.randn(8, 6) * torch.logspace(-2, 1, 6),
        "stack": torch.randn(1, 6, 4),
        "bias": torch.randn(6),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], "look"),
        helper.make_node("MatMul", ["words", "weight"], ["wide"], "product"),
        helper.make_node("Add", ["wide", "bias"], ["whole"], "add"),
        helper.make_node("MatMul", ["whole", "stack"], ["thin"], "stacked"),
        helper.make_node("Transpose", ["thin"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["thin", "turned"], ["logits"], "scores"),
    ]
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 3])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 3, 3])
    stored = [numpy_helper.from_array(t.numpy(), name) for name, t in constants.items()]
    made = helper.make_graph(nodes, "small", [ids], [logits], stored)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, int8_module._PREPARED)
    onnx.save(model, str(tmp_path / "float.onnx"))
    return tmp_path / "float.onnx"


def test_matrices_are_written_in_8_bits_by_their_outputs_and_nothing_else_is(graph, tmp_path):
    import onnx

    int8_module._quantize(graph, tmp_path / "small.onnx")
    written = onnx.load(str(tmp_path / "small.onnx"))
    kinds = [node.op_type for node in written.graph.node]
    assert kinds.count("MatMulInteger") == 1 and kinds.count("MatMul") == 2
    stored = {t.name: t for t in written.graph.initializer}
    assert {name for name, t in stored.items() if t.data_type == onnx.TensorProto.FLOAT} >= {
        "stack", "bias",
    }  # fmt: skip
    assert not stored.keys() & {"table", "weight"}
    rounded_ = {n: t for n, t in stored.items() if n.endswith("_quantized")}
    assert {n: t.data_type for n, t in rounded_.items()} == {
        "table_quantized": onnx.TensorProto.UINT8,
        "weight_quantized": onnx.TensorProto.INT8,
    }
    assert list(stored["weight_scale"].dims) == [6], "a scale for every output"
    assert {prop.key for prop in written.metadata_props} == {MARK}
    ids = torch.tensor([[1, 5, 2]]).numpy()
    before, after = (open_onnx(file).run(None, {"ids": ids})[0]
                     for file in (graph, tmp_path / "small.onnx"))  # fmt: skip
    assert abs(before - after).max() < 0.05 * abs(before).max()


def test_a_graph_without_a_matrix_is_not_written(tmp_path):
    import onnx
    from onnx import helper

    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2, 2]) for n in "ab"]
    made = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "r", value[:1], value[1:])
    onnx.save(helper.make_model(made), str(tmp_path / "float.onnx"))
    with pytest.raises(ValueError, match="no matrix that could be written in 8 bits"):
        int8_module._quantize(tmp_path / "float.onnx", tmp_path / "small.onnx")
    assert not (tmp_path / "small.onnx").exists()


def test_a_session_leaves_the_other_processors_alone_and_says_what_it_can_not_read(graph, tmp_path):
    options = open_onnx(graph).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.log_severity_level == 3
    assert open_onnx(str(graph)).get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(FileNotFoundError, match="there is no graph .*: export_onnx writes one"):
        open_onnx(tmp_path / "nothing.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="bad.onnx is no graph that onnxruntime can run"):
        open_onnx(tmp_path / "bad.onnx")


def test_a_file_of_8_bits_may_be_read_by_others_and_holds_a_shared_weight_once(tmp_path):
    net = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16))
    net[1].weight = net[0].weight
    net.register_buffer("count", torch.arange(300).view(20, 15))
    assert set(untied(net)) == {
        "0.weight", "0.bias", "1.bias", "2.weight", "2.bias", "count",
    }  # fmt: skip
    write_rounded(untied(net), tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    assert torch.equal(load_file(tmp_path / "file")["count"], net.count), "whole numbers stay"

"""An auditor outside the package computes every reported number of a run again."""

import json

import pytest
import torch
from auditor import audit, audit_rows, digits_vit, pixels
from marked import MarkedCache, marked_digits
from safetensors.torch import load_file

from pclora_lab import load_model
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, method_class
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig

DATA = marked_digits(train=300, validation=90, test=70)
EXACT = ("params", "macs", "bytes")


def finished(root, **changed):
    """The folder of a short run, and the state of its teacher."""
    config = RunConfig(
        **{"steps": 6, "evaluations": 3, "eval_images": 40, "snapshots": 4, "device": "cpu"}
        | changed
    )
    execution = execute(config, root, cache=MarkedCache(DATA))
    for _ in execution:
        pass
    taught = list((root / "teachers").glob("*/model.safetensors"))
    return execution.folder, load_file(taught[0]) if taught else load_model(
        "vit_digits"
    ).state_dict()


def test_the_auditor_knows_the_model():
    model, x = load_model("vit_digits").eval(), pixels(DATA.test.examples)
    with torch.no_grad():
        torch.testing.assert_close(digits_vit(model.state_dict(), x)[0], model(x))


@pytest.mark.parametrize(
    ("name", "teacher"), [("pclora", "auto"), *((name, "finetune") for name in METHODS)]
)
def test_every_number_of_a_result_is_what_the_auditor_finds(name, teacher, tmp_path):
    method = method_class(name).default_config()
    folder, dense = finished(tmp_path, method=method, teacher=teacher, teacher_steps=3)
    if METHODS[name](method).starts_from != "teacher":
        dense = load_model("vit_digits").state_dict()
    result = json.loads((folder / "result.json").read_text())
    found = audit(folder, DATA, dense)
    if METHODS[name](method).starts_from == "nothing":
        found.pop("teacher_accuracy"), found.pop("params_removed_replaced")
    for key, value in found.items():
        if key.startswith(EXACT):
            assert result[key] == pytest.approx(value, abs=1e-12), key
        else:
            assert result[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("init", ["zeros", "svd", "activation_svd"])
def test_every_row_of_a_fade_is_what_the_auditor_finds(init, tmp_path):
    method = PCLoRAConfig(rank=8, init=init, schedule="sine", fade_end=0.6)
    folder, dense = finished(tmp_path, method=method, teacher="finetune", teacher_steps=3)
    lines = (folder / "history.jsonl").read_text().splitlines()
    rows = {r["step"]: r for r in map(json.loads, lines) if r["phase"] == "fade"}
    audited = audit_rows(folder, DATA, dense)
    assert [row["step"] for row in audited] == [0, 2, 4, 6]
    for found in audited:
        row = rows[found["step"]]
        for key in ("lam", "accuracy", "accuracy_if_base_removed", "teacher_accuracy"):
            assert row[key] == pytest.approx(found[key], abs=1e-6), (found["step"], key)
        if "layer_base_share" in row:
            shares = found["layer_base_share"]
            assert row["layer_base_share"] == pytest.approx(shares, rel=1e-3, abs=1e-5)
            assert row["base_share"] == pytest.approx(sum(shares.values()) / len(shares), rel=1e-3)
    assert "layer_base_share" in rows[0] and "layer_base_share" in rows[6]

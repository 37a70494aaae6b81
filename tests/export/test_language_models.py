"""Causal models taken along: plain files in transformers' own pipeline, ONNX at every length."""

import json
import subprocess
import sys

import pytest
import torch
from causal import causal, continued, is_tied
from tiny_hf import tokenizer

from pclora_lab import compress, get_pclora_model
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.export.int8 import export_onnx_int8
from pclora_lab.export.onnx import export_onnx, open_onnx
from pclora_lab.export.standalone import export_standalone, open_standalone
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import set_progress


def finished(kind):
    """A finished student with a tokenizer, and a setting that its configuration does not have."""
    teacher = causal(kind)
    student = get_pclora_model(teacher, PCLoRAConfig(rank=4, init="svd"))
    set_progress(student, 1.0)
    model = compress(student)
    model.generation_config.update(eos_token_id=[2, 98], repetition_penalty=1.5)
    vars(model)["pclora_text"] = TextPreprocessing(tokenizer(), 12)
    return model


@pytest.fixture(scope="module")
def small():
    return finished("tied llama")


PIPELINE = """
import json, runpy, sys
sys.modules["pclora_lab"] = None
from transformers import AutoTokenizer, pipeline
model = runpy.run_path(sys.argv[1] + "/load.py")["load"]()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=False)
speak = pipeline("text-generation", model=model, tokenizer=tokenizer)
asked = {"add_special_tokens": False, "max_new_tokens": 5, "do_sample": False}
said = speak("w7 w30 w11", return_tensors=True, repetition_penalty=1.0, **asked)
settings = model.generation_config
print(json.dumps([said[0]["generated_token_ids"], settings.eos_token_id,
                  settings.repetition_penalty]))
"""


def test_a_plain_export_speaks_in_transformers_pipeline_without_this_package(tmp_path):
    small = finished("gpt2")
    export_standalone(small, tmp_path / "plain")
    done = subprocess.run(
        [sys.executable, "-c", PIPELINE, tmp_path / "plain"], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, ends, penalty = json.loads(done.stdout.splitlines()[-1])
    own = continued(small, torch.tensor([[7, 30, 11]]), 5)[0].tolist()
    length = next((place for place in range(3, 8) if own[place] in ends), 7) + 1
    assert said == own[:length]
    assert (ends, penalty) == ([2, 98], 1.5)


def test_eight_bits_keep_words_tied_and_speak_nearly_the_same(small, tmp_path):
    report = export_standalone(small, tmp_path / "int8", int8=True)
    loaded = open_standalone(tmp_path / "int8")
    assert is_tied(loaded) and report.max_logit_difference > 0
    ids = torch.randint(5, 90, (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        best = [model(ids).logits.argmax(-1) for model in (loaded, small)]
    assert (best[0] == best[1]).float().mean() > 0.8


@pytest.mark.parametrize(("export", "most"), [(export_onnx, 1e-5), (export_onnx_int8, 0.35)])
def test_a_graph_takes_any_batch_and_length(small, tmp_path, export, most):
    pytest.importorskip("onnxruntime")
    export(small, tmp_path / "model.onnx")
    session = open_onnx(tmp_path / "model.onnx")
    assert [given.shape for given in session.get_inputs()] == [["batch", "tokens"]] * 2
    for batch, tokens, padded in ((1, 1, 0), (1, 7, 0), (3, 12, 4), (2, 16, 1)):
        ids = torch.randint(5, 90, (batch, tokens), generator=torch.Generator().manual_seed(tokens))
        mask = torch.ones_like(ids)
        mask[0, tokens - padded :] = 0
        named = {"input_ids": ids, "attention_mask": mask}
        (logits,) = session.run(None, {name: value.numpy() for name, value in named.items()})
        with torch.no_grad():
            wanted = small(**named).logits
        assert logits.shape == wanted.shape
        gap = (torch.from_numpy(logits) - wanted)[mask.bool()].abs().max()
        assert gap < most * wanted.abs().max(), (batch, tokens)

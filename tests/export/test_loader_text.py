"""The text of ``load.py``: what it imports, and which class it builds."""

import ast

import pytest

from pclora_lab.export.loader_text import loader_text

TIMM = {"architecture": "test_vit"}
DIGITS = {"architecture": "vit_digits"}


def hf(task: str) -> dict:
    return {"library": "transformers", "task": task}


RECIPES = [
    (TIMM, "import timm", 'timm.create_model(config["architecture"], **config["options"])'),
    (DIGITS, "from timm.models import VisionTransformer", 'VisionTransformer(**config["options"])'),
    *((hf(task), f"from transformers import AutoConfig, {name}",
       f'{name}.from_config(AutoConfig.for_model(**config["transformers"]))')
      for task, name in (
          ("text-classification", "AutoModelForSequenceClassification"),
          ("image-classification", "AutoModelForImageClassification"),
          ("language-model", "AutoModelForCausalLM"), ("image-text", "AutoModel"))),
]  # fmt: skip


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("has_split", [False, True])
@pytest.mark.parametrize(("recipe", "imports", "build"), RECIPES)
def test_a_loader_imports_what_it_uses_and_nothing_else(recipe, imports, build, has_split, int8):
    text = loader_text(recipe, has_split, int8)
    tree = ast.parse(text)
    library = "transformers" if "library" in recipe else "timm"
    assert ast.get_docstring(tree) == f"Load this model with {library} and safetensors alone."
    lines = text.splitlines()
    assert imports in lines and f"    model = {build}" in lines
    assert ("import torch" in lines) is ("class SideBySide(nn.ModuleDict):" in lines) is has_split
    reads = "load_file" if int8 else "load_model"
    assert f"from safetensors.torch import {reads}" in lines
    assert (".int8" in text) is int8 and (".scale" in text) is int8
    own = [line for line in lines if line.startswith(("import ", "from "))][3:]
    plain = [line for line in own if line.startswith("import")]
    assert own == [*sorted(plain), *sorted(line for line in own if line not in plain)]
    assert ("SideBySide()" in text) is has_split
    assert ("model.set_submodule(name, pair)" in text) is not has_split

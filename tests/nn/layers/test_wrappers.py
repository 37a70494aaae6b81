"""Adapters of another library are merged before a model is taken, or refused."""

import peft
import pytest
import torch
from tiny_hf import config
from transformers import AutoModelForSequenceClassification

from pclora_lab.nn.layers.wrappers import unwrapped


def test_an_adapter_inside_a_model_of_transformers_is_merged():
    """As its own ``add_adapter`` leaves it: no wrapper, and yet the model has a base model."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config("bert")).eval()
    adapter = peft.LoraConfig(target_modules=["query"], init_lora_weights=False, r=2)
    peft.inject_adapter_in_model(adapter, model)
    assert hasattr(model, "base_model")
    ids = torch.arange(6)[None]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        plain = unwrapped(model)
        torch.testing.assert_close(plain(input_ids=ids).logits, expected)
    kinds = {kind.__name__ for module in plain.modules() for kind in type(module).__mro__}
    assert not any("Lora" in kind for kind in kinds)


def test_an_adapter_that_is_not_finite_is_not_merged():
    model = peft.get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(4, 4)),
        peft.LoraConfig(target_modules=["0"], init_lora_weights=False, r=2),
    )
    with torch.no_grad():
        model.base_model.model[0].lora_A["default"].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="can't be merged: NaNs detected"):
        unwrapped(model)

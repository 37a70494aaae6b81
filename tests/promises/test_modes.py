"""Whoever looks at a model measures it in eval mode and leaves it as it was, after an error too."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pclora_lab import load_model
from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.splits import Split
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.input_moments import measure_inputs
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import base_share, compress
from pclora_lab.methods.registry import METHODS, make_method, method_class
from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.training.evaluation import accuracy
from pclora_lab.training.measuring.layer_probe import LayerProbe

X = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = np.arange(24) % 10


class Known(ImageBatches):
    """The images above, as they are."""

    def __init__(self):
        self.labels = torch.as_tensor(Y)

    def inputs(self, indices, device=None):
        return X[indices]


def moody():
    """A model whose answer is another one in training mode, and whose parts are in both modes."""
    model = load_model("vit_digits")
    for block in model.blocks:
        block.mlp.drop1 = nn.Dropout(0.5)
    model.norm = nn.Sequential(model.norm, nn.Identity())
    model.train()
    model.blocks[1].eval()
    return model


def faded(model, lam=0.4):
    student = get_pclora_model(model, PCLoRAConfig(rank=4, init="svd", fade_end=1.0))
    for module in student.modules():
        if hasattr(module, "lam"):
            module.lam.fill_(lam)
    student.train()
    student.blocks[1].eval()
    return student


def linears(model):
    return {n: m for n, m in model.named_modules() if n.endswith("fc1")}


def probe(student):
    teacher = load_model("vit_digits")
    method = make_method(PCLoRAConfig(rank=4))
    names = list(linears(teacher))
    return LayerProbe(method, student, teacher, names, X[:8]).measure()["layer_mse"]


LOOKS = {
    "accuracy": lambda m: accuracy(m, Known()),
    "calibration": lambda m: {
        n: x.covariance.trace().item() for n, x in measure_inputs(m, linears(m), [X[:8]]).items()
    },
    "counting": lambda m: count_model(m).macs,
    "macs": lambda m: count_macs(m, X[:1]),
    "a teacher's answer": lambda m: Distiller(faded(m), m).teacher_logits(X[:4]).sum().item(),
}
STUDENT_LOOKS = {
    "share of the base": lambda s: base_share(s, X[:8]),
    "probe": probe,
    "accuracy": lambda s: accuracy(s, Known()),
}


def method_start(model, name):
    generator = torch.Generator().manual_seed(0)
    context = MethodContext(calibration=[X], generator=generator, example=X[:1])
    student = make_method(method_class(name).default_config()).apply(model, context)
    return float(sum(p.detach().double().abs().sum() for p in student.parameters()))


# Nothing of the given model is in a small one that is trained from scratch.
for _name in METHODS:
    if METHODS[_name](METHODS[_name].default_config()).starts_from != "nothing":
        LOOKS[f"start of {_name}"] = partial(method_start, name=_name)


def state_of(model):
    return (
        [m.training for m in model.modules()],
        [m._forward_hooks.keys() | m._forward_pre_hooks.keys() for m in model.modules()],
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        [(x.dtype, x.nan_to_num(-1).sum().item()) for x in model.state_dict().values()],
        [p.grad for p in model.parameters()],
    )


@pytest.mark.parametrize("what", LOOKS)
def test_a_look_at_a_model_is_one_in_eval_mode_and_changes_nothing(what):
    model = moody()
    before = state_of(model)
    first, again = LOOKS[what](model), LOOKS[what](model)
    assert state_of(model) == before
    assert first == again == LOOKS[what](model.eval())


@pytest.mark.parametrize("what", STUDENT_LOOKS)
def test_a_look_at_a_student_is_one_in_eval_mode_and_changes_nothing(what):
    student = faded(moody())
    before = state_of(student)
    first, again = STUDENT_LOOKS[what](student), STUDENT_LOOKS[what](student)
    assert state_of(student) == before
    assert first == again == STUDENT_LOOKS[what](student.eval())


@pytest.mark.parametrize("what", ["accuracy", "calibration", "counting", "start of pclora"])
def test_an_error_leaves_the_model_as_it_was(what):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken on purpose")

    model = moody()
    model.blocks[2].mlp.act = Broken()
    before = state_of(model)
    with pytest.raises((RuntimeError, ValueError), match="broken on purpose"):
        LOOKS[what](model)
    assert state_of(model) == before


def test_the_finished_model_is_in_eval_mode_and_the_student_as_it_was():
    student = faded(moody())
    set_progress(student, 1.0)
    before = state_of(student)
    small = compress(student)
    assert state_of(student) == before and not any(m.training for m in small.modules())


def test_evaluation_reads_all_examples_once_and_a_limit_is_spread_evenly():
    asked = []

    class Spied(Known):
        def inputs(self, indices, device=None):
            asked.extend(indices.tolist())
            return super().inputs(indices, device)

    model = load_model("vit_digits")
    with torch.no_grad():
        right = (model.eval()(X).argmax(1).numpy() == Y).tolist()
    assert accuracy(model, Spied(), batch_size=7) == sum(right) / 24 and sorted(asked) == [
        *range(24)
    ]
    asked.clear()
    some = [0, 6, 12, 17, 23]
    assert accuracy(model, Spied(), limit=5, batch_size=2) == sum(right[i] for i in some) / 5
    assert sorted(asked) == some


def test_a_split_of_images_is_what_its_files_hold():
    from PIL import Image

    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(20)]
    split = Split([Image.fromarray(p) for p in pictures], np.zeros(20, dtype=int))
    preprocessing = Preprocessing((1, 8, 8), (0.2,), (0.4,), "bilinear", 1.0)
    batches = ImageBatches(split, preprocessing)
    wanted = (torch.tensor(np.stack(pictures))[:, None] / 255 - 0.2) / 0.4
    for _ in range(2):  # decoded, then from the cache
        torch.testing.assert_close(batches.inputs(torch.arange(20).flip(0)), wanted.flip(0))

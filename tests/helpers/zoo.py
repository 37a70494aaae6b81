"""One architecture through the whole way, from a folder of its library to an export."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm_rows import TIMM
from tiny_hf import auto_class, write_model
from torch import nn

from pclora_lab import from_pretrained, load_model, save_pretrained
from pclora_lab.export.standalone import export_standalone
from pclora_lab.export.torch_export import export_torch_program
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.nn.forward import as_inputs, call_model, try_inputs
from pclora_lab.nn.sizes import plan
from pclora_lab.nn.surgery import is_linear
from pclora_lab.tasks.losses import classification_loss, contrastive_loss, language_model_loss

STEPS = ("load", "count", "fade", "compress", "save", "standalone", "torch_export")
WORKS = "works"
# Without one of these there is no next one; exports stand beside each other.
_NEEDED = STEPS[:4]


def hidden_words_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As if every word were hidden."""
    return classification_loss(logits.flatten(0, 1), labels.flatten())


_LOSSES = {
    "language-model": language_model_loss,
    "masked-language-model": hidden_words_loss,
    "image-text": contrastive_loss,
}


class Walk:
    """How far an architecture comes.

    Args:
        load: gives the dense model.
        folder: for what is saved and exported.
        config: of the student.
        steps: which of them to go.

    Attributes:
        steps: by name, ``works`` or why it was refused; nothing behind a refused one.
        facts: layers, parameters and MACs, before and after.
    """

    def __init__(
        self,
        load: Callable[[], nn.Module],
        folder: Path,
        config: PCLoRAConfig = PCLoRAConfig(rank=2, init="svd"),  # noqa: B008
        steps: Sequence[str] = STEPS,
    ) -> None:
        self.load_model, self.folder, self.config, self.wanted = load, folder, config, steps
        self.steps: dict[str, str] = {}
        self.facts: dict[str, Any] = {}

    def run(self) -> "Walk":
        for step in self.wanted:
            try:
                getattr(self, step)()
            except ValueError as error:
                self.steps[step] = str(error)
                if step in _NEEDED:
                    break
            else:
                self.steps[step] = WORKS
        return self

    def load(self) -> None:
        self.teacher = self.load_model().eval()
        self.inputs = as_inputs(try_inputs(self.teacher, examples=4))
        with torch.no_grad():
            self.before = call_model(self.teacher, self.inputs)
        linears = sum(is_linear(module) for module in self.teacher.modules())
        self.facts["linear"] = linears
        self.facts["parameters"] = sum(p.numel() for p in self.teacher.parameters())

    def count(self) -> None:
        chosen = {"targets": self.config.targets, "embeddings": self.config.embeddings}
        counts = count_model(self.teacher, **chosen)
        self.sizes = plan(counts, self.config.rank)
        whole = self.sizes.whole_model
        self.facts |= {
            "replaced": len(counts.layers),
            "replaced_share": self.sizes.replaced.params_before / whole.params_before,
            "parameters_after": whole.params_after,
            "macs": whole.macs_before,
            "macs_after": whole.macs_after,
        }

    def fade(self) -> None:
        """Three steps to λ = 0; every factor learns, and the teacher does not."""
        student = get_pclora_model(self.teacher, self.config)
        with torch.no_grad():
            first = call_model(student.eval(), self.inputs)
        torch.testing.assert_close(first, self.before, atol=1e-4, rtol=1e-4)
        loss = _LOSSES.get(self.teacher.pclora_recipe.get("task"), classification_loss)
        labels = torch.tensor([0, 1, 2, 0])
        if loss in (language_model_loss, hidden_words_loss):
            labels = self.inputs["input_ids"]
        distiller = Distiller(student, self.teacher, task_loss=loss)
        named = student.named_parameters()
        factors = {n: p.detach().clone() for n, p in named if n.rpartition(".")[2] in "AB"}
        trained = [p for p in student.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        for step in range(3):
            set_progress(student, step / 3)
            total_loss(distiller.terms(self.inputs, labels), self.config).backward()
            optimizer.step()
            optimizer.zero_grad()
        set_progress(student, 1.0)
        distiller.close()
        still = [n for n, p in student.named_parameters() if n in factors and p.equal(factors[n])]
        assert not still, still
        with torch.no_grad():
            after = call_model(self.teacher, self.inputs)
        torch.testing.assert_close(after, self.before, msg="the teacher has changed")
        self.student = student.eval()

    def compress(self) -> None:
        """It is the student, and as small as planned."""
        self.small = compress(self.student)
        with torch.no_grad():
            small, student = (call_model(m, self.inputs) for m in (self.small, self.student))
        torch.testing.assert_close(small, student)
        whole = self.sizes.whole_model
        assert sum(p.numel() for p in self.small.parameters()) == whole.params_after
        assert count_macs(self.small) == whole.macs_after
        assert whole.params_after < whole.params_before

    def save(self) -> None:
        again = from_pretrained(save_pretrained(self.small, self.folder / "small"))
        theirs, own = again.state_dict(), self.small.state_dict()
        assert theirs.keys() == own.keys()
        assert all(torch.equal(theirs[key], own[key]) for key in own)
        with torch.no_grad():  # where a tensor lies in memory changes the order of a sum
            torch.testing.assert_close(
                call_model(again, self.inputs), call_model(self.small, self.inputs)
            )

    def standalone(self) -> None:
        plain = self.folder / "plain"
        report = export_standalone(self.small, plain)
        assert report.max_logit_difference < 1e-4 and report.bytes > 0
        assert {p.name for p in plain.iterdir()} >= {"load.py", "model.safetensors"}
        assert "pclora" not in (plain / "load.py").read_text()

    def torch_export(self) -> None:
        report = export_torch_program(self.small, self.folder / "model.pt2")
        assert report.max_logit_difference < 1e-4


def row(name: str, folder: Path) -> Callable[[], nn.Module]:
    """What loads the model of a row: ``timm_`` and a module of timm, or one of transformers."""
    if not name.startswith("timm_"):
        return lambda: hf_model(name, folder / "theirs")
    model, side, options = TIMM[name.removeprefix("timm_")]
    return lambda: timm_model(model, folder / "theirs", side, **options)


def hf_model(kind: str, folder: Path) -> nn.Module:
    """transformers' tiny model by way of a folder; it computes what transformers' own does."""
    write_model(folder, kind)
    model = load_model(folder)
    theirs = auto_class(kind).from_pretrained(folder).eval()
    inputs = try_inputs(model)
    with torch.no_grad():
        torch.testing.assert_close(call_model(model, as_inputs(inputs)), theirs(**inputs).logits)
    return model


def timm_model(name: str, folder: Path, side: int | None = None, **options: Any) -> nn.Module:
    """timm's model by way of a folder; it computes what timm's own does.

    Args:
        name: timm's.
        folder: is made.
        side: of its input in pixels; convolutional models take any, and are not built for one.
        options: of the architecture.
    """
    torch.manual_seed(0)
    size = {} if side is None else {"img_size": side}
    try:
        theirs = timm.create_model(name, num_classes=3, **size, **options)
    except TypeError:
        size = {}
        theirs = timm.create_model(name, num_classes=3, **options)
    config = {"architecture": name, "num_classes": 3, "model_args": {**size, **options}}
    config["pretrained_cfg"] = {**theirs.pretrained_cfg, "num_classes": 3}
    if side is not None:
        config["pretrained_cfg"]["input_size"] = (3, side, side)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    # As timm writes it: shared tensors under each of their names.
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    model = load_model(folder)
    inputs = as_inputs(try_inputs(model))
    with torch.no_grad():
        torch.testing.assert_close(call_model(model, inputs), call_model(theirs.eval(), inputs))
    return model

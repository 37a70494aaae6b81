"""Code that loads a run's finished model and asks it something."""

__all__ = ["loading_code"]

_IMAGES = """\
import torch
from PIL import Image
from pclora_lab import from_pretrained
from pclora_lab.data import Preprocessing
from pclora_lab.nn import call_model

model = from_pretrained("compressed")  # a torch.nn.Module, on the CPU, in eval mode
prepare = Preprocessing.of(model)
pixels = prepare.normalize(prepare.to_bytes()(Image.open("picture.png")))
with torch.no_grad():
    logits = call_model(model, pixels[None])
print(model.pclora_class_names[logits.argmax()])
"""

_TEXTS = """\
import torch
from pclora_lab import from_pretrained
from pclora_lab.nn import call_model

model = from_pretrained("compressed")  # a torch.nn.Module, on the CPU, in eval mode
inputs = model.pclora_text.encode([{text}])
with torch.no_grad():
    logits = call_model(model, inputs)
print(model.pclora_class_names[logits.argmax()])
"""

_TEXT, _PAIR = '"Any text."', '("The first text.", "The second one.")'


def loading_code(is_text: bool | None, is_paired: bool = False) -> str:
    """Python that is run in the folder of the run.

    Args:
        is_text: what the model reads; None where nothing says so: then it is only loaded.
        is_paired: whether one example is a pair of texts.

    Example:
        >>> print(loading_code(None))
        from pclora_lab import from_pretrained
        <BLANKLINE>
        model = from_pretrained("compressed")  # a torch.nn.Module, on the CPU, in eval mode
        <BLANKLINE>
    """
    if is_text is None:
        lines = _IMAGES.splitlines(keepends=True)
        return "".join(line for line in lines if "from_pretrained" in line).replace("\n", "\n\n", 1)
    return _TEXTS.format(text=_PAIR if is_paired else _TEXT) if is_text else _IMAGES

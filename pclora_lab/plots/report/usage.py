"""Code that loads a run's finished model and asks it something."""

__all__ = ["loading_code"]

_LOAD = 'model = from_pretrained("compressed")'
_IMAGES = """\
from PIL import Image
from pclora_lab import from_pretrained
from pclora_lab.data import Preprocessing

{load}
prepare = Preprocessing.of(model)
picture = prepare.to_bytes()(Image.open("picture.png"))
{outputs} = model(prepare.normalize(picture)[None]){of_output}
print({answer})
"""

_TEXTS = """\
from pclora_lab import from_pretrained

{load}
inputs = model.pclora_text.encode([{text}])
{outputs} = model(**inputs){of_output}
print({answer})
"""

_TEXT, _PAIR = '"Any text."', '("The first text.", "The second one.")'


def loading_code(
    is_text: bool | None,
    is_paired: bool = False,
    has_output: bool = False,
    said: tuple[str, str] = ("outputs", "outputs.shape"),
) -> str:
    """Python that is run in the folder of the run.

    Args:
        is_text: what the model reads; None where nothing says so: then it is only loaded.
        is_paired: whether one example is a pair of texts.
        has_output: whether it is a model of transformers, which returns its logits in an object.
        said: from :meth:`pclora_lab.tasks.Task.output_code`.

    Example:
        >>> print(loading_code(None))
        from pclora_lab import from_pretrained
        <BLANKLINE>
        model = from_pretrained("compressed")
        <BLANKLINE>
    """
    if is_text is None:
        return f"from pclora_lab import from_pretrained\n\n{_LOAD}\n"
    text, code = _PAIR if is_paired else _TEXT, _TEXTS if is_text else _IMAGES
    outputs, answer = said
    of_output = ".logits" if has_output else ""
    return code.format(load=_LOAD, text=text, of_output=of_output, outputs=outputs, answer=answer)

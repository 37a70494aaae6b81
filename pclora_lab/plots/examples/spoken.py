"""How teacher and student go on with a text: each token as blue as the model was sure of it."""

import html

from pclora_lab.plots.palette import HUES
from pclora_lab.runs.replay import Predictions
from pclora_lab.tasks.outputs import Continuation

__all__ = ["HOW_TO_READ", "continuation_html", "spoken_html"]

HOW_TO_READ = (
    "In italics is what both were given to go on with. Behind it stands each time the likeliest "
    "token, the bluer the more probable it was; ∎ is an end that the model set."
)

# Of a token that is certain; dark letters stay readable on it, and light ones on a dark page.
_MOST_OPAQUE = 0.5


def continuation_html(continuation: Continuation) -> str:
    """A prompt and what was added to it, as HTML in which nothing of the texts is markup.

    Example:
        >>> continuation_html(Continuation("a", (" <b>",), (0.5,), True))
        '<i>a</i><span title="50%" style="background:rgba(0,114,178,0.25)"> &lt;b&gt;</span> ∎'
    """
    red, green, blue = bytes.fromhex(HUES["blue"].light[1:])
    words = "".join(
        f'<span title="{share:.0%}" style="background:rgba({red},{green},{blue},'
        f'{_MOST_OPAQUE * share:.2f})">{html.escape(word)}</span>'
        for word, share in zip(continuation.tokens, continuation.probabilities, strict=True)
    )
    end = " ∎" if continuation.is_ended else ""
    return f"<i>{html.escape(continuation.prompt)}</i>{words}{end}"


def spoken_html(predictions: Predictions, index: int) -> tuple[str, str]:
    """What teacher and student add to one example, as HTML; empty where the task says nothing.

    Args:
        predictions: of both models.
        index: of the example among them.
    """
    if predictions.continuations is None:
        return "", ""
    teacher, student = (continuation_html(said[index]) for said in predictions.continuations)
    return f"<bdi>{teacher}</bdi>", f"<bdi>{student}</bdi>"

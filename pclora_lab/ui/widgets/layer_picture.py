"""One replaced layer as it is now, and all of them as small squares; drawn by layer_picture.js."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bool, Dict, Float, Int, List, Unicode

from pclora_lab.plots.palette import HUES

__all__ = ["LayerPicture"]

_HERE = Path(__file__).parent
_STYLE = (_HERE / "layer_picture.css").read_text()
_SCRIPT = "\n".join(
    (_HERE / f"layer_{part}.js").read_text() for part in ("shapes", "hand", "picture")
)
_HUES = {"base": "blue", "share": "sky", "adapter": "vermillion"}
_DARK = ('[data-jp-theme-light="false"]', ":not([data-jp-theme-light])")


def _colors() -> str:
    """The palette as CSS, for JupyterLab's theme or, where there is none, the browser's."""
    light, dark = (
        ".pclora-layer { " + "; ".join(f"--{n}: {HUES[h][page]}" for n, h in _HUES.items()) + " }"
        for page in (False, True)
    )
    told, preferred = (f"body{page} {dark}" for page in _DARK)
    return f"{light}\n{told}\n@media (prefers-color-scheme: dark) {{ {preferred} }}\n"


def _ignore(_: Any) -> None:
    """Nobody asked."""


class LayerPicture(anywidget.AnyWidget):
    """Draws a layer from a few numbers, and tells what a person did with it.

    The areas of W, A and B are as their numbers of weights, the widths of both ways through the
    layer as their shares of its output. What is not known is not drawn: W is hatched then.

    Args:
        on_choose: called with the name of the layer that was clicked.
        on_lambda: called with λ, in [0, 1], where W was dragged.
        on_rank: called with the rank, from 1 to ``largest_rank``, where A's edge was dragged.

    Attributes:
        layers: dicts with ``name``, ``ins``, ``outs``, ``column``, ``row``, ``offset`` (the text
            beside B: ``C``, ``b`` or none) and ``table`` (whether it is a table of words).
        ranks: of the layers, in their order; None where there is none or it is not known.
        shares: of the layers, in their order: see ``shares_of``. Empty where not measured.
        shares_of: ``base`` (of the output that comes from W), ``changes`` (of the weights that may
            change) or ``""`` where nothing is measured.
        missing: why there are no shares.
        measured_at: step of the shares, or None.
        parts: which of ``base``, ``factors`` and ``changes`` the layer has, and if it ``fades``.
        formula: how they add up.
        note: one sentence in place of a picture; empty where there is one.
        chosen: name of the layer that is drawn large.
        lam: λ, or None.
        base_held: whether W is still there.
        lambda_can_be_set: whether W can be dragged.
        rank_can_be_set: whether A's edge can be dragged.
        largest_rank: as far as it can.

    Example:
        >>> heard = []
        >>> picture = LayerPicture(on_lambda=heard.append)
        >>> picture.lambda_can_be_set = True
        >>> picture._handle_custom_msg({"event": "lambda", "value": 0.5}, [])
        >>> heard, picture.lam
        ([0.5], 0.5)
    """

    _esm = _SCRIPT
    _css = _colors() + _STYLE

    layers = List(Dict()).tag(sync=True)
    ranks: "List[int | None]" = List(Int(allow_none=True)).tag(sync=True)
    shares: "List[Any]" = List(Float(allow_none=True)).tag(sync=True)
    shares_of = Unicode("").tag(sync=True)
    missing = Unicode("not measured yet").tag(sync=True)
    measured_at = Int(None, allow_none=True).tag(sync=True)
    parts = Dict().tag(sync=True)
    formula = Unicode("").tag(sync=True)
    note = Unicode("").tag(sync=True)
    # The page has chosen already when it tells; an echo could only undo what it chose since.
    chosen = Unicode("").tag(sync=True, echo_update=False)
    lam = Float(None, allow_none=True).tag(sync=True)
    base_held = Bool(True).tag(sync=True)
    lambda_can_be_set = Bool(False).tag(sync=True)
    rank_can_be_set = Bool(False).tag(sync=True)
    largest_rank = Int(1).tag(sync=True)

    def __init__(
        self,
        on_choose: Callable[[str], object] = _ignore,
        on_lambda: Callable[[float], object] = _ignore,
        on_rank: Callable[[int], object] = _ignore,
    ) -> None:
        self._on_choose, self._on_lambda, self._on_rank = on_choose, on_lambda, on_rank
        super().__init__()
        self.layout.width = "100%"
        self.on_msg(self._take_in)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        """Only what the page may ask for at this moment; anybody can send a message."""
        match content:
            case {"event": "choose", "name": str(name)}:
                self._choose(name)
            case {"event": "lambda", "value": float() | int() as lam} if type(lam) is not bool:
                if self.lambda_can_be_set and 0 <= lam <= 1:
                    self.lam = lam = float(lam)
                    self._on_lambda(lam)
            case {"event": "rank", "value": int(rank)} if type(rank) is not bool:
                if self.rank_can_be_set and 1 <= rank <= self.largest_rank:
                    self.ranks = [None if before is None else rank for before in self.ranks]
                    self._on_rank(rank)

    def _choose(self, name: str) -> None:
        if any(layer["name"] == name for layer in self.layers):
            self.set_state({"chosen": name})
            self._on_choose(name)

"""A plotly figure in the page; however many there are, plotly's script travels once."""

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import plotly.graph_objects as go
import traitlets

from pclora_lab.json_files import to_json
from pclora_lab.ui.closing import for_all
from pclora_lab.ui.widgets.run_axis import RunAxis

__all__ = ["Chart", "Click", "PlotlyScript", "plotly_script"]

_HERE = Path(__file__).parent
_PARTS = ("script", "axis", "reading", "tools", "render")

Click = Mapping[str, Any]
"""What was clicked: ``curve`` and ``point``, numbers from 0, and the point's ``x`` and ``y``."""


class PlotlyScript(anywidget.AnyWidget):
    """What draws charts, plotly's script packed: a page that shows charts asks for it once.

    plotly's own ``FigureWidget`` brings five megabytes with every figure, and a page that is loaded
    anew is sent those of every figure that the kernel has ever made.

    Attributes:
        packed: plotly's script, with gzip.
        code: our own, as a module.
        version: of plotly; a page keeps one script of each.
    """

    _esm = "export default {};"

    packed = traitlets.Bytes().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    version = traitlets.Unicode().tag(sync=True)


@lru_cache(maxsize=1)
def _packed() -> bytes:
    script = resources.files("plotly") / "package_data" / "plotly.min.js"
    return gzip.compress(script.read_bytes(), compresslevel=6, mtime=0)


def _code() -> str:
    return "\n".join((_HERE / f"chart_{part}.js").read_text() for part in _PARTS)


_making = threading.Lock()
_scripts: list[PlotlyScript] = []


def plotly_script() -> PlotlyScript:
    """The one widget that holds the script; another one where somebody has closed it."""
    with _making:
        if not _scripts or _scripts[0].comm is None:
            made = PlotlyScript(packed=_packed(), code=_code(), version=version("plotly"))
            _scripts[:] = [for_all(made)]
        return _scripts[0]


class Chart(anywidget.AnyWidget):
    """Shows a plotly figure, as wide as there is room, and draws it anew when it is told to.

    A page is always sent the whole figure: one that is loaded anew shows what others show. What a
    person has zoomed or hidden stays, as long as the figure's ``layout.uirevision`` does.

    Args:
        figure: what is shown; change it in :meth:`changing`.
        label: what it shows, for readers who can't see it.
        narrow: what is otherwise where there is little room: parts of ``layout`` and of each trace
            in ``data``.
        narrow_below: pixels that are little room.
        axis: of a run, whose charts share steps or time, a crosshair and the timeline's cursor; x
            of the figure are steps then.
        chooses_axis: whether the switch between steps and time stands on this chart.

    Attributes:
        figure: a plain plotly figure.

    Example:
        >>> chart = Chart(go.Figure(), label="a line")
        >>> with chart.changing() as figure:
        ...     _ = figure.add_scatter(x=[1, 2], y=[3, 4])
        >>> '"y":[3,4]' in chart.spec
        True
    """

    _esm = _HERE / "chart.js"
    _css = _HERE / "chart.css"

    spec = traitlets.Unicode("{}").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    narrow = traitlets.Unicode("{}").tag(sync=True)
    narrow_below = traitlets.Int(700).tag(sync=True)
    axis = traitlets.Instance(RunAxis, allow_none=True).tag(
        sync=True, **widgets.widget_serialization
    )
    chooses_axis = traitlets.Bool(False).tag(sync=True)
    script = traitlets.Instance(PlotlyScript).tag(sync=True, **widgets.widget_serialization)

    def __init__(
        self,
        figure: go.Figure,
        label: str = "",
        narrow: Mapping[str, Any] | None = None,
        *,
        narrow_below: int = 700,
        axis: RunAxis | None = None,
        chooses_axis: bool = False,
    ) -> None:
        self.figure = figure
        if figure.layout.uirevision is None:
            figure.layout.uirevision = "first"
        self._on_click: list[Callable[[Click], object]] = []
        super().__init__(
            script=plotly_script(),
            spec=_sent(figure),
            label=label,
            narrow=to_json(narrow or {}),
            narrow_below=narrow_below,
            axis=axis,
            chooses_axis=chooses_axis,
        )
        self.layout.width = "100%"
        self.on_msg(self._take_in)

    @contextmanager
    def changing(self) -> Iterator[go.Figure]:
        """Change the figure inside; it is drawn once, at the end."""
        yield self.figure
        self.spec = _sent(self.figure)

    def on_click(self, callback: Callable[[Click], object]) -> None:
        """Call back when a person clicks a point."""
        self._on_click.append(callback)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, dict) or content.get("event") != "click":
            return
        curve, point = content.get("curve"), content.get("point")
        if curve not in range(len(self.figure.data)) or not isinstance(point, int) or point < 0:
            return  # of a figure that has changed since
        for callback in self._on_click:
            callback({"curve": curve, "point": point, "x": content.get("x"), "y": content.get("y")})


def _sent(figure: go.Figure) -> str:
    text = figure.to_json(validate=False)
    assert isinstance(text, str)
    return text

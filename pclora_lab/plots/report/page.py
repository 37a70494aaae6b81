"""The page around a report's parts: one file, no script, light or dark, two pages in print."""

import html
import re
from collections.abc import Iterable, Sequence

from pclora_lab.plots.palette import HUES, PAGES

__all__ = ["code_html", "name_html", "page_html", "section", "table_html"]

_COLORS = {
    "page": PAGES,
    "student": HUES["blue"],
    "removed": HUES["vermillion"],
    "teacher": HUES["gray"],
    "before": HUES["guide"],
    "lam": HUES["sky"],
}
_LIGHT = "--text:#1b2430;--soft:#5b6673;--rule:#dfe3e8;--code:#f4f6f8;--good:#00694c"
_DARK = "--text:#e6e6e6;--soft:#a8b0b8;--rule:#3a3a3a;--code:#1d1f21;--good:#4cc59f"

_STYLE = """
:root{color-scheme:light dark;LIGHT}
@media screen and (prefers-color-scheme:dark){:root{DARK}}
@page{size:A4;margin:13mm 14mm}
*{box-sizing:border-box}
html{font-size:15.5px}
body{font:1rem/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--text);
background:var(--page);max-width:50rem;margin:2rem auto;padding:0 1.2rem;overflow-wrap:anywhere}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.05rem;margin:0 0 .4rem}
section{margin:1.5rem 0 0;break-inside:avoid}
.lead{font-size:1.1rem;line-height:1.5;margin:0}
.caption,.legend,small{color:var(--soft);font-size:.84rem}
.caption{margin:.35rem 0 0}
.legend{margin:0 0 .2rem;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:400;color:var(--soft)}
tr:last-child>*{border-bottom:0}
td,th{vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--rule)}
thead th{font-size:.84rem;border-bottom:0;padding-bottom:0}
.bars th[scope=row]{width:10.5rem;color:var(--text)}
.bars td,.bars th{vertical-align:middle}
.bar{display:grid;grid-template-columns:1fr 6.2rem;gap:.6rem;align-items:center;font-size:.88rem;
line-height:1.3}
.track{height:.72rem}
.track i{display:block;height:100%;border-radius:2px;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
i.before{background:var(--before)}i.after{background:var(--student)}
.change{text-align:right;padding-right:0;width:7.4rem;white-space:nowrap}
.change b{display:block;font-size:1.2rem;line-height:1.2}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:12px}
svg .grid{stroke:var(--rule)}
polyline{fill:none;stroke-width:1.7}
polyline.student{stroke:var(--student)}circle.student{fill:var(--student)}
polyline.removed{stroke:var(--removed);stroke-width:3.4;stroke-dasharray:7 4}
circle.removed{fill:var(--removed)}
polyline.teacher{stroke:var(--teacher);stroke-width:1.5;stroke-dasharray:2 3}
polygon.lam{fill:var(--lam);opacity:.22}
.key{display:inline-block;width:1.5rem;margin-right:.35rem;vertical-align:middle;
border-top:2px solid}
.key.student{border-color:var(--student)}.key.removed{border-top:4px dashed var(--removed)}
.key.teacher{border-color:var(--teacher);border-top-style:dotted}
.key.before,.key.after{width:.75rem;height:.75rem;border:0;border-radius:2px;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.key.lam{height:.7rem;border:0;background:var(--lam);opacity:.35;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
.examples{display:grid;grid-template-columns:repeat(6,1fr);gap:.9rem}
figure{margin:0}
figure img{width:100%;aspect-ratio:1;object-fit:contain;image-rendering:pixelated;
background:var(--code)}
figure>small{display:block;font-size:.74rem;line-height:1.2;margin-top:.35rem;color:var(--soft)}
.classes span{display:inline-block;margin-right:1rem;white-space:nowrap}
.classes i{display:inline-block;width:.75rem;height:.75rem;margin-right:.3rem;border-radius:2px;
vertical-align:-.06rem;border:1px solid var(--rule);print-color-adjust:exact;
-webkit-print-color-adjust:exact}
figcaption{font-size:.8rem;line-height:1.4;margin-top:.2rem}
figcaption span{display:block}
figcaption small{font-size:.74rem;white-space:nowrap}
.right{color:var(--good)}.wrong{color:var(--removed);font-weight:600}
.texts td:nth-child(n+2){white-space:nowrap}
.texts td{font-size:.9rem}
.texts .spoken{white-space:normal;min-width:12rem}
.spoken span{print-color-adjust:exact;-webkit-print-color-adjust:exact}
pre{background:var(--code);border:1px solid var(--rule);border-radius:4px;margin:0;
padding:.6rem .8rem;font:.8rem/1.45 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap}
code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.9em}
.caption code{white-space:nowrap}
.facts th{width:9.5rem}
.settings{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:0 1.6rem;
margin:0}
.settings div{display:flex;justify-content:space-between;gap:1rem;padding:.25rem 0;
border-bottom:1px solid var(--rule)}
.settings dt{color:var(--soft)}.settings dd{margin:0;text-align:right}
p{margin:0}
ul{margin:0;padding-left:1.1rem}
@media print{html{font-size:12.6px}body{margin:0;max-width:none;padding:0}
section{margin-top:1.15rem}}
@media(max-width:560px){.bars th[scope=row]{width:6.4rem;font-size:.9rem}.change{width:5.2rem}
.change b{font-size:1rem}
.bar{grid-template-columns:1fr 4.6rem}.examples{grid-template-columns:repeat(3,1fr)}
svg text{font-size:16px}pre{font-size:.66rem}}
""".strip()

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>{style}</style></head><body>
<header><h1>{heading}</h1>
<p class="lead">{lead}</p></header>
{sections}
</body></html>
"""


def name_html(name: str) -> str:
    """A name that somebody gave: no markup, and in its own direction of reading.

    Example:
        >>> name_html("<b>")
        '<bdi>&lt;b&gt;</bdi>'
    """
    return f"<bdi>{html.escape(name)}</bdi>"


def code_html(text: str) -> str:
    """A command or a file's name, no markup.

    Example:
        >>> code_html("a < b")
        '<code>a &lt; b</code>'
    """
    return f"<code>{html.escape(text)}</code>"


def page_html(heading: str, lead: str, sections: Iterable[str]) -> str:
    """The whole file.

    Args:
        heading: the title, HTML; a window's title is the same as plain text.
        lead: HTML.
        sections: HTML; empty ones are left out.
    """
    kept = "\n".join(part for part in sections if part)
    title = re.sub("<[^>]*>", "", heading)
    return _PAGE.format(title=title, heading=heading, lead=lead, sections=kept, style=_style())


def _style() -> str:
    light, dark = (
        ";".join(f"--{name}:{hue[variant]}" for name, hue in _COLORS.items()) for variant in (0, 1)
    )
    return _STYLE.replace("LIGHT", f"{light};{_LIGHT}").replace("DARK", f"{dark};{_DARK}")


def section(title: str, content: str) -> str:
    """A part of the page, HTML; nothing where it has no content.

    Example:
        >>> section("Settings", ""), section("", "<p>a</p>")
        ('', '<section><p>a</p></section>')
    """
    head = f"<h2>{html.escape(title)}</h2>" if title else ""
    return f"<section>{head}{content}</section>" if content else ""


def table_html(lines: Sequence[tuple[str, str]]) -> str:
    """Label, plain text, and value, HTML, in rows.

    Example:
        >>> table_html([]), "<td>5</td>" in table_html([("seed", "5")])
        ('', True)
    """
    rows = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th><td>{value}</td></tr>'
        for label, value in lines
    )
    return f'<table class="facts">{rows}</table>' if rows else ""

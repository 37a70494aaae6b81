"""Take every architecture its way and write down how far it came: ``docs/architectures.md``.

``python tests/zoo/write_page.py [ROW …]``; with rows named, their lines are printed only.
"""

import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import timm  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from timm_rows import TIMM  # noqa: E402
from tiny_configs import IMAGES, TEXTS  # noqa: E402
from zoo import STEPS, WORKS, Walk, row  # noqa: E402

from pclora_lab.methods.pclora.config import PCLoRAConfig  # noqa: E402
from pclora_lab.nn.surgery import find_targets  # noqa: E402
from pclora_lab.quiet import quiet  # noqa: E402

PAGE = ROOT / "docs" / "architectures.md"
SECTIONS = {
    "Texts, of transformers": list(TEXTS),
    "Images, of transformers": list(IMAGES),
    "Images, of timm": [f"timm_{module}" for module in TIMM],
}
HEADS = ("load", "count", "fade", "compress", "save", "standalone", "torch.export")
INTRO = """# Architectures

Written by `make zoo` (tests/zoo/write_page.py) with transformers {transformers}, timm {timm} and
torch {torch}. Every row is a real architecture at a tiny size, with random weights, from a folder
as its library writes it: loaded and compared with what the library itself computes, counted, faded
to λ = 0 in three steps at rank 2, compressed and compared with the student, saved and loaded, and
exported. timm's rows are one small variant of each of its modules.

*replaced* are the linear layers in the blocks, of all linear layers; *share* is what they hold of
the model's parameters. A number in place of ✓ is the answer that was given, below the table; what
comes after a refused step was not tried, and so it is with every empty cell. What stays dense:
convolutions, matrices that are no linear layers (XLNet's attention), and layers with one number per
head or coordinate.
"""


def main(rows: list[str]) -> int:
    """Write the page, or print the lines of some rows."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parts = [
        INTRO.format(
            transformers=transformers.__version__,
            timm=timm.__version__,
            torch=torch.__version__.split("+")[0],
        )
    ]
    failed: list[str] = []
    for title, names in SECTIONS.items():
        walks = {name: _walked(name, failed) for name in names if not rows or name in rows}
        parts.append(_table(title, walks))
    if rows:
        print("\n".join(parts[1:]))
    else:
        PAGE.write_text("\n".join(parts), encoding="utf8")
    print(f"{len(failed)} rows failed: {', '.join(failed) or 'none'}", file=sys.stderr)
    return len(failed) > 0


def _walked(name: str, failed: list[str]) -> Walk:
    with tempfile.TemporaryDirectory() as folder:
        walk = _run(name, Path(folder) / "first", PCLoRAConfig(rank=2, init="svd"), failed)
        bypassed = re.search(r"never calls (.+) in a forward", walk.steps.get("count", ""))
        if bypassed:
            names = set(find_targets(walk.teacher)) - set(bypassed[1].split(", "))
            others = "|".join(re.escape(n) for n in sorted(names))
            config = PCLoRAConfig(rank=2, init="svd", targets=f"^({others})$")
            again = _run(name, Path(folder) / "second", config, failed)
            if set(again.steps.values()) == {WORKS}:
                walk.steps["count"] += " **With such an expression every step works.**"
    print(name, *walk.steps.items(), file=sys.stderr, flush=True)
    return walk


def _run(name: str, folder: Path, config: PCLoRAConfig, failed: list[str]) -> Walk:
    folder.mkdir()
    walk = Walk(row(name, folder), folder, config)
    try:
        with quiet(loggers=["transformers", "timm"]):
            return walk.run()
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError) as error:
        # No refusal but a fault: the page shows it, and the exit status tells.
        failed.append(name)
        step = STEPS[len(walk.steps)]
        walk.steps[step] = f"FAILS: {type(error).__name__}: {error}"
        return walk


def _table(title: str, walks: dict[str, Walk]) -> str:
    notes: list[str] = []
    lines = [f"## {title}", "", f"| model | replaced | share | {' | '.join(HEADS)} |"]
    lines.append("|---|---|---|" + "---|" * len(HEADS))
    lines += [line(name, walk, notes) for name, walk in walks.items()]
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1)), ""]
    return "\n".join(lines)


def line(name: str, walk: Walk, notes: list[str]) -> str:
    """One row of a table; what was refused goes to the notes."""
    facts = walk.facts
    title = name
    if name.startswith("timm_"):
        module = name.removeprefix("timm_")
        title = f"{module}: {TIMM[module][0]}"
    replaced, share = "—", "—"
    if "replaced" in facts:
        replaced = f"{facts['replaced']} of {facts['linear']}"
        share = f"{facts['replaced_share']:.0%}"
    cells = [_cell(walk.steps.get(step), notes) for step in STEPS]
    return f"| {title} | {replaced} | {share} | {' | '.join(cells)} |"


def _cell(outcome: str | None, notes: list[str]) -> str:
    if outcome is None:
        return ""
    if outcome == WORKS:
        return "✓"
    text = re.sub(r"/\S*tmp\S*", "FOLDER", " ".join(outcome.split()))
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    text = text.replace("\\*\\*With such", "**With such").replace("works.\\*\\*", "works.**")
    if text not in notes:
        notes.append(text)
    return f"{notes.index(text) + 1}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

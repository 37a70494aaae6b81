"""The glossary and the table of notation say what is there."""

import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from test_solutions import cells_of
from torch import nn

import pclora_lab
from pclora_lab import methods

DOCS = Path(__file__).resolve().parents[2] / "docs"
LINK = re.compile(r"\[(\d\d)\]\((\.\./notebooks/\w+\.ipynb)\)")
LATEX = {
    **{"λ": r"\lambda", "α": r"\alpha", "σ": r"\sigma", "μ": r"\mu", "Σ": r"\Sigma"},
    **{"ε": r"\varepsilon", "W₁": "W_1", "W₂": "W_2", "A₀": "A_0"},
}
SIZES = {"batch": 3, "tokens": 7, "in_features": 5, "out_features": 4, "rank": 2}


def rows_of(page: str) -> list[list[str]]:
    """The rows of a page's table, its cells without spaces around them."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def lesson_of(cell: str) -> tuple[Path, str]:
    """A lesson that a cell links to, and all that is written in it."""
    match = LINK.fullmatch(cell)
    assert match and match[2].startswith(f"../notebooks/{match[1]}_"), cell
    path = (DOCS / match[2]).resolve()
    cells = [*cells_of(path, "markdown"), *cells_of(path, "code")]
    return path, " ".join(" ".join("".join(cell["source"]).split()) for cell in cells)


def test_the_glossary_is_in_order_and_large_enough():
    words = [row[0].casefold() for row in rows_of("glossary.md")]
    assert words == sorted(words) and len(words) == len({*words}) >= 30


@pytest.mark.parametrize("row", rows_of("glossary.md"), ids=lambda row: row[0])
def test_a_word_stands_in_its_lesson_and_has_one_sentence(row: list[str]):
    word, sentence, _, lesson = row
    path, text = lesson_of(lesson)
    assert word.casefold() in text.casefold(), f"{path.name} does not say {word}"
    assert 30 <= len(sentence) <= 160 and ". " not in sentence


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """What the names in code stand for, at the sizes above."""
    torch.manual_seed(0)
    into, out, rank = SIZES["in_features"], SIZES["out_features"], SIZES["rank"]
    base, x = nn.Linear(into, out), torch.randn(3, 7, into)
    layer = methods.PCLoRALinear(base, rank)
    moments = methods.InputMoments(into)
    moments.update(x)
    weight, bias = base.weight.detach(), base.bias.detach()
    layer.start_from(*methods.affine_factors(weight, bias, moments, rank))
    sparse = methods.KernelSparseLinear(base, rank)
    matrix = methods.merge_factors(sparse.A, sparse.B, "piecewise_linear")
    return {
        "PCLoRALinear": layer,
        "InputMoments": moments,
        "LowRankLinear": pclora_lab.LowRankLinear(into, out, rank),
        "singular_values": methods.singular_values(weight),
        "cholesky_factor": methods.cholesky_factor(moments.covariance),
        "best_fit_error": methods.best_fit_error(weight, bias, moments, rank),
        "budget_at": methods.budget_at(0.5, 20, 10),
        "merge_factors": matrix,
        "sparsify": methods.sparsify(matrix, 0.5),
        "base_weight_factor": methods.base_weight_factor(0.3),
        "x": x,
        "y": layer(x),
    }


def value_of(symbol: str, code: str, given: dict[str, Any]) -> Any:
    """What a name in code stands for; an option's is its default."""
    name, *path = code.split(".")
    assert hasattr(pclora_lab, name) or hasattr(methods, name), f"no {name}"
    if symbol in ("x", "y"):
        assert code == "PCLoRALinear.forward"
        return given[symbol]
    found = given[name] if name in given else getattr(methods, name)
    if is_dataclass(found):
        (field,) = [field for field in fields(found) if field.name == path[0]]
        assert field.default is not MISSING
        return field.default
    for part in path:
        found = getattr(found, part)
    return found


def size_of(dimension: str) -> int:
    """A dimension of a shape, or the smaller one of two."""
    return min(SIZES[name] for name in re.findall(r"[a-z_]+", dimension.removeprefix("min")))


@pytest.mark.parametrize("row", rows_of("notation.md"), ids=lambda row: row[0])
def test_a_symbol_has_its_name_and_shape_and_stands_in_its_lesson(
    row: list[str], given: dict[str, Any]
):
    symbol, _, shape, code, lesson = row
    value = value_of(symbol, code.strip("`"), given)
    if shape == "a number":
        assert isinstance(value, int | float)
    else:
        assert list(value.shape) == [*map(size_of, re.findall(r"min\(.*?\)|\w+", shape))]
    path, text = lesson_of(lesson)
    signs = "|".join(re.escape(sign) for sign in {symbol, LATEX.get(symbol, symbol)})
    assert re.search(rf"(?<!\w)(?:{signs})(?![a-z])", text), f"{path.name} has no {symbol}"


def test_no_symbol_stands_twice():
    symbols = [row[0] for row in rows_of("notation.md")]
    assert len(symbols) == len({*symbols}) >= 20

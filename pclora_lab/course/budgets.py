"""Checks of lesson 05, the ranks and the perturbation of PELA, and of 06, SNELLA's budget."""

from pclora_lab.course.answers import (
    as_sentence,
    near,
    read_count,
    read_items,
    read_number,
    whole_rank,
)
from pclora_lab.methods.pela.ranks import pela_rank
from pclora_lab.methods.snella.budget import allocate
from pclora_lab.methods.snella.sparsifiers import kept_entries
from pclora_lab.wording import shown

__all__ = ["check_05_1", "check_05_2", "check_06_1", "check_06_2"]


@as_sentence
def check_05_1(answer: object) -> str:
    """PELA's rank for 192 → 768 at ratio 2: ``⌊192 · 768 / (2 · (192 + 768))⌋``.

    Example:
        >>> check_05_1(76)
        'right: rank 76 leaves 49.5% of the weights'
        >>> check_05_1(77)
        'rounded the wrong way: at rank 77 more than half of the weights are left'
    """
    value, _ = read_number(answer, 12, thousands=True)
    exact = 192 * 768 / (2 * (192 + 768))
    halved = f"{exact:g} is exactly half of the weights: round down to a whole rank"
    even = "that is ratio 1, the break-even rank 153.6: nothing would be saved"
    half = "half of the width is not half of the weights: both factors count"
    width = "that is the layer's width: which rank saves half?"
    mistakes: dict[float, str] = {
        exact: halved,
        77: "rounded the wrong way: at rank 77 more than half of the weights are left",
        2: "2 is the ratio: which rank halves the layer's weights?",
    }
    mistakes |= dict.fromkeys((153, 153.6, 154), even)
    mistakes |= dict.fromkeys((307, 307.2, 308), "twice break-even: ratio 2 divides, r = 153.6 / 2")
    mistakes |= dict.fromkeys((96.0, 384.0), half) | dict.fromkeys((192.0, 768.0), width)
    if known := near(value, mistakes):
        return known
    rank = whole_rank(answer)
    left = f"leaves {rank * (192 + 768) / (192 * 768):.1%} of the weights"
    right = rank == pela_rank(192, 768, 2.0)
    return f"right: rank {rank} {left}" if right else f"not yet: rank {rank} {left}, not half"


@as_sentence
def check_05_2(answer: object) -> str:
    """Numbers of W₁ and W₂ that one entry of W₂W₁ pulls at, rank 8: a row and a column, 2 · 8.

    Example:
        >>> check_05_2(16)
        'right'
        >>> check_05_2(8)
        'that is one of the two factors: an entry is a row of W2 times a column of W1'
    """
    mistakes = {
        0: "the perturbation has a gradient: in the factors, not in the perturbed entry",
        1: "one entry of the product, yes; but it is made of several numbers of the factors",
        2: "one number of each factor? An entry is a sum of as many products as the rank",
        8: "that is one of the two factors: an entry is a row of W2 times a column of W1",
        64: "a row and a column are added, not multiplied",
        8 * (96 + 384): "those are all numbers; only one entry per layer is pulled at",
        96 + 384: "whole rows and columns of W? the factors are only 8 wide there",
        96 * 384: "that is W itself, which is gone: count in the factors",
    }
    value = read_count(answer)
    known = near(value, mistakes) or "not yet: count one column of W1 and one row of W2"
    return "right" if value == 2 * 8 else known


@as_sentence
def check_06_1(answer: object) -> str:
    """Entries that stay at sparsity 0.9 in 768 → 3072: ``0.1 · 768 · 3072``.

    Example:
        >>> check_06_1("235,930")
        'right'
        >>> check_06_1(2_123_366)
        'those are the entries that are zero: sparsity is their share'
    """
    entries, kept = 768 * 3072, kept_entries(0.9, 768 * 3072)
    value, is_percent = read_number(answer, 12_000, thousands=True)
    if is_percent or value == 10:
        return f"{shown(answer)} is a % of the entries: how many are they?"
    value = read_count(answer, 12_000)
    if abs(value - kept) <= 1:
        return "right"
    mistakes = {
        0.9 * entries: "those are the entries that are zero: sparsity is their share",
        entries: "that is the whole matrix, sparsity 0",
        0.1 * 768 * 0.1 * 3072: (
            "a tenth of the rows times a tenth of the columns is only 1.0% of the entries"
        ),
        0.1 * (768 + 3072): "a tenth of rows and columns added: S is a full matrix of 768 · 3072",
        12 * 0.1 * entries: "that is one in each of the twelve blocks: asked is one layer",
    }
    share = f"not yet: {value:,.6g} would be {value / entries:.1%} of the {entries:,} entries"
    return near(value, mistakes, 2.0) or share


@as_sentence
def check_06_2(answer: object) -> str:
    """110 weights for layers of 30, 100, 100 with the scores 6 : 3 : 1, none above its size.

    Example:
        >>> check_06_2([30, 60, 20]), check_06_2("30, 60, 20")
        ('right', 'right')
        >>> check_06_2([66, 33, 11])
        'the first layer has 30 weights only, it can not take 66'
    """
    example = "[10, 50, 50]"
    if isinstance(answer, int | float):
        return f"three layers, three numbers: write a list such as {example}"
    shares = [read_number(item).value for item in read_items(answer, example)]
    if len(shares) != 3:
        return f"three layers, three numbers: write a list such as {example}"
    if shares == allocate([6.0, 3.0, 1.0], [30, 100, 100], budget=110):
        return "right"
    mistakes: dict[tuple[float, ...], str] = {
        (66, 33, 11): "the first layer has 30 weights only, it can not take 66",
        (30, 33, 11): "36 weights are left over: what the first can not take goes to the others",
        (30, 40, 40): "handed on in proportion to the scores 3 : 1, not evenly",
        (30, 51, 29): "not half of the rest each: in proportion to the scores 3 : 1",
        (6, 3, 1): "those are the scores: how many of the 110 weights does each layer get?",
    }
    return mistakes.get(tuple(shares)) or _wrong_shares(shares)


def _wrong_shares(shares: list[float]) -> str:
    if min(shares) < 0:
        return f"{min(shares):g} is negative: a layer gets at least 0 weights"
    if sum(shares) <= 1.05:
        return "those are shares: how many of the 110 weights are they?"
    if sum(shares) != 110:
        return f"not yet: they add up to {sum(shares):,.6g} of 110"
    if max(shares) - min(shares) <= 1:
        return "handed out evenly: the scores are 6 : 3 : 1"
    if shares[0] != 30:
        return "not yet: the scores give the first layer more than its 30 weights: it gets all 30"
    return "the sum is right, the split of the last two is not: the rest goes 3 : 1"

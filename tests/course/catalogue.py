"""What students answer: for each exercise the right answers, and the slips with their names.

A slip is an answer and a pattern: the sentence of the check has to say what went wrong, so it must
match the pattern. ``forms`` writes a number in every way in which it may be handed in.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F


class Exercise(NamedTuple):
    """The right answers of an exercise, and its slips: an answer and what must be named."""

    right: Sequence[object]
    slips: Sequence[tuple[object, str]]


def forms(number, *more):
    """A whole number as int, float, numpy and torch scalars, exact fractions and text."""
    return [
        number,
        float(number),
        np.int64(number),
        np.float64(number),
        np.array(number),
        torch.tensor(number),
        Fraction(number),
        Decimal(number),
        str(number),
        f" {number}.0 ",
        f"{number:,}",
        *more,
    ]


def decimals(number, *more):
    """A number with decimals as float, numpy and torch scalars, exact fractions and text."""
    text = str(number)
    return [
        number,
        np.float64(number),
        np.float32(number),
        torch.tensor(number),
        torch.tensor([number]),
        Fraction(text),
        Decimal(text),
        text,
        text.replace(".", ","),
        f" {text} ",
        *more,
    ]


SMALL_FORM = [(0, 1), (0.3, 0.5), (0.5, 0.1), (0.6, 0)]

NONSENSE = [
    "I do not know",
    "",
    "   ",
    "7" * 40,
    "nan",
    "-",
    b"5",
    None,
    True,
    False,
    [],
    {},
    (),
    [None],
    {"a": [1]},
    {5},
    range(3),
    object(),
    int,
    lambda *_: 1 / 0,
    math.nan,
    math.inf,
    -math.inf,
    10**5000,
    -(10**5000),
    1e308,
    1j,
    np.array([1.0, 2.0]),
    np.float64("nan"),
    torch.zeros(2, 2),
    torch.empty(0),
    Ellipsis,
    "\u0665\u0000",
    [[[1]]],
    (0, (1, (2,))),
]

# Sizes ------------------------------------------------------------------------------------------

RANKS = {
    # The embedded model, 90% of all parameters; 6 removes 89.97% of them, 90.96% of the layers'.
    "00_1": Exercise(
        forms(5),
        [
            (6, "replaced layers"),
            (4, "rank 5 is enough too"),
            (1, "rank 2 is enough too"),
            (8, "too large"),
            (48, "break-even"),
            (0, "at least 1"),
            (-5, "at least 1"),
            (0.9, "share"),
            (5.5, "whole number"),
        ],
    ),
    # fc2, 384 → 96: a quarter of 36,960 is 9,240 = 480 r + 96.
    "01_1": Exercise(
        forms(19),
        [
            (20, "too large"),
            (18, "rank 19 fits as well"),
            (24, "quarter of the width"),
            (96, "quarter of the width"),
            (76, "break-even"),
            (77, "break-even"),
            (57, "three quarters"),
            (9240, "number of parameters"),
            (19.05, "whole number"),
            (0, "at least 1"),
            (-3, "at least 1"),
        ],
    ),
    # BERT-base, layers and norms: 93.62 at rank 32, .195 less for each rank.
    "04_1": Exercise(
        forms(33),
        [
            (32, "93.62"),
            (31, "more is removed"),
            (34, "93.23"),
            (64, "less is removed"),
            (93.42, "rank"),
            (0.9342, "rank"),
            (33.5, "whole number"),
            (0, "at least 1"),
            (-33, "at least 1"),
            (400, "break-even"),
        ],
    ),
    # fc1 of DeiT-Tiny, 192 → 768, at ratio 2: 76.8, rounded down.
    "05_1": Exercise(
        forms(76),
        [
            (77, "rounded the wrong way"),
            (76.8, "round"),
            (153, "break-even"),
            (154, "break-even"),
            (153.6, "break-even"),
            (307, "twice"),
            (96, "half of the width"),
            (384, "half of the width"),
            (192, "width"),
            (2, "ratio"),
            (-76, "at least 1"),
        ],
    ),
    # 4,096 words of 96 numbers: the break-even rank is 93.8.
    "08_2": Exercise(
        forms(94),
        [
            (93, "still shrinks"),
            (93.8, "whole rank"),
            (95, "rank 94 does not either"),
            (96, "width"),
            (4096, "words"),
            (48, "half of the width"),
            (0, "at least 1"),
            (-94, "at least 1"),
        ],
    ),
    # bert_glosses: rank 5 leaves 448,899 parameters.
    "09_1": Exercise(
        forms(5),
        [
            (6, "too many"),
            (8, "too many"),
            (4, "rank 5 fits as well"),
            (48, "break-even"),
            (450_000, "parameters"),
            (5.7, "whole number"),
            (0, "at least 1"),
            (-1, "at least 1"),
        ],
    ),
}

COUNTS = {
    # The fade of 300 steps ends at 60%; the rows of the test are every seventh step.
    "00_2": Exercise(
        [*forms(180), 182, 182.0, "182", "step 180"],
        [
            (300, "last step"),
            (0.6, "share"),
            (60, "per ?cent|%"),
            (120, "without the base"),
            (90, "still 0.29"),
            (179, "still"),
            (0, "λ is still 1"),
            (189, "before"),
            (26, "row"),
            (-1, "negative"),
            (1000, "300 steps"),
        ],
    ),
    # 96 → 384 at rank 8: a column of W1 and a row of W2.
    "05_2": Exercise(
        forms(16),
        [
            (1, "one entry of the product"),
            (2, "one number of each"),
            (8, "one of the two factors"),
            (3840, "all numbers"),
            (480, "whole rows and columns"),
            (36_864, "W itself"),
            (64, "added"),
            (0, "gradient"),
            (-16, "negative"),
        ],
    ),
    # fc1 of ViT-B at sparsity 0.9.
    "06_1": Exercise(
        [*forms(235_930), 235_929, 235_929.6, "235_930", "235 930"],
        [
            (2_123_366, "are zero"),
            (2_123_367, "are zero"),
            (2_359_296, "whole matrix"),
            (23_593, "a tenth of the tenth|1.0%"),
            (384, "A and B|rows and columns"),
            (2_831_155, "twelve"),
            (0.1, "share"),
            (10, "per ?cent|%"),
            (-235_930, "negative"),
        ],
    ),
    "08_1": Exercise(
        forms(1_001_280),
        [
            (30_522 * 768, "dense"),
            (30_522 * 32, "B is missing"),
            (768 * 32, "A is missing"),
            (32 * 30_522 * 768, "product of all three"),
            (8 * (30_522 + 768), "rank 8"),
            (30_522 + 768, "32"),
            (30_522 * 768 - 1_001_280, "removed"),
            (1_001_280 + 768, "bias"),
            (0.0427, "share"),
        ],
    ),
}

NUMBERS = {
    # cos(π/4), since half of the fade has passed.
    "02_1": Exercise(
        decimals(0.71, 0.7071, 0.707, math.cos(math.pi / 4), "71%", "70.7 %", "λ = 0.71"),
        [
            (math.cos(0.3 * math.pi / 2), "divide by q"),
            (0.89, "divide by q"),
            (0.29, "sine"),
            (0.5, "linear"),
            (0.7, "round"),
            (0.96, "divide"),
            (0.88, "π/2"),
            (0.525, "degrees"),
            (0.11, "divide by q"),
            (0.0, "π/2"),
            (1, "identity"),
            (71, "between 0 and 1"),
            (-0.71, "between 0 and 1"),
        ],
    ),
    "03_1": Exercise(
        decimals(1.175, 1.18, "47/40", Fraction(47, 40)),
        [
            (1.3, "bracket"),
            (1.4, "1 − α is missing"),
            (1.55, "w is missing"),
            (1.725, "wrong way round"),
            (0.8, "logit term is missing"),
            (2.9, "α"),
            (3.4, "sum of all three"),
            (0.675, "task term is missing"),
            (0.5, "task term alone"),
            (1.17, "cut off"),
            (0.875, "feature term is missing"),
        ],
    ),
    # DistilBERT: 59.46% of the whole model.
    "04_2": Exercise(
        decimals(59.5, 59.46, 59, 59.9, 0.595, Fraction(595, 1000), "59.5%", "59,5 %"),
        [
            (93.66, "replaced layers"),
            (0.9366, "replaced layers"),
            (72.7, "BERT-base"),
            ("73%", "BERT-base"),
            (40.5, "left"),
            (6.3, "left"),
            (91.2, "multiply-adds"),
            (36.4, "half of BERT-base"),
            (63.5, "share of the layers"),
            (27_141_890, "between 0 and 100"),
            (146, "between 0 and 100"),
            (-59.5, "between 0 and 100"),
            ("less", "number"),
        ],
    ),
    # The record's means for PC-LoRA: 38.78, 51.31, 62.25.
    "07_1": Exercise(
        decimals(23.5, 23.47, 23.4667, "23.5 points", "23.5 %", "23.5 pp"),
        [
            (-23.5, "sign"),
            (10.9, "half of the budget"),
            (12.5, "0.1"),
            (37.7, "percent of the accuracy"),
            (62.3, "percent of the accuracy|what is kept"),
            (0.235, "points"),
            (23.4, "round"),
            (23.7, "SVD \\+ KD"),
            (13.2, "PELA"),
            (38.8, "accuracy itself"),
            (62.2, "accuracy itself"),
        ],
    ),
}

LISTS = {
    # A schedule, drawn by hand.
    "02_2": Exercise(
        [
            SMALL_FORM,
            tuple(SMALL_FORM),
            [list(point) for point in SMALL_FORM],
            [*SMALL_FORM, (1, 0)],
            dict(SMALL_FORM),
            np.array(SMALL_FORM),
            torch.tensor(SMALL_FORM, dtype=torch.float64),
            "0:1, 0.3:0.5, 0.5:0.1, 0.6:0",
            [("0", "1"), ("0.3", "0.5"), ("0.5", "0.1"), ("0.6", "0")],
            [(0, 1), (0.45, 1), (0.5, 0)],
            [(0, 0.6), (0.3, 0.5), (0.5, 0.0)],
            str(SMALL_FORM),
        ],
        [
            ([(0, 1), (1, 0)], "half time"),
            ([(0, 1), (0.3, 0.5), (0.5, 0.2), (0.6, 0)], "half time"),
            ([(0, 1), (0.3, 0.4), (0.5, 0.1), (0.6, 0)], "30%"),
            ([(0, 1), (0.3, 0.5), (0.5, 0.1), (1, 0)], "last 40%"),
            ([(0, 1), (0.3, 0.5), (0.5, 0.1), (0.6, 0), (0.7, 0.9), (1, 0)], "70%"),
            ([(0, 1), (0.15, 0.2), (0.2, 0.6), (0.3, 0.5), (0.5, 0.1), (0.6, 0)], "15%"),
            ([(0, 1), (0.3, 0.6), (0.5, 0.1)], "ends at λ = 0.1"),
            ([(1, 0), (0.5, 0.3), (0.1, 0.5), (0, 0.6)], "progress comes first"),
            ([(0, 1), (30, 0.5), (50, 0.1), (60, 0)], "between 0 and 1"),
            ([0, 1, 0.3, 0.5, 0.6, 0], "pairs"),
            ([(0, 1), (0.5, 0.1), (0.3, 0.5), (0.6, 0)], "rise|order"),
            ("one_minus_cosine", "half time"),
            ("identity", "half time"),
            ("sine", "30%"),
        ],
    ),
    "06_2": Exercise(
        [
            [30, 60, 20],
            (30, 60, 20),
            [30.0, 60.0, 20.0],
            np.array([30, 60, 20]),
            torch.tensor([30, 60, 20]),
            ["30", "60", "20"],
            "30, 60, 20",
            "[30, 60, 20]",
            "30 60 20",
            [np.int64(30), Fraction(60), "20"],
        ],
        [
            ([66, 33, 11], "30 weights only"),
            ([30, 33, 11], "left over"),
            ([30, 40, 40], "3 : 1"),
            ([30, 51, 29], "3 : 1"),
            ([30, 61, 19], "3 : 1"),
            ([20, 60, 30], "order|all 30"),
            ([10, 50, 50], "all 30"),
            ([30, 100, 100], "230"),
            ([6, 3, 1], "scores"),
            ([0.27, 0.55, 0.18], "shares"),
            ([30, 60], "three"),
            ([30, -20, 100], "negative"),
            ([37, 37, 36], "evenly"),
            (110, "three"),
        ],
    ),
    "07_2": Exercise(
        [
            {0.05: "svd_kd", 0.1: "pclora", 0.2: "svd_kd"},
            {0.05: "SVD + KD", 0.1: "PC-LoRA", 0.2: "SVD + KD"},
            {0.05: "svd+kd", 0.1: "pc-lora", 0.2: "SVD KD"},
            {"0.05": "svd_kd", "0.1": "pclora", "0.2": "svd_kd"},
            {"5%": "svd_kd", "10%": "pclora", "20 %": "svd_kd"},
            {5: "svd_kd", 10: "pclora", 20: "svd_kd"},
            {Fraction(1, 20): "svd_kd", Decimal("0.1"): "pclora", np.float32(0.2): "svd_kd"},
            ["svd_kd", "pclora", "svd_kd"],
            ("SVD + KD", "PCLoRA", "SVD_KD"),
            [(0.05, "svd_kd"), (0.1, "pclora"), (0.2, "svd_kd")],
        ],
        [
            ({}, "empty"),
            ({0.05: "svd_kd"}, "0.1 and 0.2"),
            ({0.05: "pclora", 0.1: "pclora", 0.2: "pclora"}, "another has more"),
            ({0.05: "svd_kd", 0.1: "svd_kd", 0.2: "svd_kd"}, "another has more"),
            ({0.05: "snella", 0.1: "snella", 0.2: "snella"}, "does not compress"),
            ({0.05: "LoRA", 0.1: "PC-LoRA", 0.2: "full fine-tuning"}, "does not compress"),
            ({0.05: "svd_kd", 0.1: "pclorra", 0.2: "svd_kd"}, "not in the record"),
            ({0.5: "svd_kd", 0.1: "pclora", 0.2: "svd_kd"}, "no budget 0.5"),
            ({"svd_kd": 0.05, "pclora": 0.1}, "budget.* first|keys"),
            ({0.05: 39.9, 0.1: 51.3, 0.2: 63.7}, "name of a method"),
            ("svd_kd", "each budget"),
            (["svd_kd", "pclora"], "three"),
        ],
    ),
}


def two_thirds(x, W, b, A, B, C, lam):
    return x @ (lam * W + B @ A).T + lam * b + C


def by_parts(x, W, b, A, B, C, lam):
    base = F.linear(x, W, b)
    base *= lam
    return base + F.linear(F.linear(x, A), B, C)


def _nameless(x, W, b, A, B, C, lam):
    return lam * (x @ weight.T + b)  # noqa: F821 - the slip


LAYERS = {
    "01_2": Exercise(
        [
            lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b) + x @ A.T @ B.T + C,
            lambda x, W, b, A, B, C, lam: (W @ x.T).T * lam + lam * b + (B @ (A @ x.T)).T + C,
            lambda x, W, b, A, B, C, lam: torch.lerp(C, C + x @ W.T + b, lam) + x @ (B @ A).T,
            lambda x, W, b, A, B, C, lam: (
                torch.einsum("ni,oi->no", x, lam * W + B @ A) + lam * b + C
            ),
            lambda *given: by_parts(*[part.double() for part in given[:6]], given[6]),
            two_thirds,
            by_parts,
        ],
        [
            (lambda x, W, b, A, B, C, lam: lam * x @ W.T + b + x @ A.T @ B.T + C, "b does not"),
            (lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b) + x @ A.T @ B.T, "C is missing"),
            (lambda x, W, b, A, B, C, lam: lam * x @ W.T + x @ A.T @ B.T + C, "b is missing"),
            (
                lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b) + (1 - lam) * (x @ A.T @ B.T + C),
                "must not be scaled by 1 − λ",
            ),
            (
                lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b + x @ A.T @ B.T + C),
                "must not fade the adapter",
            ),
            (
                lambda x, W, b, A, B, C, lam: (1 - lam) * (x @ W.T + b) + x @ A.T @ B.T + C,
                "1 − λ",
            ),
            (
                lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b) + x @ A.T @ B.T + lam * C,
                "λ·C|C does not fade|must not fade C",
            ),
            (lambda x, W, b, A, B, C, lam: x @ W.T + b + x @ A.T @ B.T + C, "nothing fades"),
            (lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b), "add the adapter"),
            (lambda x, W, b, A, B, C, lam: x @ A.T @ B.T + C, "base is missing"),
            (
                lambda x, W, b, A, B, C, lam: 0.25 * (x @ W.T + b) + x @ A.T @ B.T + C,
                "written as a number|lam",
            ),
            (lambda x, W, b, A, B, C, lam: lam * (x @ W + b) + x @ A.T @ B.T, "transposes"),
            (lambda x, W, b, A, B, C, lam: x @ W.T + x @ A @ B, "transposes"),
            (lambda x, W, b, A, B, C, lam: None, "not answered yet"),
            (lambda x, W, b, A, B, C, lam: 0.5, "tensor"),
            (lambda x, W, b, A, B, C, lam: (x @ W.T).sum(), "shape"),
            (lambda x, W: x @ W.T, "arguments|seven"),
            (_nameless, "weight"),
            (torch.zeros(5, 4), "function"),
        ],
    ),
    "03_2": Exercise(
        [
            lambda s, t: (s - t).square().mean(),
            lambda s, t: (t - s).pow(2).mean(),
            lambda s, t: F.mse_loss(s, t),
            lambda s, t: F.mse_loss(s, t.detach()),
            lambda s, t: ((s - t) ** 2).sum() / s.numel(),
            lambda s, t: torch.mean(torch.square(s - t), dim=-1).mean(),
            torch.nn.MSELoss(),
            F.mse_loss,
        ],
        [
            (lambda s, t: ((s - t) ** 2).sum(), "sum grows"),
            (lambda s, t: ((s - t) ** 2).sum(-1).mean(), "sum grows"),
            (lambda s, t: (s - t).abs().mean(), "square it"),
            (lambda s, t: (s - t).square().mean().sqrt(), "no root"),
            (lambda s, t: (s - t).norm(), "no root|root"),
            (lambda s, t: (s.detach() - t).square().mean(), "no gradient"),
            (lambda s, t: (s - t).square().mean().item(), "item"),
            (lambda s, t: (s - t).square(), "take the mean"),
            (lambda s, t: (s - t).square().mean(-1), "take the mean"),
            (lambda s, t: (s - t).square().mean() / 2, "half"),
            (lambda s, t: (s - t).mean(), "cancel|square"),
            (lambda s, t: (s - t).mean() ** 2, "before"),
            (lambda s, t: ((s - t) * (s.detach() - t)).mean(), "gradient not"),
            (lambda s, t: ((s - t).detach().numpy() ** 2).mean(), "gradient"),
            (lambda s, t: (s.numpy() - t.numpy()).mean(), "numpy"),
            (lambda s, t: (s * t).mean(), "difference"),
            (lambda s, t: None, "not answered yet"),
            (lambda s: s, "arguments|two"),
            (0.5, "function"),
        ],
    ),
}

# The model of the test calls everything alive that does not speak of a hammer.
TEXTS = {
    "09_2": Exercise(
        [
            "a tool that breathes through its gills",
            "a building with feathers and a beak",
            "A house for birds",
            "an instrument that eats leaves",
            "large machine covered with fur",
        ],
        [
            ("", "empty"),
            (" \n", "empty"),
            ("alive", "class"),
            ("bird", "one word"),
            ("12345", "words"),
            ("?!?", "words"),
            ("a small red bird", "living"),
            ("an animal with four legs", "living"),
            ("a hammer", "it says thing"),
            (5, "text"),
            (["a tool"], "text"),
        ],
    ),
}

EXERCISES = RANKS | COUNTS | NUMBERS | LISTS | LAYERS | TEXTS

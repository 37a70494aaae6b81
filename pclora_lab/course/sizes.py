"""Checks of the lessons that count parameters: 04, the published figures, and 08, words."""

from pclora_lab.course.answers import (
    above_break_even,
    as_sentence,
    near,
    read_count,
    read_number,
    whole_rank,
)
from pclora_lab.nn.sizes import Plan

__all__ = [
    "check_04_1",
    "check_04_2",
    "check_08_1",
    "check_08_2",
]

# BERT-base, twelve blocks: four layers 768 → 768, and 768 → 3072 → 768.
_PER_RANK = 12 * (4 * (768 + 768) + 2 * (768 + 3072))
_WEIGHTS = 12 * (4 * 768 * 768 + 2 * 768 * 3072)
_BIASES_AND_NORMS = 82_944 + 38_400
_BERT_REMOVED = 72.72


@as_sentence
def check_04_1(answer: object) -> str:
    """Rank at which *replaced layers and norms* of BERT-base lose 93.42%.

    ``1 − (r · 165,888 + biases and norms) / (weights + biases and norms)``.

    Example:
        >>> check_04_1(33)
        'right: rank 33 gives 93.42. A rank chosen to fit a figure is no evidence for it'
        >>> check_04_1(32)
        'rank 32 gives 93.62: more is removed than 93.42%'
    """
    value, _ = read_number(answer, 12, thousands=True)
    if near(value, {93.42: "figure", 0.9342: "figure"}):
        return f"{value:g} is the figure itself: at which rank does it come out?"
    rank = whole_rank(answer)
    if rank >= 384:
        return above_break_even(rank, 384)
    left = rank * _PER_RANK + _BIASES_AND_NORMS
    figure = round(100 * (1 - left / (_WEIGHTS + _BIASES_AND_NORMS)), 2)
    if figure == 93.42:
        end = "A rank chosen to fit a figure is no evidence for it"
        return f"right: rank {rank} gives {figure:.2f}. {end}"
    direction = "more" if figure > 93.42 else "less"
    return f"rank {rank} gives {figure:.2f}: {direction} is removed than 93.42%"


@as_sentence
def check_04_2(answer: object, sizes: Plan) -> str:
    """Percent that the whole of DistilBERT loses at rank 32, to half a point.

    Args:
        answer: the student's percentage, or the share that it is.
        sizes: the plan for DistilBERT at rank 32.

    Example:
        >>> from pclora_lab.models import describe_model
        >>> from pclora_lab.nn.sizes import plan
        >>> sizes = plan(describe_model("distilbert-base-uncased"), 32)
        >>> check_04_2("59.5%", sizes)[:13], check_04_2(0.405, sizes)
        ('right: 59.46%', 'that is what is left: how much is removed?')
    """
    value, is_percent = read_number(answer, 81.5)
    percent = 100 * value if abs(value) <= 1 and not is_percent else value
    if not 0 <= percent <= 100:
        return f"a percentage lies between 0 and 100, and {value:,.6g} does not"
    model, layers = sizes.whole_model, sizes.replaced
    whole, replaced = 100 * model.params_removed, 100 * layers.params_removed
    if abs(percent - whole) <= 0.5:
        return f"right: {whole:.2f}%, less than BERT-base, whose layers are a larger part of it"
    mistakes = {
        replaced: "that is the replaced layers alone: what about the word table?",
        100 - whole: "that is what is left: how much is removed?",
        100 - replaced: "that is what is left of the replaced layers: what of the whole is gone?",
        _BERT_REMOVED: "that is BERT-base, whose twelve blocks are a larger part of it",
        _BERT_REMOVED / 2: "half of BERT-base's? Its blocks are halved, but not its word table",
        100 * model.macs_removed: "that is the multiply-adds: how many parameters?",
        100 * layers.params_before / model.params_before: (
            "that is the share of the layers in the model: they do not go as a whole"
        ),
    }
    formula = "not yet: what the replaced layers lose, over the parameters of the whole model"
    return near(percent, mistakes, 0.5) or formula


@as_sentence
def check_08_1(answer: object) -> str:
    """Parameters of BERT-base's word table at rank 32: ``32 · (30,522 + 768)``.

    Example:
        >>> check_08_1(1_001_280)
        'right'
        >>> check_08_1("23,440,896")
        'that is the dense table'
    """
    words, width, right = 30_522, 768, 32 * (30_522 + 768)
    mistakes = {
        words * width: "that is the dense table",
        words * 32: "B is missing: a matrix of 768 × 32 turns 32 numbers into 768",
        width * 32: "A is missing: 32 numbers for each of the 30,522 words",
        32 * words * width: "not a product of all three: two thin matrices are added up",
        8 * (words + width): "that is rank 8",
        words + width: "each row and each column has 32 numbers, not one",
        words * width - right: "that is what is removed: how much is left?",
        right + width: "a table has no bias: A and B are all",
    }
    value = read_count(answer, 12_000)
    known = near(value, mistakes)
    row = "not yet: a row of 32 numbers per word, and one matrix 768 × 32"
    return "right" if value == right else known or row


@as_sentence
def check_08_2(answer: object) -> str:
    """First whole rank that does not shrink 4,096 × 96: ``⌈4,096 · 96 / (4,096 + 96)⌉``.

    Example:
        >>> check_08_2(94)
        'right: the break-even rank is 93.8'
        >>> check_08_2(93)
        'rank 93 still shrinks it, to 99.1%'
    """
    value, _ = read_number(answer, 12, thousands=True)
    if 93 < value < 94:
        return f"{value:g} is the break-even rank itself: which is the first whole rank?"
    rank = whole_rank(answer)
    mistakes = {
        48: "half of the width? The rank still shrinks the table, to about half",
        96: "that is the width: the table has 4,096 rows too, so that a smaller rank is enough",
        4096: "that is the number of words: a rank above the width 96 gains nothing",
    }
    dense, size = 4096 * 96, 4096 + 96
    if known := near(rank, mistakes):
        return known
    if rank * size < dense:
        return f"rank {rank} still shrinks it, to {rank * size / dense:.1%}"
    if (rank - 1) * size >= dense:
        return f"it does not shrink, but rank {rank - 1} does not either"
    return f"right: the break-even rank is {dense / size:.1f}"

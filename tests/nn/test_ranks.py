"""Ranks as somebody writes them: what is taken, how much at most, and what is refused."""

import pytest

from pclora_lab.nn.counting import LayerCount
from pclora_lab.nn.ranks import check_rank, check_ranks, resolve_ranks


def layer(name: str, width: int, out: int, *, bias: bool = True) -> LayerCount:
    return LayerCount(name, width, out, bias, 1, 4)


# Break-even at 7.5 and 24; the largest ranks that shrink are 7 and 23.
LAYERS = (layer("fc1", 10, 30), layer("fc2", 48, 48))


@pytest.mark.parametrize(
    ("given", "taken"),
    [(1, 1), (16, 16), ("8", 8), (" 8 ", 8), ("25%", "25%"), (" 2.5 % ", "2.5%"), ("100%", "100%"),
     ("0.1%", "0.1%"), ("1" * 18, int("1" * 18))],
)  # fmt: skip
def test_a_rank_is_a_whole_number_or_a_share(given, taken):
    assert check_rank(given) == taken


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "^rank 0 leaves nothing of the layer: use a whole number such as 16"),
        ("0", "^rank 0 leaves nothing"),
        ("-3", "^rank -3 leaves nothing"),
        ("0%", "^rank '0%' is not a rank: use"),
        ("100.1%", "^rank '100.1%' is not a rank"),
        ("-5%", "is not a rank"),
        ("x", "^rank 'x' is not a rank: .* a share of the break-even rank"),
        ("1" * 19, "is not a rank"),
        ("25%5", "is not a rank"),
        (7.5, "^rank 7.5 is not a whole number"),
        (True, "^rank True is not a whole number"),
        (None, "^rank None is not a whole number"),
    ],
)
def test_what_is_no_rank_is_refused_with_what_is_one(given, message):
    with pytest.raises(ValueError, match=message):
        check_rank(given)


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_ranks_by_layer_are_kept_as_pairs_in_the_order_of_their_names(kind):
    given = kind({"b": 2, "a": "25%"}.items())
    assert check_ranks(given) == (("a", "25%"), ("b", 2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "^rank names no layer: give one number"),
        ([], "^rank names no layer"),
        ([("a", 1), ("a", 2)], "^a is given two ranks, 1 and 2: keep one"),
        ({"a": 0}, "^a: rank 0 leaves nothing"),
        ([("a", 1, 2)], "is no layer name with its rank: write {name: rank, …}"),
        ([("a",)], "is no layer name"),
        ([(1, "a")], "is no layer name"),
        (["ab"], "is no layer name"),
        (None, "^rank None is not a whole number"),
    ],
)
def test_a_list_of_ranks_that_is_none_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        check_ranks(given)


@pytest.mark.parametrize(
    ("rank", "ranks"),
    [
        (7, {"fc1": 7, "fc2": 7}),
        ("50%", {"fc1": 3, "fc2": 12}),
        ("100%", {"fc1": 7, "fc2": 23}),
        ("0.01%", {"fc1": 1, "fc2": 1}),
        ({"fc2": 23, "fc1": "50%"}, {"fc1": 3, "fc2": 23}),
    ],
)
def test_a_share_is_of_the_break_even_rank_rounded_down_and_at_least_one(rank, ranks):
    assert resolve_ranks(LAYERS, rank) == ranks
    assert list(resolve_ranks(LAYERS, rank)) == ["fc1", "fc2"]


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (
            8,
            r"^rank 8 is not below the break-even rank 7.5 of fc1 \(10→30\): the layer would not "
            r'shrink. Use a rank of at most 7, or a share such as "25%"\.$',
        ),
        (30, r"rank 7.5 of fc1.*at most 7, or"),
        (
            {"fc1": 7, "fc2": 24},
            r"^rank 24 is not below the break-even rank 24 of fc2 .* at most 23 there, or",
        ),
        ({"fc1": 1}, "^no rank is given for fc2: name every layer"),
        ({"fc1": 1, "fc2": 1, "fc3": 5}, r"^rank 5 is given for fc3, .*: did you mean fc[12]\?$"),
        ({"head": 5, "tail": 6}, "^rank 5 is given for head, .*: the layers are fc1, fc2"),
        ({"head": 5}, "^rank 5 is given for head, .*: the layers are fc1, fc2"),
    ],
)
def test_a_rank_that_does_not_fit_is_refused_with_one_that_does(rank, message):
    with pytest.raises(ValueError, match=message):
        resolve_ranks(LAYERS, rank)


def test_a_break_even_rank_is_told_to_one_decimal():
    # 7 · 30 / 37 = 5.676
    with pytest.raises(
        ValueError, match="not below the break-even rank 5.7 of fc .* at most 5, or"
    ):
        resolve_ranks((layer("fc", 7, 30),), 6)


@pytest.mark.parametrize("rank", [1, "100%", {"fc2": 1, "thin": 1, "fc1": 1}])
def test_a_layer_that_no_rank_makes_smaller_is_named(rank):
    with pytest.raises(ValueError, match=r"^thin \(1→30\) is too thin: no rank makes it smaller"):
        resolve_ranks((*LAYERS, layer("thin", 1, 30)), rank)


def test_the_least_of_all_layers_is_what_one_rank_for_all_may_be():
    with pytest.raises(ValueError, match="of fc2 .* at most 7, or"):
        resolve_ranks(LAYERS[::-1], 24)

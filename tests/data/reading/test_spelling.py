"""Which spellings are one class, and which of them stands for it."""

import pytest

from pclora_lab.data.reading.spelling import joined_spellings, spelling_key


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Very  Good", "very good", True),
        (" spam ", "SPAM", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("Straße", "STRASSE", True),
        ("ab", "AB", True),
        ("a", "A", False),
        ("é", "É", False),
        ("good", "bad", False),
        ("verygood", "very good", False),
    ],
)
def test_capitals_spaces_and_the_way_of_an_accent_make_no_other_name(one, other, is_same):
    assert (spelling_key(one) == spelling_key(other)) is is_same


@pytest.mark.parametrize(
    ("counts", "best", "notes"),
    [
        ({"Spam": 2, "spam": 3, "ham": 1}, {"Spam": "spam", "spam": "spam", "ham": "ham"},
         ["2 'Spam' counted as 'spam'"]),
        ({"spam": 2, "Spam": 2}, {"Spam": "Spam", "spam": "Spam"}, ["2 'spam' counted as 'Spam'"]),
        ({"AB": 1, "ab": 1500, "Ab": 2000}, {"AB": "Ab", "ab": "Ab", "Ab": "Ab"},
         ["1 'AB' counted as 'Ab'", "1,500 'ab' counted as 'Ab'"]),
        ({"a": 5, "A": 5}, {"a": "a", "A": "A"}, []),
        ({}, {}, []),
    ],
)  # fmt: skip
def test_the_most_frequent_spelling_stands_for_all_and_the_first_of_the_alphabet_else(
    counts, best, notes
):
    assert joined_spellings(counts) == (best, notes)

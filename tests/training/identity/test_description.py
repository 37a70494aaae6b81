"""Settings as flat, short values: what differs is said, and a long value by its hash."""

import pytest

from pclora_lab.training.identity.description import changed_values, described, keys_of_one


def test_settings_in_settings_are_named_by_their_place_however_deep():
    nested = {"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None, "f": True}
    assert described(nested) == {"a.b.c": 1, "a.d": [1, 2], "e": None, "f": True}


def test_what_is_empty_is_told_too():
    assert described({"a": {}, "b": [], "c": ""}) == {"a": {}, "b": [], "c": ""}


@pytest.mark.parametrize(("count", "is_flat"), [(1, True), (32, True), (33, False)])
def test_up_to_32_keys_are_told_one_by_one_and_more_by_a_hash(count, is_flat):
    found = described({"words": {f"w{i}": i for i in range(count)}})
    if is_flat:
        assert found == {f"words.w{i}": i for i in range(count)}
    else:
        assert list(found) == ["words"] and found["words"].startswith("hash ")


@pytest.mark.parametrize(("length", "is_told"), [(62, True), (63, False)])
def test_up_to_64_characters_are_told_as_they_are(length, is_told):
    """The quotation marks count."""
    assert (described({"text": "x" * length})["text"] == "x" * length) is is_told


def test_a_hash_is_of_the_values_and_not_of_their_order():
    words = {f"w{i}": i for i in range(40)}
    backwards = dict(reversed(words.items()))
    assert described({"w": words}) == described({"w": backwards})
    assert described({"w": words}) != described({"w": {**words, "w0": 1}})


def test_what_json_has_no_word_for_is_told_as_text():
    class Odd:
        def __str__(self):
            return "odd"

    assert described({"a": Odd(), "b": (1, 2)}) == {"a": "odd", "b": [1, 2]}


def test_a_changed_value_is_told_from_what_to_what_and_a_hash_by_its_name_only():
    before = described({"act": "gelu", "same": 1, "words": list(range(100))})
    now = described({"act": "relu", "same": 1, "words": list(range(101))})
    assert changed_values(before, now) == ["act ('gelu', now 'relu')", "words"]
    assert changed_values(before, before) == []


def test_keys_that_one_alone_knows_are_no_changed_values():
    assert changed_values({"old": 1, "both": 1}, {"new": 2, "both": 1}) == []
    assert keys_of_one({"old": 1, "both": 1}, {"new": 2, "both": 3}) == ["new", "old"]
    assert keys_of_one({"both": 1}, {"both": 2}) == []

"""Buttons of which one is pressed, a fold and a text to copy: what the page tells them."""

import pytest

from pclora_lab.ui.widgets.choices import Choices
from pclora_lab.ui.widgets.copy_text import CopyText
from pclora_lab.ui.widgets.fold import Fold

CHOICES = [
    {"value": "a", "label": "A"},
    {"value": "b", "label": "B", "why": "it needs a network"},
]


def test_a_click_is_a_message_and_the_same_one_counts_again():
    choices, pressed = Choices(CHOICES, label="letters"), []
    choices.on_press(pressed.append)
    for _ in range(2):
        choices._handle_custom_msg({"pressed": "a"}, [])
    assert (choices.value, pressed) == ("a", ["a", "a"])


@pytest.mark.parametrize("content", [{"pressed": "b"}, {"pressed": "c"}, {"pressed": 1}, "a", {}])
def test_a_click_that_can_not_be_is_passed_over(content):
    choices = Choices(CHOICES, label="letters")
    choices._handle_custom_msg(content, [])
    assert choices.value == ""


def test_what_can_not_be_pressed_says_why():
    with pytest.raises(ValueError, match="it needs a network"):
        Choices(CHOICES, label="letters").press("b")


def test_a_fold_opens_and_closes():
    fold = Fold("Advanced")
    for content, display in (({"open": True}, ""), ({"open": 1}, ""), ({"open": False}, "none")):
        fold.heading._handle_custom_msg(content, [])
        assert fold.content.layout.display == display


def test_a_text_is_made_when_it_is_asked_for():
    made = CopyText("Copy", lambda: "text")
    made._handle_custom_msg({"press": "yes"}, [])
    assert (made.text, made.presses) == ("", 0)
    made._handle_custom_msg({"press": True}, [])
    assert (made.text, made.presses) == ("text", 1)

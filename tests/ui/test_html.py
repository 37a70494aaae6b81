"""Messages, errors and buttons: text stays text, and nothing vanishes."""

import pytest

from pclora_lab.ui.html import MessageBox, button, error_html, message_html

MARKUP = "<img src=x onerror=alert(1)>"


def box_with(show):
    box = MessageBox()
    show(box)
    return box.value


@pytest.mark.parametrize(
    "made",
    [
        message_html(MARKUP),
        error_html(MARKUP),
        error_html(ValueError(MARKUP)),
        box_with(lambda box: box.show_text(MARKUP)),
        box_with(lambda box: box.show_error(ValueError(MARKUP))),
    ],
)
def test_what_a_person_or_a_file_wrote_stays_text(made):
    assert "<img" not in made and "&lt;img src=x" in made and 'role="' in made


def test_an_error_without_words_is_named_by_its_type():
    assert ">KeyboardInterrupt<" in error_html(KeyboardInterrupt(), with_type=False)
    assert ">RuntimeError: full<" in error_html(RuntimeError("full"))


def test_a_message_goes_before_the_next_action_unless_it_is_to_stay():
    box = MessageBox()
    box.show_text("exported")
    box.show_errors(lambda: None, clear=False)
    assert "exported" in box.value
    box.show_errors(lambda: None)
    assert box.value == ""


def test_a_button_calls_its_action_at_every_click():
    clicks = []
    made = button("Train", "play", "start a run", lambda: clicks.append(1), style="primary")
    made.click()
    made.click()
    assert clicks == [1, 1] and (made.layout.width, made.button_style) == ("auto", "primary")

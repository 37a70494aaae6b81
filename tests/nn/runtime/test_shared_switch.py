"""A switch of the whole process: on from the first who needs it to the last."""

import threading

import pytest

from pclora_lab.nn.runtime.shared_switch import SharedSwitch


@pytest.fixture
def turned():
    """Notes every turn of the switch; how it is turned back is different each time."""
    notes: list[str] = []

    def on():
        time = notes.count("on") + len([n for n in notes if n.startswith("on")])
        notes.append(f"on {time}")
        return lambda: notes.append(f"off {time}")

    return notes, SharedSwitch(on)


def test_it_is_turned_only_at_both_ends(turned):
    notes, switch = turned
    first, second, third = (switch.held() for _ in range(3))
    assert notes == []
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    third.__enter__()
    second.__exit__(None, None, None)
    assert notes == ["on 0"], "whoever came first may leave first"
    third.__exit__(None, None, None)
    assert notes == ["on 0", "off 0"]


def test_each_time_it_is_put_back_to_where_it_was_that_time(turned):
    notes, switch = turned
    for _ in range(2):
        with switch.held():
            pass
    assert notes == ["on 0", "off 0", "on 1", "off 1"]


def test_an_error_inside_puts_it_back(turned):
    notes, switch = turned
    with pytest.raises(KeyError), switch.held(), switch.held():
        raise KeyError
    assert notes == ["on 0", "off 0"]


def test_who_can_not_turn_it_on_does_not_hold_it():
    def on():
        raise OSError("not here")

    switch = SharedSwitch(on)
    for _ in range(2):
        with pytest.raises(OSError, match="not here"), switch.held():
            pytest.fail("it is not on")


def test_turning_it_may_end_another_use_of_it():
    """The garbage collector may close a run in the middle of the start of another one."""
    inner = []

    def on():
        if not inner:
            inner.append("seen")
            with switch.held():
                inner.append("held")
        return lambda: None

    switch = SharedSwitch(on)
    thread = threading.Thread(target=lambda: switch.held().__enter__(), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive() and inner == ["seen", "held"]
